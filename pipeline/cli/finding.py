"""What one check of the doctor found. Knows nothing of the checks."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found."""

    check: str
    ok: bool
    found: str
    what_to_do: str = ""

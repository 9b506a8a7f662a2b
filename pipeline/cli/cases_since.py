"""Instants as people give them: a date, a date with a time, or how long ago."""

from datetime import UTC, datetime

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing_section import read_duration


def read_since(given: str, *, now: datetime) -> datetime:
    """Read `2026-10-01`, `2026-10-01T08:00` (UTC unless it says otherwise), or `90d`, `12h`, `1h30m` before now.

    Raises: ConfigurationError (wrong usage) showing how it is written.
    """
    duration = read_duration(given)
    if duration is not None:
        return now - duration
    try:
        at = datetime.fromisoformat(given.strip())
    except ValueError:
        raise ConfigurationError(
            f"{given!r} is no date and no time span: give one like 2026-10-01, 2026-10-01T08:00, 90d or 12h"
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

"""Whether what the operator holds under a UUID is our invoice: number, total and parties, ours beside theirs."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Marks:
    """By what an invoice is recognised, as far as one side tells."""

    number: str | None
    total: Decimal | None
    """Gross."""
    seller: str | None
    buyer: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The two sides, and what they prove."""

    is_same: bool
    """Number or total is known on both sides, and nothing known differs."""
    is_other: bool
    """Something known on both sides differs."""
    sides: str
    """Both sides in words, for a person."""


def compare(*, ours: Marks, theirs: Marks) -> Comparison:
    """Hold two sides against each other. What only one tells is no difference, nor are case and blanks of a name."""
    marks = (_both("number", ours.number, theirs.number), ("total", ours.total, theirs.total))
    parties = (_both("seller", ours.seller, theirs.seller), _both("buyer", ours.buyer, theirs.buyer))
    known = [one == other for _, one, other in marks if one is not None and other is not None]
    names = [one.casefold() == other.casefold() for _, one, other in parties if one and other]
    told = (f"{name}: ours {_told(one)}, theirs {_told(other)}" for name, one, other in (*marks, *parties))
    return Comparison(
        is_same=bool(known) and all((*known, *names)), is_other=not all((*known, *names)), sides="; ".join(told)
    )


def _both(name: str, ours: str | None, theirs: str | None) -> tuple[str, str | None, str | None]:
    return name, _plain(ours), _plain(theirs)


def _plain(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None


def _told(value: object) -> str:
    return "unknown" if value is None else str(value)

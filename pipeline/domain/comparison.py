"""Whether what the operator holds under a UUID is our invoice: number, total and parties, ours beside theirs."""

import unicodedata
from dataclasses import dataclass
from decimal import Decimal

CUT = "…"
LEAST_OF_A_CUT_NAME = 100
"""Names are kept to 200 characters, so a shorter one that ends in the mark was written so."""


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
    """Hold two sides against each other. What only one tells is no difference.

    Nor are case and blanks of a name, how its accents are written, and the end of a long one.
    """
    marks = (_both("number", ours.number, theirs.number), ("total", ours.total, theirs.total))
    parties = (_both("seller", ours.seller, theirs.seller), _both("buyer", ours.buyer, theirs.buyer))
    known = [one == other for _, one, other in marks if one is not None and other is not None]
    names = [_is_one_name(one.casefold(), other.casefold()) for _, one, other in parties if one and other]
    told = (f"{name}: ours {_told(one)}, theirs {_told(other)}" for name, one, other in (*marks, *parties))
    return Comparison(
        is_same=bool(known) and all((*known, *names)), is_other=not all((*known, *names)), sides="; ".join(told)
    )


def _both(name: str, ours: str | None, theirs: str | None) -> tuple[str, str | None, str | None]:
    return name, _plain(ours), _plain(theirs)


def _plain(text: str | None) -> str | None:
    return unicodedata.normalize("NFC", " ".join((text or "").split())) or None


def _is_one_name(one: str, other: str) -> bool:
    return one == other or _is_cut_from(one, other) or _is_cut_from(other, one)


def _is_cut_from(name: str, longer: str) -> bool:
    begin = name.removesuffix(CUT)[:-1]  # the cut may have parted a letter from its accent
    return name.endswith(CUT) and len(begin) >= LEAST_OF_A_CUT_NAME and longer.startswith(begin)


def _told(value: object) -> str:
    return "unknown" if value is None else str(value)

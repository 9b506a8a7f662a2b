"""Text of a document into dates, amounts and text fit for a screen. Never raises: what cannot be read is None."""

import re
from datetime import date
from decimal import Decimal, InvalidOperation

MAX_TEXT_LENGTH = 200
"""Names and numbers are cut here: enough for any list on a screen."""
MAX_EMAIL_LENGTH = 255
"""Operator's limit for recipient_email; a longer one could not be used, so it is left out instead of cut."""
MAX_EIA_LENGTH = 128
"""Operator's limit for recipient_eia; left out when longer, for half an address is another address."""
MAX_AMOUNT_LENGTH = 40
"""More digits than any amount of money; keeps hostile numbers away from Decimal."""

_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?![\d-])", re.ASCII)
_COMPACT_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(?!\d)", re.ASCII)
_FINNISH_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\d)", re.ASCII)
_AMOUNT = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>;,]+@[^\s@<>;,]+")
_CURRENCY = re.compile(r"[A-Za-z]{3}", re.ASCII)
_COUNTRY = re.compile(r"[A-Za-z]{2}", re.ASCII)


def clean_text(text: str, *, limit: int = MAX_TEXT_LENGTH) -> str | None:
    """Return text safe to print: one line, nothing that moves a cursor or turns the writing direction."""
    spaced = " ".join(text[: 4 * limit].split())
    # isprintable is false for control, format (direction marks, zero width) and separator characters except blank.
    shown = spaced if spaced.isprintable() else "".join(char for char in spaced if char.isprintable()).strip()
    if len(shown) > limit:
        return shown[: limit - 1].rstrip() + "…"
    return shown or None


def read_date(text: str) -> date | None:
    """Read ISO with or without time and zone, CCYYMMDD (Finvoice, CII format 102) or d.m.yyyy."""
    stripped = text.strip()[:40]
    if found := _ISO_DATE.match(stripped) or _COMPACT_DATE.match(stripped):
        year, month, day = found.groups()
    elif found := _FINNISH_DATE.match(stripped):
        day, month, year = found.groups()
    else:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def read_amount(text: str) -> Decimal | None:
    """Read a decimal point or comma, with blanks or the other mark between thousands, sign before or behind.

    A single mark is always the decimal one: no invoice format allows a lone thousands mark.
    """
    compact = "".join(text[: 2 * MAX_AMOUNT_LENGTH].split()).replace("'", "").replace("\N{MINUS SIGN}", "-")
    if compact.endswith("-"):
        compact = "-" + compact[:-1]
    if "," in compact and "." in compact:
        thousands = "," if compact.rindex(".") > compact.rindex(",") else "."
        compact = compact.replace(thousands, "")
    compact = compact.replace(",", ".")
    if len(compact) > MAX_AMOUNT_LENGTH or not _AMOUNT.fullmatch(compact):
        return None
    try:
        return Decimal(compact)
    except InvalidOperation:
        return None


def read_currency(text: str) -> str | None:
    """Return the code in capitals, or None for anything but three letters."""
    stripped = text.strip()
    return stripped.upper() if _CURRENCY.fullmatch(stripped) else None


def read_country(text: str) -> str | None:
    """Return the code in capitals, or None for anything but two letters."""
    stripped = text.strip()
    return stripped.upper() if _COUNTRY.fullmatch(stripped) else None


def read_email(text: str) -> str | None:
    """Return a single address, or None: the operator takes no list."""
    stripped = text.strip().removeprefix("mailto:")
    if len(stripped) > MAX_EMAIL_LENGTH or not stripped.isprintable() or not _EMAIL.fullmatch(stripped):
        return None
    return stripped


def read_eia(text: str, *, scheme: str | None = None) -> str | None:
    """Return an e-invoice address, with its scheme in front where the document keeps them apart."""
    address = "".join(char for char in text.strip() if char.isprintable())
    if address and scheme and scheme.isalnum() and ":" not in address:
        address = f"{scheme}:{address}"
    return address if address and len(address) <= MAX_EIA_LENGTH else None

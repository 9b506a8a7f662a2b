"""Causes, ways out and instants in words for a person. Knows nothing of where they are shown."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from pipeline.domain.way import Way

WAYS: Mapping[str, str] = {
    Way.EINVOICE: "reroute to another e-invoice address",
    Way.EMAIL: "reroute by e-mail",
    Way.PRINT: "reroute by print",
    Way.RESEND: "resend as a new invoice",
    Way.RETRY: "retry under the same UUID",
    Way.CLOSE: "close",
}
FIELD_PREFIX = "recipient_"
GIVEN = re.compile(rf"\b{FIELD_PREFIX}([a-z0-9_]+)=\.\.\.")
"""How a message asks for one of the operator's fields."""


def way_words(way: str, fields: Mapping[str, object] | None = None) -> str:
    """Say what a way out does, and with which address."""
    words = WAYS.get(way, way)
    shown = fields_words(fields or {})
    return f"{words} ({shown})" if shown else words


def fields_words(fields: Mapping[str, object]) -> str:
    """Say where to: the operator's fields without their prefix."""
    return ", ".join(f"{name.removeprefix(FIELD_PREFIX)} {value}" for name, value in fields.items())


def as_options(message: str) -> str:
    """Name the options of the command where a message asks for the operator's fields."""
    return GIVEN.sub(lambda found: f"--{found.group(1).replace('_', '-')}", message)


def span(duration: timedelta) -> str:
    """Return a duration as it is given: 15m, 1h30m, 0s."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def plain(word: str) -> str:
    """Return a stored name as people write it: recipient_address becomes `recipient address`."""
    return word.replace("_", " ")


def moment(at: datetime) -> str:
    """Return an instant for a table of 80 columns, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def sums(totals: Mapping[str, Decimal]) -> str:
    """Return the sum of each currency."""
    return ", ".join(f"{total:,} {currency}" for currency, total in sorted(totals.items())) or "no known total"

"""Ways out in words for events, plans and outcomes. Knows nothing of rows."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from pipeline.domain.way import Way

_WORDS: Final[Mapping[Way, Callable[[Mapping[str, str]], str]]] = {
    Way.EINVOICE: lambda f: f"by e-invoice to {f.get('recipient_eia')} at {f.get('recipient_operator')}",
    Way.EMAIL: lambda f: f"by e-mail to {f.get('recipient_email')}",
    Way.PRINT: lambda f: f"by print to {f.get('recipient_name')}, {f.get('recipient_post_office')}",
    Way.RESEND: lambda _: "resent as a new invoice",
    Way.RETRY: lambda _: "once more under the same UUID",
    Way.CLOSE: lambda _: "closed",
}


def say_way(way: Way, fields: Mapping[str, str]) -> str:
    """Say which way out it is and where it leads: "by e-mail to buyer@example.com"."""
    return _WORDS[way](fields)


def say_instant(at: datetime) -> str:
    """Write an instant for a person, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

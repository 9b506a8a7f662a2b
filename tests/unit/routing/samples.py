"""Situations and files the routing tests start from."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from pipeline.domain.recipient import Recipient
from pipeline.domain.routing import CompanyRouting, Situation
from pipeline.domain.routing_file import parse_routing
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.routing_verdicts import Failure
from pipeline.domain.way import Way

COMPANY_ID = UUID("6f9619ff-8b86-4011-b42d-00c04fc964ff")
NAME = "Esimerkki Oy"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NO_ROUTE = Failure(refused=False, text="No routing found for the invoice", channel="EINVOICE")
FULL = Recipient(
    name="Asiakas Oy",
    eia="0192:123456789",
    operator="PEPPOL",
    email="laskut@asiakas.example",
    address1="Katu 1",
    post_code="00100",
    post_office="Helsinki",
    country="FI",
)


def company(text: str, *, name: str = NAME) -> CompanyRouting:
    """Parse a file, its version line added, and take one company's part."""
    return parse_routing("version = 1\n" + text, table=builtin_table()).for_company(COMPANY_ID, name)


def situation(
    failure: Failure = NO_ROUTE,
    *,
    recipient: Recipient = FULL,
    total: Decimal | None = Decimal(100),
    tried: tuple[Way, ...] = (),
    age: timedelta = timedelta(minutes=5),
) -> Situation:
    """A case that failed a while ago, judged by the built-in table."""
    return Situation(
        verdict=builtin_table().judge(failure),
        channel=failure.channel,
        failed_at=NOW - age,
        now=NOW,
        total=total,
        recipient=recipient,
        tried=tried,
    )

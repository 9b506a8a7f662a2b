"""Which way out is taken without asking: rules, companies and the choice. Knows no file format and no I/O."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pipeline.domain.recipient import Recipient
from pipeline.domain.routing_verdicts import Verdict
from pipeline.domain.way import Way


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A case at the moment of choosing."""

    verdict: Verdict
    channel: str | None
    """EINVOICE, EMAIL or PRINT: where it failed."""
    failed_at: datetime
    now: datetime
    total: Decimal | None
    recipient: Recipient
    tried: tuple[Way, ...] = ()
    """Ways out already taken on this case, in order."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Take this way out, not before `at`."""

    way: Way
    rule: str
    at: datetime
    """Never before the situation's `now`; later means: wait until then."""
    fields: dict[str, str]
    """The operator's fields of a reroute; empty for the other ways."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A person decides."""

    why: str

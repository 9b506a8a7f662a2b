"""What the services need of the outside, so that tests can stand in for it. Knows no HTTP library and no broker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome
from pipeline.domain.streamed import Content
from pipeline.domain.way import Way

Clock = Callable[[], datetime]
"""Returns the present instant, aware UTC."""

Chance = Callable[[], float]
"""Returns a number from [0, 1)."""

Bell = Callable[[], None]
"""Tells the dispatcher that there is work. May do nothing: beat rings anyway. Never raises."""

IDS_PER_CALL = 100
"""Source: swagger.json, GET /v1/invoices, `ids`: at most 100."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What the operator tells of an invoice it holds."""

    status: str
    """PENDING, DELIVERED or FAILED."""
    number: str | None
    total: Decimal | None
    """Gross."""
    channel: str | None = None
    """EINVOICE, EMAIL or PRINT, where the operator tells its destination."""
    actions: tuple[OperatorAction, ...] | None = None
    """What happened to it, without INFO, oldest first; None when the list does not show it."""


@dataclass(frozen=True, kw_only=True)
class FailedSomewhere:
    """A row of the partner's error list: where to look, not what happened."""

    company_id: UUID
    invoice_id: UUID


class Operator(Protocol):
    """The operator, as sending and following see it. Every expected answer is a value; nothing expected raises."""

    async def upload(
        self,
        credentials: CompanyCredentials,
        *,
        uuid: UUID,
        content: Content,
        filename: str,
        is_zip: bool,
        options: Mapping[str, Any],
    ) -> Outcome:
        """Upload one document under its UUID."""

    async def probe(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """Ask which of up to 100 UUIDs the operator holds: ALREADY_THERE or, proven, ABSENT, for each."""

    async def statuses(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting] | Outcome:
        """Ask for the status of up to 100 invoices; an outcome when the question itself failed."""

    async def actions(self, credentials: CompanyCredentials, uuid: UUID) -> tuple[OperatorAction, ...] | Outcome:
        """Read all that happened to an invoice, INFO too, oldest first; an outcome when the question failed."""

    async def reroute(
        self, credentials: CompanyCredentials, uuid: UUID, *, way: Way, fields: Mapping[str, str]
    ) -> Outcome | None:
        """Have the operator send an invoice by another way (`fields`: its own names). None = taken.

        Not known to be idempotent: any outcome but a proven UNAVAILABLE leaves it open whether it happened.
        """

    async def outbound_errors(
        self, credentials: CompanyCredentials, *, after: datetime, before: datetime
    ) -> tuple[FailedSomewhere, ...] | Outcome:
        """Read the failures across a partner's companies in a span of time, all pages."""

    async def why_closed(self, credentials: CompanyCredentials) -> str | None:
        """Ask with a fresh token whether the company may send; None when it may, else the cause in words."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What one message to the workers carries."""

    company_id: UUID
    company_name: str
    epoch: int
    invoice_ids: tuple[UUID, ...]
    is_probe: bool
    is_express: bool = False
    """Of a company that has little: it does not wait behind the chunks of those that have much."""


class ChunkPublisher(Protocol):
    """Hands chunks to the workers. What is lost on the way becomes due again when its lease is over."""

    def publish(self, chunk: Chunk) -> None:
        """Publish one chunk. Raises: ServiceUnavailableError when the broker cannot be reached."""

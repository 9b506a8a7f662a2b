"""What the services need of the outside, so that tests can stand in for it. Knows no HTTP library and no broker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome

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


class Operator(Protocol):
    """The operator, as sending and following see it. Every expected answer is a value; nothing expected raises."""

    async def upload(
        self,
        credentials: CompanyCredentials,
        *,
        uuid: UUID,
        content: bytes,
        filename: str,
        is_zip: bool,
        options: Mapping[str, Any],
    ) -> Outcome:
        """Upload one document under its UUID."""

    async def probe(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """Ask which of up to 100 UUIDs the operator holds: ALREADY_THERE or, proven, ABSENT, for each."""

    async def statuses(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting] | Outcome:
        """Ask for the status of up to 100 invoices; an outcome when the question itself failed."""

    async def why_failed(self, credentials: CompanyCredentials, uuid: UUID) -> str | None:
        """Read why the operator could not deliver an invoice, in its words; None when it does not say."""

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


class ChunkPublisher(Protocol):
    """Hands chunks to the workers. What is lost on the way becomes due again when its lease is over."""

    def publish(self, chunk: Chunk) -> None:
        """Publish one chunk. Raises: ServiceUnavailableError when the broker cannot be reached."""

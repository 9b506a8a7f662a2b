"""The operator as the product sees it: upload, probe, and the reading calls, each answer one of a closed set.

Knows nothing of states, storage or what to do next.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Self
from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter

from pipeline.domain.credentials import AccessToken, CompanyCredentials, TokenStore
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.streamed import Content
from pipeline.domain.turnstile import Turnstile
from pipeline.maventa.caller import Caller, OperatorCredentials
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.fast_wire import FastWire
from pipeline.maventa.multipart import encode_upload
from pipeline.maventa.probing import IDS_LIMIT, Prober, Sighting, read_uuid
from pipeline.maventa.reading import ReadingCalls
from pipeline.maventa.schemas import Instant, InvoiceAnswer, Lenient, UploadOptions
from pipeline.maventa.timeouts import Timeouts
from pipeline.maventa.verdict import Phase, judge_answer, judge_unreadable
from pipeline.maventa.wire import HttpxWire, Question, Wire

_CREATED = frozenset({201})

UNVERIFIED = "UNVERIFIED"
"""Source: swagger.json, company_state."""


class _Created(BaseModel):
    # Only what proves the creation: an odd field elsewhere in the answer must not put an invoice in doubt.
    model_config = ConfigDict(extra="ignore")

    id: str
    status: Lenient[str] = None
    created_at: Instant = None


ECHO_AGE = timedelta(days=1)
"""An invoice this much older than our clock was not created by this upload; less may be a matter of clocks."""

_CREATED_SHAPE = TypeAdapter(_Created)


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class MaventaClient(ReadingCalls):
    """The operator's interface for any number of companies. One for each asyncio loop; close it with `aclose`."""

    def __init__(
        self,
        *,
        hosts: OperatorHosts,
        token_store: TokenStore,
        timeouts: Timeouts | None = None,
        max_connections: int = 100,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], datetime] = utc_now,
        random: Random | None = None,
        turnstile: Turnstile | None = None,
    ) -> None:
        """Set up; nothing connects yet. Without a transport of httpx the fast wire is used, without a turnstile nothing
        waits.
        """
        waits = timeouts or Timeouts()
        self._wire: Wire = (
            HttpxWire(base_url=hosts.ax, transport=transport, timeouts=waits)
            if transport is not None
            else FastWire(base_url=hosts.ax, timeouts=waits, max_connections=max_connections)
        )
        self._clock = clock
        caller = Caller(
            wire=self._wire, store=token_store, clock=clock, random=random or SystemRandom(), turnstile=turnstile
        )
        super().__init__(caller)
        self._prober = Prober(caller=caller, clock=clock)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        await self._wire.aclose()

    async def upload(
        self,
        credentials: CompanyCredentials,
        *,
        uuid: UUID,
        content: Content,
        filename: str,
        content_type: str,
        options: UploadOptions,
    ) -> Outcome:
        """Upload one document under our UUID and say what the answer proved. Never tries again by itself.

        The one exception is a 401 or 403, which is asked once more with a fresh token.
        """
        body, body_type = encode_upload(
            fields=[("uuid", str(uuid)), *options.form_fields()],
            filename=filename,
            content=content,
            content_type=content_type,
            make_boundary=_make_boundary,
        )
        question = Question(method="POST", path="/v1/invoices", content=body, content_type=body_type)
        answer = await self._caller.ask(credentials, question, phase=Phase.UPLOAD, success=_CREATED)
        if isinstance(answer, Outcome):
            return answer
        created = answer.parse(_CREATED_SHAPE)
        if created is None:
            return judge_unreadable(Phase.UPLOAD, answer.status, why="created, but the answer cannot be read")
        if read_uuid(created.id) != uuid:
            return judge_unreadable(Phase.UPLOAD, answer.status, why="created, but under another UUID than ours")
        now = self._clock()
        return judge_answer(
            Phase.UPLOAD, answer.status, message=_note_echo(created, now=now), now=now, operator_status=created.status
        )

    async def probe(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """Tell for each UUID whether the operator holds it. ABSENT only with a token proven good.

        Raises: ValueError for more than 100 UUIDs.
        """
        sightings = await self.look(credentials, uuids)
        return {
            uuid: replace(
                seen.outcome,
                operator_number=seen.number,
                operator_total=seen.gross_total,
                operator_seller=seen.sender_name,
                operator_buyer=seen.recipient_name,
            )
            for uuid, seen in sightings.items()
        }

    async def look(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting]:
        """Probe, and tell what the operator showed of each invoice it holds. Raises: as `probe`."""
        return await self._prober.look(credentials, uuids)

    async def statuses(
        self, credentials: CompanyCredentials, uuids: Sequence[UUID]
    ) -> dict[UUID, InvoiceAnswer] | Outcome:
        """Read sent invoices by UUID, 100 a call; those the operator does not show are left out."""
        found: dict[UUID, InvoiceAnswer] = {}
        for first in range(0, len(uuids), IDS_LIMIT):
            part = await self._prober.read(credentials, uuids[first : first + IDS_LIMIT])
            if isinstance(part, Outcome):
                return part
            found |= part
        return found

    async def check_access(self, credentials: CompanyCredentials) -> Outcome | None:
        """Ask with a token fetched just now whether the company may send; None when it may."""
        await self._caller.forget_token(credentials)
        doubt = await self._prober.doubt_access(credentials)
        if doubt is not None:
            return doubt
        told = await self.company_authorization(credentials)
        if isinstance(told, Outcome) or told.company_state != UNVERIFIED:
            # Without the right to read it (company:read) this question proves nothing either way.
            return None
        message = "the company is not verified at the operator: have its authorisation signed"
        return Outcome(kind=OutcomeKind.UNAUTHORIZED, error_code="unverified", message=message)

    async def operator_token(self, credentials: OperatorCredentials) -> AccessToken | Outcome:
        """Fetch a token with operator credentials; no operator scope covers invoices."""
        return await self._caller.operator_token(credentials)


def _note_echo(created: _Created, *, now: datetime) -> str | None:
    # What a used UUID is answered with is documented nowhere; one way is 201 with the invoice that is there.
    if created.created_at is None or now - created.created_at <= ECHO_AGE:
        return None
    return f"the operator answered with an invoice created at {created.created_at.isoformat(timespec='seconds')}"


def _make_boundary() -> str:
    return f"postiljon-{secrets.token_hex(16)}"

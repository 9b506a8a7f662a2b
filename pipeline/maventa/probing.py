"""Asks by UUID whether the operator holds invoices, and never takes silence or a lack of rights for "no".

Knows nothing of when to ask or of what follows.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID

from pydantic import TypeAdapter

from pipeline.domain.credentials import AccessToken, CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.caller import Caller
from pipeline.maventa.schemas import QUERY_ARRAY_SUFFIX, InvoiceAnswer, Lenient, OAuthCurrent
from pipeline.maventa.verdict import UNREADABLE, Phase, judge_answer, judge_unreadable
from pipeline.maventa.wire import Question

IDS_LIMIT = 100
"""The operator takes at most so many ids in one call, and gives at most so many invoices on a page."""

SINGLE_CONCURRENCY = 10
"""Single questions at once for what a list did not show; a probe is no reason for a storm."""

SENDING_SCOPES = frozenset({"eui", "invoice:send"})
"""Either shows the company's sent invoices; `eui` contains the other (contract section 1)."""

OUTAGE_SINGLES = 5
"""So many invoices that cannot be read even alone, and none that can, are an outage, not a matter of invoices."""

OK = frozenset({200})
CLIENT_ERRORS = range(400, 500)
_FORBIDDEN = frozenset({401, 403})

INVOICES = TypeAdapter(tuple[Lenient[InvoiceAnswer], ...])
"""A row that cannot be read is None, so that it hides no other."""
INVOICE = TypeAdapter(InvoiceAnswer)
CURRENT = TypeAdapter(OAuthCurrent)


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What a probe proved about one UUID, with what the operator showed of the invoice."""

    outcome: Outcome
    number: str | None = None
    gross_total: Decimal | None = None
    created_at: datetime | None = None
    sender_name: str | None = None
    recipient_name: str | None = None


def list_question(uuids: Sequence[UUID]) -> Question:
    """Ask for sent invoices by id; without a direction the operator would show received ones."""
    ids = tuple((f"ids{QUERY_ARRAY_SUFFIX}", str(uuid)) for uuid in uuids)
    return Question(
        method="GET", path="/v1/invoices", query=(*ids, ("direction", "SENT"), ("per_page", str(IDS_LIMIT)))
    )


def read_uuid(text: str | None) -> UUID | None:
    """Read a UUID however it is written; None if it is none."""
    try:
        return UUID(text or "")
    except ValueError:
        return None


class Prober:
    """Asks about invoices of one company at a time."""

    def __init__(self, *, caller: Caller, clock: Callable[[], datetime]) -> None:
        """Keep the parts."""
        self._caller = caller
        self._clock = clock

    async def look(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting]:
        """Tell for each UUID whether the operator holds it. At most 100 UUIDs."""
        found = await self._list_by_id(credentials, uuids)
        if isinstance(found, Outcome):
            if not _is_about_the_list(found):
                return dict.fromkeys(uuids, Sighting(outcome=found))
            found = {}
        seen = {uuid: self._seen(found[uuid]) for uuid in uuids if uuid in found}
        missing = [uuid for uuid in uuids if uuid not in found]
        if not missing:
            return seen
        return seen | await self._look_closer(credentials, missing)

    async def read(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, InvoiceAnswer] | Outcome:
        """Read up to 100 sent invoices; those the operator does not show, or not readably, are left out.

        A list that cannot be had is asked for in halves, so that one invoice hides no other.
        """
        found: dict[UUID, InvoiceAnswer] = {}
        lost: list[Outcome] = []
        parts, has_read = [uuids], False
        while parts and (has_read or len(lost) < OUTAGE_SINGLES):
            part = parts.pop()
            answer = await self._list_by_id(credentials, part)
            if not isinstance(answer, Outcome):
                found, has_read = found | answer, True
            elif not _is_about_the_list(answer):
                return answer
            elif len(part) > 1:
                parts += [part[: len(part) // 2], part[len(part) // 2 :]]
            else:
                lost.append(answer)
        return found if has_read else lost[-1]

    async def _list_by_id(
        self, credentials: CompanyCredentials, uuids: Sequence[UUID]
    ) -> dict[UUID, InvoiceAnswer] | Outcome:
        if len(uuids) > IDS_LIMIT:
            raise ValueError(f"at most {IDS_LIMIT} ids a call, not {len(uuids)}")
        if not uuids:
            return {}
        answer = await self._caller.ask(credentials, list_question(uuids), phase=Phase.PROBE, success=OK)
        if isinstance(answer, Outcome):
            return answer
        rows = answer.parse(INVOICES)
        by_id = {read_uuid(row.id): row for row in rows or () if row is not None}
        if rows is None or (rows and not by_id):
            return judge_unreadable(Phase.PROBE, answer.status, why="the operator's list cannot be read")
        wanted = set(uuids)
        return {uuid: row for uuid, row in by_id.items() if uuid in wanted}

    async def _look_closer(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting]:
        # A list may lag, and an empty one also means "no access": only a single question with a proven token says no.
        token = await self.prove_token(credentials)
        if isinstance(token, Outcome):
            return dict.fromkeys(uuids, Sighting(outcome=token))
        places = asyncio.Semaphore(SINGLE_CONCURRENCY)

        async def look_at(uuid: UUID) -> Sighting:
            async with places:
                return await self._look_at(credentials.company_id, token, uuid)

        sightings = await asyncio.gather(*(look_at(uuid) for uuid in uuids))
        return dict(zip(uuids, sightings, strict=True))

    async def prove_token(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        """Ask whose the token is and what it may do; the token when it is this company's and may read its invoices.

        Only questions with this very token are then proven: the next one may have fewer rights.
        """
        token = await self._caller.token(credentials)
        if isinstance(token, Outcome):
            return token
        answer = await self._caller.ask_with(
            token,
            Question(method="GET", path="/oauth2/current"),
            company_id=credentials.company_id,
            phase=Phase.PROOF,
            success=OK,
        )
        if isinstance(answer, Outcome):
            return answer
        current = answer.parse(CURRENT)
        if current is None:
            return judge_unreadable(Phase.PROOF, answer.status, why="the operator's word on the token cannot be read")
        return _doubt_rights(current, credentials.company_id, answer.status) or token

    async def doubt_access(self, credentials: CompanyCredentials) -> Outcome | None:
        """Say why the company may not send, as far as its token tells; None when it may."""
        proof = await self.prove_token(credentials)
        if not isinstance(proof, Outcome):
            return None
        if proof.kind is not OutcomeKind.IN_DOUBT or proof.http_status not in _FORBIDDEN:
            return proof
        # A narrow token may not ask about itself; what it was granted for then speaks for it.
        token = await self._caller.token(credentials)
        return token if isinstance(token, Outcome) else _doubt_scopes(token.scope.split(), proof.http_status)

    async def _look_at(self, company_id: UUID, token: AccessToken, uuid: UUID) -> Sighting:
        question = Question(method="GET", path=f"/v1/invoices/{uuid}")
        answer = await self._caller.ask_with(
            token, question, company_id=company_id, phase=Phase.PROVEN_PROBE, success=OK
        )
        if isinstance(answer, Outcome):
            return Sighting(outcome=answer)
        row = answer.parse(INVOICE)
        if row is None or read_uuid(row.id) != uuid:
            why = "the operator's invoice cannot be read or is another one"
            return Sighting(outcome=judge_unreadable(Phase.PROBE, answer.status, why=why))
        return self._seen(row)

    def _seen(self, row: InvoiceAnswer) -> Sighting:
        outcome = judge_answer(Phase.PROBE, HTTPStatus.OK, now=self._clock(), operator_status=row.status)
        return Sighting(
            outcome=outcome,
            number=row.number,
            gross_total=row.sum_tax,
            created_at=row.created_at,
            sender_name=row.sender.name if row.sender else None,
            recipient_name=row.recipient.name if row.recipient else None,
        )


def _is_about_the_list(outcome: Outcome) -> bool:
    # Unreadable, or refused as it was asked (too long an address, an odd id): smaller questions may do better.
    # Whoever is not let in, or is to slow down, has another kind of outcome.
    refused = outcome.http_status in CLIENT_ERRORS
    return outcome.kind is OutcomeKind.IN_DOUBT and (refused or outcome.error_code == UNREADABLE)


def _doubt_rights(current: OAuthCurrent, company_id: UUID, status: int) -> Outcome | None:
    if current.company is None or read_uuid(current.company.id) != company_id:
        return Outcome(
            kind=OutcomeKind.UNAUTHORIZED,
            http_status=status,
            error_code="other_company",
            message="the token belongs to another company than the invoice; check the company's keys",
        )
    return _doubt_scopes(current.scopes or (), status)


def _doubt_scopes(scopes: Sequence[str], status: int | None) -> Outcome | None:
    if SENDING_SCOPES.isdisjoint(scopes):
        return Outcome(
            kind=OutcomeKind.UNAUTHORIZED,
            http_status=status,
            error_code="missing_scope",
            message="the token has no right to the company's sent invoices; is the company verified?",
        )
    return None

"""Sending and probing one chunk: claim and commit, then the network, then record. Knows nothing of Celery or SQL.

No transaction is open while the network is used. Results are recorded as they come in, so that one slow invoice keeps
no other waiting, and what is still in the air keeps its lease by heartbeat.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.decision import Finish, Hold, Probe, RetryAt, decide, explain
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.retry import with_jitter
from pipeline.domain.state import State
from pipeline.services.ports import Chance, Clock, Operator
from pipeline.settings import Settings
from pipeline.storage import claims, companies
from pipeline.storage.claims import Claimed, ClaimedUpload, Move
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

FLUSH_SECONDS = 1.0
"""How long a result may wait for others before it is recorded."""

log = logging.getLogger(__name__)
Result = tuple[Claimed, Outcome]
C = TypeVar("C", bound=Claimed)


class Sender:
    """Takes chunks through the network. One per process; its methods run on that process's one event loop."""

    def __init__(
        self, *, database: Database, vault: Vault, operator: Operator, settings: Settings, clock: Clock, chance: Chance
    ) -> None:
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock
        self._chance = chance

    async def send(self, company_id: UUID, ids: Sequence[UUID], *, epoch: int) -> Counter[str]:
        """Upload what is still ours of a chunk; return the counts of outcomes. Safe to call twice."""
        credentials, claimed = await asyncio.to_thread(self._claim, claims.claim_uploads, company_id, ids, epoch)
        room = asyncio.Semaphore(self._settings.upload_concurrency)

        async def upload(each: ClaimedUpload) -> list[Result]:
            async with room:
                outcome = await self._operator.upload(
                    credentials,
                    uuid=each.id,
                    content=each.content,
                    filename=each.filename,
                    is_zip=each.is_zip,
                    options=each.options,
                )
            return [(each, outcome)]

        return await self._carry_out([upload(each) for each in claimed], claimed, epoch=epoch, company_id=company_id)

    async def probe(self, company_id: UUID, ids: Sequence[UUID], *, epoch: int) -> Counter[str]:
        """Ask the operator about what is in doubt of a chunk; return the counts of outcomes. Safe to call twice."""
        credentials, claimed = await asyncio.to_thread(self._claim, claims.claim_probes, company_id, ids, epoch)

        async def ask() -> list[Result]:
            answers = await self._operator.probe(credentials, [each.id for each in claimed])
            return [(each, answers[each.id]) for each in claimed]

        return await self._carry_out([ask()] if claimed else [], claimed, epoch=epoch, company_id=company_id)

    def _claim(
        self, claim: Callable[..., list[C]], company_id: UUID, ids: Sequence[UUID], epoch: int
    ) -> tuple[CompanyCredentials, list[C]]:
        now = self._clock()
        with self._database.transaction() as session:
            credentials = companies.read_credentials(session, company_id, vault=self._vault)
            claimed = claim(
                session,
                ids,
                epoch=epoch,
                now=now,
                lease=timedelta(seconds=self._settings.claim_lease_seconds),
                give_up_at=now + timedelta(seconds=self._settings.retry_budget_seconds),
            )
        if len(claimed) < len(ids):
            log.info("chunk seen before", extra={"event": "claim_found_less", "epoch": epoch, "count": len(ids)})
        return credentials, claimed

    async def _carry_out(
        self, work: Sequence[Awaitable[list[Result]]], claimed: Sequence[Claimed], *, epoch: int, company_id: UUID
    ) -> Counter[str]:
        counts: Counter[str] = Counter()
        in_the_air = {each.id for each in claimed}
        pending = {asyncio.ensure_future(each) for each in work}
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=FLUSH_SECONDS)
                results = [result for task in done for result in task.result()]
                in_the_air -= {each.id for each, _ in results}
                await asyncio.to_thread(self._record, results, epoch, company_id, tuple(in_the_air))
                counts.update(outcome.kind.value for _, outcome in results)
        finally:
            for task in pending:
                task.cancel()
        return counts

    def _record(self, results: Sequence[Result], epoch: int, company_id: UUID, in_the_air: Sequence[UUID]) -> None:
        now = self._clock()
        moves = [self._move(claimed, outcome, now=now) for claimed, outcome in results]
        with self._database.transaction() as session:
            moved = claims.record(session, moves, epoch=epoch, now=now)
            company_causes = [move.reason for move in moves if move.held_for == "company"]
            if company_causes and companies.hold_company(session, company_id, reason=company_causes[0], now=now):
                log.error("company held", extra={"event": "company_held", "company": str(company_id)})
            if in_the_air:
                until = now + timedelta(seconds=self._settings.claim_lease_seconds)
                claims.heartbeat(session, in_the_air, epoch=epoch, until=until)
        for move in moves:
            if move.claimed.id not in moved:
                extra = {"event": "late_writer", "invoice": str(move.claimed.id), "epoch": epoch}
                log.warning("came too late and changed nothing", extra=extra)

    def _move(self, claimed: Claimed, outcome: Outcome, *, now: datetime) -> Move:
        decision = decide(outcome, claimed.standing, now=now, schedule=self._settings.schedule)
        match decision:
            case Finish(state=state):
                look_at = now if state is State.ACCEPTED else None
                return Move(claimed=claimed, outcome=outcome, target=state, reason=decision.reason, look_at=look_at)
            case Hold(company=company):
                held_for = "company" if company else "person"
                return Move(
                    claimed=claimed, outcome=outcome, target=State.HELD, reason=decision.reason, held_for=held_for
                )
            case Probe() | RetryAt():
                return self._wait(claimed, outcome, decision, now=now)

    def _wait(self, claimed: Claimed, outcome: Outcome, decision: Probe | RetryAt, *, now: datetime) -> Move:
        refusal = claimed.standing.refusal if claimed.standing.probing else None
        if outcome.kind is OutcomeKind.REFUSED:
            refusal = explain(outcome, "the operator refused it")
        given_back = decision.at - now if decision.free else timedelta()
        return Move(
            claimed=claimed,
            outcome=outcome,
            target=State.IN_DOUBT if isinstance(decision, Probe) else State.WAITING,
            reason=decision.reason,
            due_at=with_jitter(decision.at, now=now, chance=self._chance()),
            tries=claimed.standing.tries + 1,
            refusal=refusal,
            give_up_at=claimed.standing.give_up_at + given_back,
        )

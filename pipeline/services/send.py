"""Sending and probing one chunk: claim and commit, then the network, then record. Knows nothing of Celery or SQL.

No transaction is open while the network is used. A few slow invoices do not hold up a worker: they stay in the air
while it takes the next chunk, and are recorded when their answer or their timeout comes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from pipeline.domain.consequence import COMPANY, conclude
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.services.arming import why_disarmed
from pipeline.services.flight import Flight, Result, Work
from pipeline.services.hold import hold_stopped
from pipeline.services.ports import IDS_PER_CALL, Chance, Clock, Operator
from pipeline.settings import Settings
from pipeline.storage import claims, companies
from pipeline.storage.claims import Claimed, ClaimedUpload, Move
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

LET_IN = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_THERE, OutcomeKind.REFUSED})
"""Whoever hears this of one of its invoices was let in by the operator."""
PATIENT_FLIGHTS = 10
"""Chunks with stragglers a process keeps in the air beside the next one; beyond that it waits for them."""

log = logging.getLogger(__name__)
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
        self._room = asyncio.Semaphore(settings.upload_concurrency)
        self._flights: set[asyncio.Task[None]] = set()

    async def send(self, company_id: UUID, ids: Sequence[UUID], *, epoch: int) -> Counter[str]:
        """Upload what is still ours of a chunk; return the counts of outcomes. Safe to call twice.

        Returns when all are recorded, or after `straggler_seconds` with `in_the_air` counting the rest.
        """
        credentials, claimed = await asyncio.to_thread(self._claim, claims.claim_uploads, company_id, ids, epoch)
        work: list[Work] = [(self._upload(credentials, each), [each.id]) for each in claimed]
        return await self._fly(work, epoch=epoch, company_id=company_id)

    async def probe(self, company_id: UUID, ids: Sequence[UUID], *, epoch: int) -> Counter[str]:
        """Ask the operator about what is in doubt of a chunk; otherwise like `send`."""
        claim = partial(claims.claim_probes, poison_deaths=self._settings.poison_deaths)
        credentials, claimed = await asyncio.to_thread(self._claim, claim, company_id, ids, epoch)
        parts = (claimed[start : start + IDS_PER_CALL] for start in range(0, len(claimed), IDS_PER_CALL))
        work: list[Work] = [(self._ask(credentials, part), [each.id for each in part]) for part in parts]
        return await self._fly(work, epoch=epoch, company_id=company_id)

    async def drain(self, *, seconds: float) -> int:
        """Wait for what is in the air, up to a deadline; return how many chunks were left to their leases."""
        if self._flights:
            _, left = await asyncio.wait(self._flights, timeout=seconds)
            return len(left)
        return 0

    async def _upload(self, credentials: CompanyCredentials, each: ClaimedUpload) -> list[Result]:
        async with self._room:
            outcome = await self._operator.upload(
                credentials,
                uuid=each.id,
                content=each.content,
                filename=each.filename,
                is_zip=each.is_zip,
                options=each.options,
            )
        return [(each, outcome)]

    async def _ask(self, credentials: CompanyCredentials, claimed: Sequence[Claimed]) -> list[Result]:
        answers = await self._operator.probe(credentials, [each.id for each in claimed])
        return [(each, answers[each.id]) for each in claimed]

    async def _fly(self, work: Sequence[Work], *, epoch: int, company_id: UUID) -> Counter[str]:
        flight = Flight(
            work,
            record=lambda results, in_the_air: self._record(results, epoch, company_id, in_the_air),
            patience_seconds=self._settings.claim_lease_seconds,
        )
        task = asyncio.ensure_future(flight.run())
        self._flights.add(task)
        task.add_done_callback(self._flights.discard)
        crowded = len(self._flights) > PATIENT_FLIGHTS
        done, left = await asyncio.wait({task}, timeout=None if crowded else self._settings.straggler_seconds)
        for each in done:
            each.result()
        for each in left:
            each.add_done_callback(_tell_crash)
        return flight.counts

    def _claim(
        self, claim: Callable[..., list[C]], company_id: UUID, ids: Sequence[UUID], epoch: int
    ) -> tuple[CompanyCredentials, list[C]]:
        now = self._clock()
        with self._database.transaction() as session:
            company = companies.find_company(session, company_id)
            credentials = companies.read_credentials(session, company_id, vault=self._vault)
            # What was on its way when the company was held stays as it is, and is due again after the release. So does
            # what reached a worker of a copy: the seal is read in the transaction that claims.
            disarmed = why_disarmed(session, self._settings)
            claimed = claim(
                session,
                () if company.hold_reason or disarmed else ids,
                epoch=epoch,
                now=now,
                lease=timedelta(seconds=self._settings.claim_lease_seconds),
                give_up_at=now + timedelta(seconds=self._settings.retry_budget_seconds),
            )
        if disarmed:
            log.error(disarmed, extra={"event": "disarmed", "epoch": epoch, "count": len(ids)})
        elif len(claimed) < len(ids):
            log.info("chunk seen before", extra={"event": "claim_found_less", "epoch": epoch, "count": len(ids)})
        return credentials, claimed

    def _record(self, results: Sequence[Result], epoch: int, company_id: UUID, in_the_air: Sequence[UUID]) -> None:
        now = self._clock()
        moves = [self._move(claimed, outcome, now=now) for claimed, outcome in results]
        with self._database.transaction() as session:
            moved = claims.record(session, moves, epoch=epoch, now=now)
            if any(move.outcome.kind in LET_IN for move in moves):
                companies.note_let_in(session, company_id, now=now)
            stops = [move.outcome for move in moves if move.consequence.held_for == COMPANY]
            if stops:
                hold_stopped(session, company_id, stops[0], settings=self._settings, now=now)
            if in_the_air:
                until = now + timedelta(seconds=self._settings.claim_lease_seconds)
                claims.heartbeat(session, in_the_air, epoch=epoch, until=until)
        for move in moves:
            if move.claimed.id not in moved:
                extra = {"event": "late_writer", "invoice": str(move.claimed.id), "epoch": epoch}
                log.warning("came too late and changed nothing", extra=extra)

    def _move(self, claimed: Claimed, outcome: Outcome, *, now: datetime) -> Move:
        consequence = conclude(
            outcome, claimed.standing, now=now, schedule=self._settings.schedule, chance=self._chance()
        )
        return Move(claimed=claimed, outcome=outcome, consequence=consequence)


def _tell_crash(flight: asyncio.Task[None]) -> None:
    # Nobody waits for it any more, so nobody else would tell; the leases lead to a probe.
    if not flight.cancelled() and (crash := flight.exception()):
        log.error("stopped recording, to be probed", exc_info=crash, extra={"event": "flight_crashed"})

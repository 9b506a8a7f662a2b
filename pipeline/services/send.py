"""Sending and probing one chunk: claim and commit, then the network, then record. Knows nothing of Celery or SQL.

No transaction is open while the network is used. A few slow invoices do not hold up a worker: they stay in the air
while it takes the next chunk, and are recorded when their answer or their timeout comes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import PostiljonError, ServiceUnavailableError
from pipeline.domain.outcome import Outcome
from pipeline.domain.pace import hold_back
from pipeline.services.arming import why_disarmed
from pipeline.services.departure import NO_DOCUMENT, Departure, DepartureGate, Elapsed, Leases, elapsed_seconds
from pipeline.services.exchanges import Exchanges
from pipeline.services.flight import Flight, Result, Work
from pipeline.services.loading import Documents, Lender
from pipeline.services.points import Point, Points
from pipeline.services.ports import IDS_PER_CALL, Chance, Clock, Operator
from pipeline.services.recording import Recorder
from pipeline.settings import Settings
from pipeline.storage import claims, companies
from pipeline.storage.claims import Claimed, ClaimedUpload
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

PATIENT_FLIGHTS = 10
"""Chunks with stragglers a process keeps in the air beside the next one; beyond that it waits for them."""
RECORD_SECONDS = 3.0
"""How long a process that ends waits for the database to take what was handed back or cut short."""
BYTES_LEFT_SECONDS = 0.05
"""So long after its beginning an exchange is taken to be out, where it is to end its process (points.py)."""
AGAIN_SECONDS = 1.0
"""When an upload whose document could not be read is tried again."""
NO_POINTS = Points(None)

log = logging.getLogger(__name__)
T = TypeVar("T")
C = TypeVar("C", bound=Claimed)


class Sender:
    """Takes chunks through the network. One per process; its methods run on that process's one event loop."""

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        operator: Operator,
        settings: Settings,
        clock: Clock,
        chance: Chance,
        points: Points = NO_POINTS,
        gate: DepartureGate | None = None,
        elapsed: Elapsed = elapsed_seconds,
    ) -> None:
        """`gate`: what the operator's exchanges pass; without it an exchange counts as out once it is asked for."""
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock
        self._points = points
        self._elapsed = elapsed
        self._room = asyncio.Semaphore(settings.upload_concurrency)
        self._documents = Documents(database)
        self._recorder = Recorder(
            database=database, settings=settings, clock=clock, chance=chance, points=points, elapsed=elapsed
        )
        self._flights: set[asyncio.Task[None]] = set()
        self._exchanges = Exchanges(gate)
        self._drain_until: float | None = None

    async def send(self, company_id: UUID, ids: Sequence[UUID], *, epoch: int) -> Counter[str]:
        """Upload what is still ours of a chunk; return the counts of outcomes. Safe to call twice.

        Returns when all are recorded, or after `straggler_seconds` with `in_the_air` counting the rest. A process that
        ends takes nothing: the chunk is due again by its lease.
        """
        if self._exchanges.is_ending:
            return Counter()
        since = self._elapsed()
        credentials, claimed = await asyncio.to_thread(self._claim, claims.claim_uploads, company_id, ids, epoch)
        leases = self._leases(claimed, since=since)
        lent = self._documents.of(claimed)
        work: list[Work] = [(self._upload(credentials, each, group, leases), [each.id]) for each, group in lent]
        return await self._fly(work, epoch=epoch, company_id=company_id, leases=leases)

    async def probe(self, company_id: UUID, ids: Sequence[UUID], *, epoch: int) -> Counter[str]:
        """Ask the operator about what is in doubt of a chunk; otherwise like `send`."""
        if self._exchanges.is_ending:
            return Counter()
        since = self._elapsed()
        claim = partial(claims.claim_probes, poison_deaths=self._settings.poison_deaths)
        credentials, claimed = await asyncio.to_thread(self._claim, claim, company_id, ids, epoch)
        leases = self._leases(claimed, since=since)
        parts = (claimed[start : start + IDS_PER_CALL] for start in range(0, len(claimed), IDS_PER_CALL))
        work: list[Work] = [(self._ask(credentials, part, leases), [each.id for each in part]) for part in parts]
        return await self._fly(work, epoch=epoch, company_id=company_id, leases=leases)

    async def drain(self, *, seconds: float) -> int:
        """Begin nothing any more; hand back what has not begun, wait for the rest, then cut it short.

        Returns how many exchanges were cut short; they are due for a probe at once. Called twice, the first one's
        grace counts.
        """
        now = asyncio.get_running_loop().time()
        if self._drain_until is None:
            self._drain_until = now + seconds
        self._exchanges.hand_back()
        if self._flights:
            await asyncio.wait(self._flights, timeout=max(self._drain_until - now, 0.0))
        cut = self._exchanges.cut_short()
        if self._flights:
            await asyncio.wait(self._flights, timeout=RECORD_SECONDS)
        return cut

    def _leases(self, claimed: Sequence[Claimed], *, since: float) -> Leases:
        seconds = self._settings.claim_lease_seconds
        return Leases([each.id for each in claimed], seconds=seconds, since=since, elapsed=self._elapsed)

    async def _upload(
        self, credentials: CompanyCredentials, each: ClaimedUpload, lender: Lender, leases: Leases
    ) -> list[Result]:
        async def exchange(departure: Departure) -> Outcome:
            with lender.borrower(each.id):
                if each.is_missing:
                    return NO_DOCUMENT
                try:
                    content = await lender.lend(each.id)
                except ServiceUnavailableError as exc:
                    return hold_back(AGAIN_SECONDS, why=f"its document could not be read ({exc})")
                async with self._room:
                    return departure.begin() or await self._let_go(
                        self._operator.upload(
                            credentials,
                            uuid=each.id,
                            content=content,
                            filename=each.filename,
                            is_zip=each.is_zip,
                            options=each.options,
                        ),
                        each.id,
                    )

        return [(each, await self._exchanges.run([each.id], leases, exchange))]

    async def _ask(self, credentials: CompanyCredentials, claimed: Sequence[Claimed], leases: Leases) -> list[Result]:
        ids = [each.id for each in claimed]

        async def exchange(departure: Departure) -> dict[UUID, Outcome] | Outcome:
            return departure.begin() or await self._operator.probe(credentials, ids)

        answers = await self._exchanges.run(ids, leases, exchange)
        return [(each, answers if isinstance(answers, Outcome) else answers[each.id]) for each in claimed]

    async def _let_go(self, exchange: Coroutine[Any, Any, Outcome], invoice_id: UUID) -> Outcome:
        if not self._points.is_set(Point.BYTES_LEFT, [invoice_id]):
            return await exchange
        under_way = asyncio.ensure_future(exchange)
        await asyncio.wait({under_way}, timeout=BYTES_LEFT_SECONDS)
        self._points.reach(Point.BYTES_LEFT, [invoice_id])
        return await under_way

    async def _fly(self, work: Sequence[Work], *, epoch: int, company_id: UUID, leases: Leases) -> Counter[str]:
        flight = Flight(
            work,
            record=partial(self._recorder.record, epoch=epoch, company_id=company_id, leases=leases),
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
        try:
            return self._claim_together(claim, company_id, ids, epoch)
        except PostiljonError:
            raise
        except Exception:
            # One row that the database cannot hand out takes no other down: it alone is left to be due again.
            if len(ids) < 2:  # noqa: PLR2004 - nothing to part
                raise
            log.exception("chunk could not be claimed, taking it apart", extra={"event": "chunk_crashed"})
        parts = [part for each in ids if (part := self._claim_alone(claim, company_id, each, epoch)) is not None]
        if not parts:
            raise ServiceUnavailableError("no invoice of a chunk could be claimed; they are due again after the lease")
        return parts[0][0], [each for _, claimed in parts for each in claimed]

    def _claim_alone(
        self, claim: Callable[..., list[C]], company_id: UUID, invoice_id: UUID, epoch: int
    ) -> tuple[CompanyCredentials, list[C]] | None:
        try:
            return self._claim_together(claim, company_id, [invoice_id], epoch)
        except PostiljonError:
            raise
        except Exception:
            log.exception("could not be claimed", extra={"event": "claim_crashed", "invoice": str(invoice_id)})
            return None

    def _claim_together(
        self, claim: Callable[..., list[C]], company_id: UUID, ids: Sequence[UUID], epoch: int
    ) -> tuple[CompanyCredentials, list[C]]:
        self._points.reach(Point.BEFORE_CLAIM, ids)
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
        if claimed:
            # By name only for uploads: what ends its worker there can still be asked about.
            named = [each.id for each in claimed if isinstance(each, ClaimedUpload)]
            self._points.reach(Point.AFTER_CLAIM, named)
        return credentials, claimed


def _tell_crash(flight: asyncio.Task[None]) -> None:
    # Nobody waits for it any more, so nobody else would tell; the leases lead to a probe.
    if not flight.cancelled() and (crash := flight.exception()):
        log.error("stopped recording, to be probed", exc_info=crash, extra={"event": "flight_crashed"})

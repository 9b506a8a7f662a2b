"""The pump: takes due invoices fairly across companies and hands them to the workers in chunks, one pump at a time.

Rung by the bell after a submit, by workers that have room again, and by beat. Knows nothing of Celery or HTTP.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.services import chunking
from pipeline.services.arming import why_disarmed
from pipeline.services.picking import Picked, pick
from pipeline.services.points import Point, Points
from pipeline.services.ports import Chunk, ChunkPublisher, Clock
from pipeline.services.watch import look_at_rings
from pipeline.settings import Settings
from pipeline.storage import claims, dispatching, holding, leases, rounds
from pipeline.storage.database import Database
from pipeline.storage.dispatching import DueInvoice
from pipeline.storage.rounds import Chores

LEASE_NAME = "dispatch"
LEASE_SECONDS = 8.0
"""A pump that died is replaced after this; a living one takes the lease anew in every round."""
ROUNDS = 100
"""After so many rounds a pump leaves, so that a task never runs into its time limit; beat rings the next one."""
LOOK_AROUND = timedelta(seconds=5)
"""No more often does one process look for silent bells: an alarm counts in minutes."""
NO_POINTS = Points(None)

log = logging.getLogger(__name__)


class Dispatcher:
    """Dispatches what is due until nothing is, or the workers have enough."""

    def __init__(
        self,
        *,
        database: Database,
        publisher: ChunkPublisher,
        settings: Settings,
        clock: Clock,
        points: Points = NO_POINTS,
    ) -> None:
        self._points = points
        self._database = database
        self._publisher = publisher
        self._settings = settings
        self._clock = clock
        self._looked_around_at: datetime | None = None

    def run(self, holder: UUID) -> int:
        """Dispatch until nothing is due; return how many invoices were handed out. Harmless when rung twice.

        Raises: ServiceUnavailableError when database or broker cannot be reached; the leases bring the work back.
        """
        try:
            return self._pump(holder)
        except ServiceUnavailableError:
            # The next pump need not wait for our lease when what was away comes back.
            with suppress(ServiceUnavailableError):
                self._leave(holder, seen=None)
            raise

    def is_wanted(self) -> bool:
        """Tell whether a round would find anything, so that free room is worth a bell; where nobody can tell, it is."""
        try:
            with self._database.transaction() as session:
                return rounds.is_wanted(session, now=self._clock())
        except ServiceUnavailableError:
            return True

    def _pump(self, holder: UUID) -> int:
        handed_out = 0
        for number in range(ROUNDS):
            begun = self._begin(holder, is_rung=number == 0)
            if number == 0:
                # After the ring, or the first bell after a long silence would be told of as missing.
                self._look_around()
            if begun is None:
                return handed_out
            seen, chores = begun
            moved = self._see_to(chores)
            picked = self._round()
            handed_out += len(picked.invoices)
            is_last = picked.is_last or not picked.invoices
            if is_last and moved == 0 and self._leave(holder, seen=seen):
                return handed_out
        self._leave(holder, seen=None)
        return handed_out

    def _begin(self, holder: UUID, *, is_rung: bool) -> tuple[int, Chores] | None:
        now = self._clock()
        take = leases.ring_and_take if is_rung else leases.take
        with self._database.transaction() as session:
            seen = take(session, LEASE_NAME, holder=holder, now=now, seconds=LEASE_SECONDS)
            return (seen, rounds.look(session, now=now)) if seen is not None else None

    def _look_around(self) -> None:
        # Bells ring here while beat is dead, so this is where that is noticed as long as work goes on.
        now = self._clock()
        last = self._looked_around_at
        if last is not None and timedelta(0) <= now - last < LOOK_AROUND:
            return
        with self._database.transaction() as session:
            if look_at_rings(session, self._settings, now=now):
                for company_id in holding.mark_stragglers(session, now=now):
                    extra = {"event": "held_without_hold", "company": str(company_id)}
                    log.warning("invoices waited for a company that is well", extra=extra)
        self._looked_around_at = now

    def _see_to(self, chores: Chores) -> int:
        now = self._clock()
        moved = 0
        if chores.has_held:
            with self._database.transaction() as session:
                moved += holding.hold_waiting(session, now=now)
            with self._database.transaction() as session:
                moved += holding.let_go_on(session, now=now)
        if chores.has_expired:
            with self._database.transaction() as session:
                swept = claims.sweep(session, now=now)
            for each in swept:
                log.warning("lease expired while sending", extra={"event": "lease_expired", "invoice": str(each)})
            moved += len(swept)
        return moved

    def _leave(self, holder: UUID, *, seen: int | None) -> bool:
        with self._database.transaction() as session:
            return leases.leave(session, LEASE_NAME, holder=holder, seen=seen)

    def _round(self) -> Picked:
        now = self._clock()
        with self._database.transaction() as session:
            picked = self._pick(session, now=now)
            chunks = self._stamp(session, picked, now=now)
        if chunks:
            self._points.reach(Point.BEFORE_PUBLISH)
        self._publish(chunks)
        return picked

    def _pick(self, session: Session, *, now: datetime) -> Picked:
        if (why := why_disarmed(session, self._settings)) is not None:
            # Probes wait too: they would begin the retry budget. The alarm tells it to people, this line to the log.
            log.debug(why, extra={"event": "disarmed"})
            return Picked()
        return pick(session, self._settings, now=now)

    def _publish(self, chunks: list[Chunk]) -> None:
        # After the commit, never before: a message must not overtake the rows it speaks of.
        for chunk in chunks:
            try:
                self._publisher.publish(chunk)
            except ServiceUnavailableError:
                log.warning("broker away", extra={"event": "publish_failed", "epoch": chunk.epoch})
                raise

    def _stamp(self, session: Session, picked: Picked, *, now: datetime) -> list[Chunk]:
        cuts = chunking.cut(picked.invoices, self._settings)
        if not cuts:
            return []
        until = now + timedelta(seconds=self._settings.dispatch_lease_seconds)
        epochs = dispatching.stamp(session, [[each.id for each in cut] for cut in cuts], now=now, until=until)
        return [_chunk(cut, epoch, picked) for cut, epoch in zip(cuts, epochs, strict=True)]


def _chunk(cut: Sequence[DueInvoice], epoch: int, picked: Picked) -> Chunk:
    company_id = cut[0].company_id
    return Chunk(
        company_id=company_id,
        company_name=picked.names[company_id],
        epoch=epoch,
        invoice_ids=tuple(invoice.id for invoice in cut),
        is_probe=cut[0].state is State.IN_DOUBT,
        is_express=company_id in picked.express,
    )

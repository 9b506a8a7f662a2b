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
from pipeline.storage import claims, dispatching, holding, leases
from pipeline.storage.database import Database
from pipeline.storage.dispatching import DueInvoice

LEASE_NAME = "dispatch"
LEASE_SECONDS = 8.0
"""A pump that died is replaced after this; a living one takes the lease anew in every round."""
ROUNDS = 100
"""After so many rounds a pump leaves, so that a task never runs into its time limit; beat rings the next one."""
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

    def run(self, holder: UUID) -> int:
        """Dispatch until nothing is due; return how many invoices were handed out. Harmless when rung twice.

        Raises: ServiceUnavailableError when database or broker cannot be reached; the leases bring the work back.
        """
        with self._database.transaction() as session:
            leases.ring(session, LEASE_NAME, now=self._clock())
        self._look_around()
        try:
            return self._pump(holder)
        except ServiceUnavailableError:
            # The next pump need not wait for our lease when what was away comes back.
            with suppress(ServiceUnavailableError):
                self._leave(holder, seen=None)
            raise

    def _pump(self, holder: UUID) -> int:
        handed_out = 0
        for _ in range(ROUNDS):
            with self._database.transaction() as session:
                seen = leases.take(session, LEASE_NAME, holder=holder, now=self._clock(), seconds=LEASE_SECONDS)
            if seen is None:
                return handed_out
            moved = self._move_held()
            count = self._round()
            handed_out += count
            if count == 0 and moved == 0 and self._leave(holder, seen=seen):
                return handed_out
        self._leave(holder, seen=None)
        return handed_out

    def _look_around(self) -> None:
        # Bells ring here while beat is dead, so this is where that is noticed as long as work goes on.
        now = self._clock()
        with self._database.transaction() as session:
            if look_at_rings(session, self._settings, now=now):
                for company_id in holding.mark_stragglers(session, now=now):
                    extra = {"event": "held_without_hold", "company": str(company_id)}
                    log.warning("invoices waited for a company that is well", extra=extra)

    def _move_held(self) -> int:
        now = self._clock()
        with self._database.transaction() as session:
            held = holding.hold_waiting(session, now=now)
        with self._database.transaction() as session:
            return held + holding.let_go_on(session, now=now)

    def _leave(self, holder: UUID, *, seen: int | None) -> bool:
        with self._database.transaction() as session:
            return leases.leave(session, LEASE_NAME, holder=holder, seen=seen)

    def _round(self) -> int:
        now = self._clock()
        with self._database.transaction() as session:
            for invoice_id in claims.sweep(session, now=now):
                log.warning("lease expired while sending", extra={"event": "lease_expired", "invoice": str(invoice_id)})
        with self._database.transaction() as session:
            picked = self._pick(session, now=now)
            chunks = self._stamp(session, picked, now=now)
        if chunks:
            self._points.reach(Point.BEFORE_PUBLISH)
        self._publish(chunks)
        return len(picked.invoices)

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

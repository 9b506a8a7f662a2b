"""Records what came back of a chunk: where each invoice stands now, in one transaction. Knows no network, no SQL."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from pipeline.domain.consequence import COMPANY, conclude
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.services.departure import Elapsed, Leases
from pipeline.services.flight import Result
from pipeline.services.hold import hold_stopped
from pipeline.services.points import Point, Points
from pipeline.services.ports import Chance, Clock
from pipeline.settings import Settings
from pipeline.storage import claims, companies
from pipeline.storage.claims import Claimed, Move
from pipeline.storage.database import Database

LET_IN = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.ALREADY_THERE, OutcomeKind.REFUSED})
"""Whoever hears this of one of its invoices was let in by the operator."""

log = logging.getLogger(__name__)


class Recorder:
    """One for each process; its methods run in threads."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        clock: Clock,
        chance: Chance,
        points: Points,
        elapsed: Elapsed,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._points = points
        self._elapsed = elapsed

    def record(
        self,
        results: Sequence[Result],
        in_the_air: Sequence[UUID],
        *,
        epoch: int,
        company_id: UUID,
        leases: Leases,
    ) -> None:
        """Write what came back, and extend the leases of what is still in the air. Safe to call twice.

        Raises: ServiceUnavailableError.
        """
        since, now = self._elapsed(), self._clock()
        moves = [move for claimed, outcome in results if (move := self._move(claimed, outcome, now=now)) is not None]
        if moves:
            self._points.reach(Point.BEFORE_RECORD, [move.claimed.id for move in moves])
        try:
            self._write(moves, epoch=epoch, company_id=company_id, now=now)
        except ServiceUnavailableError:
            raise
        except Exception:
            # One row that the database refuses takes no other down; its lease leads to a probe.
            if len(moves) > 1:
                for each in results:
                    self.record([each], (), epoch=epoch, company_id=company_id, leases=leases)
            else:
                log.exception("could not be recorded, to be probed", extra=_about(moves, "record_crashed"))
        if in_the_air:
            until = now + timedelta(seconds=self._settings.claim_lease_seconds)
            with self._database.transaction() as session:
                kept = claims.heartbeat(session, in_the_air, epoch=epoch, until=until)
            leases.prolong(kept, since=since)

    def _write(self, moves: Sequence[Move], *, epoch: int, company_id: UUID, now: datetime) -> None:
        if not moves:
            return
        with self._database.transaction() as session:
            moved = claims.record(session, moves, epoch=epoch, now=now)
            if any(move.outcome.kind in LET_IN for move in moves):
                companies.note_let_in(session, company_id, now=now)
            stops = [move.outcome for move in moves if move.consequence.held_for == COMPANY]
            if stops:
                hold_stopped(session, company_id, stops[0], settings=self._settings, now=now)
        for move in moves:
            if move.claimed.id not in moved:
                extra = {"event": "late_writer", "invoice": str(move.claimed.id), "epoch": epoch}
                log.warning("came too late and changed nothing", extra=extra)

    def _move(self, claimed: Claimed, outcome: Outcome, *, now: datetime) -> Move | None:
        try:
            consequence = conclude(
                outcome, claimed.standing, now=now, schedule=self._settings.schedule, chance=self._chance()
            )
        except Exception:
            # A bug of ours about one invoice takes no other down; its lease leads to a probe.
            extra = {"event": "conclusion_crashed", "invoice": str(claimed.id)}
            log.exception("could not conclude, to be probed", extra=extra)
            return None
        return Move(claimed=claimed, outcome=outcome, consequence=consequence)


def _about(moves: Sequence[Move], event: str) -> dict[str, object]:
    return {"event": event, "invoice": ",".join(str(move.claimed.id) for move in moves)}

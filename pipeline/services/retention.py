"""Drops what need not be kept any longer, part by part: documents, then records, then what belongs to them.

A part that is in use is left for the next time; what was done is done. Knows nothing of Celery or SQL.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.alone import Alone
from pipeline.services.ports import Clock
from pipeline.settings import Settings
from pipeline.storage import retention_leftovers, retention_swap
from pipeline.storage.database import Database
from pipeline.storage.retention_rules import ORDER, Leaving, Rules, count_leaving, parts_to_look_at, read_rules

LEASE_NAME = "retention"
NIGHT_HOURS = range(4)
"""UTC: night where the invoices are. Rung at another hour nothing is done, unless a person rings."""
TURN = timedelta(minutes=5)
"""No part is begun later than this after the ring: the task has a time limit, and the next ring goes on."""
PIECE = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """What one run did."""

    left: list[Leaving] = field(default_factory=list)
    put_off: list[str] = field(default_factory=list)
    """Parts that were in use, with the reason."""


class Retention:
    """Finds what may go, and drops it."""

    def __init__(self, *, database: Database, settings: Settings, clock: Clock, piece: int = PIECE) -> None:
        self._database = database
        self._keep = settings.keep
        self._clock = clock
        self._piece = piece

    def look(self) -> list[Leaving]:
        """Return what a run would drop now, and change nothing."""
        rules = self._rules()
        with self._database.transaction() as session:
            found = [
                count_leaving(session, rules, table, part)
                for table in ORDER
                for part in parts_to_look_at(session, rules, table, again=True)
            ]
        return [each for each in found if each.rows]

    async def run(self, holder: UUID, *, at_night_only: bool = False) -> Dropped:
        """Drop what may go; return what did. Harmless when rung twice, nothing beside another."""
        dropped = Dropped()
        if at_night_only and self._clock().hour not in NIGHT_HOURS:
            return dropped

        async def work() -> int:
            await asyncio.to_thread(self._drop, dropped)
            return 0

        await Alone(database=self._database, clock=self._clock, name=LEASE_NAME).run(holder, work)
        return dropped

    def _drop(self, dropped: Dropped) -> None:
        until = self._clock() + TURN
        rules = self._rules()
        for table in ORDER:
            if table in {"attempt", "event"} and any(each.startswith("invoice_") for each in dropped.put_off):
                return  # a record keeps its story
            with self._database.transaction() as session:
                parts = parts_to_look_at(session, rules, table)
            for part in parts:
                if self._clock() > until:
                    return
                if not self._drop_from(rules, table, part, dropped):
                    break  # who uses one part, a backup say, uses all of them
            self._clear_leftovers()

    def _drop_from(self, rules: Rules, table: str, part: str, dropped: Dropped) -> bool:
        try:
            with self._database.transaction() as session:
                leaving = count_leaving(session, rules, table, part)
            with self._database.transaction() as session:
                if not leaving.rows:
                    retention_swap.mark(session, rules, part)
                    return True
                left = retention_swap.remove_from_part(session, rules, leaving, now=self._clock())
        except ServiceUnavailableError as exc:
            log.warning("event=retention_put_off part=%s why=%s", part, exc)
            dropped.put_off.append(f"{part}: {exc}")
            return False
        dropped.left.append(left)
        log.info("event=part_dropped part=%s rows=%s kept=%s", part, left.rows, left.kept)
        return True

    def _clear_leftovers(self) -> None:
        with self._database.transaction() as session:
            tables = retention_leftovers.tables_of_gone(session)
        for gone in tables:
            count = self._piece
            while count:
                with self._database.transaction() as session:
                    count = retention_leftovers.clear_piece(session, gone, limit=self._piece)

    def _rules(self) -> Rules:
        with self._database.transaction() as session:
            return read_rules(session, self._keep, now=self._clock())

"""Keeps the tables small that work is found in: makes months before they come, and puts away what is finished.

Changes nothing that anybody waits for. Knows nothing of Celery or SQL.
"""

import asyncio
import logging
from datetime import timedelta
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.alone import Alone
from pipeline.services.ports import Clock
from pipeline.settings import Settings
from pipeline.storage import partitions, shelving
from pipeline.storage.database import Database

LEASE_NAME = "upkeep"
PIECE = 500
"""Invoices put away in one transaction: a hint for one of them waits milliseconds, not seconds."""
REST = timedelta(hours=1)
"""Nothing is put away the moment it is finished: a batch that a person looks at ends together."""

log = logging.getLogger(__name__)


class Upkeep:
    """Makes months and shelves invoices."""

    def __init__(self, *, database: Database, settings: Settings, clock: Clock, piece: int = PIECE) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._piece = piece
        self._shelved = 0

    async def run(self, holder: UUID) -> int:
        """Put away what is finished; return how many. Harmless when rung twice, nothing beside another."""
        self._shelved = 0
        await asyncio.to_thread(self._make_months)
        await Alone(database=self._database, clock=self._clock, name=LEASE_NAME).run(holder, self._round)
        return self._shelved

    async def _round(self) -> int:
        count = await asyncio.to_thread(self._shelve)
        self._shelved += count
        # What is less than a piece is no reason for another round.
        return count if count == self._piece else 0

    def _make_months(self) -> None:
        try:
            with self._database.transaction() as session:
                made = partitions.make_months_soon(session, now=self._clock())
        except ServiceUnavailableError as exc:
            # The months are made long before they come, and what comes sooner is kept all the same.
            log.warning("event=months_put_off why=%s", exc)
            return
        if made:
            log.info("event=months_made names=%s", ",".join(made))

    def _shelve(self) -> int:
        now = self._clock()
        with self._database.transaction() as session:
            return shelving.shelve(
                session,
                rested_since=now - REST,
                accepted_before=now - timedelta(days=self._settings.delivered_days),
                now=now,
                limit=self._piece,
            )

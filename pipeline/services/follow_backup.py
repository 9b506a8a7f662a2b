"""The daily pass: everything open that nobody looked at for so long becomes due, whatever hints and curve did.

Only makes turns come; the follow-up does the asking. Knows nothing of the operator.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

from pipeline.services.alone import Alone
from pipeline.services.ports import Clock
from pipeline.settings import Settings
from pipeline.storage.database import Database
from pipeline.storage.following_hints import ring_unseen

LEASE_NAME = "backup"
PIECE = 10_000
"""Invoices of one transaction, so that nobody waits long for their rows."""
FIRST = UUID(int=0)


class BackupPass:
    """Makes everything open due that the operator has not shown for `backup_look_seconds`."""

    def __init__(self, *, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._after = FIRST

    async def run(self, holder: UUID) -> int:
        """Ring for what is open and unseen; return how many. Harmless when rung twice, nothing beside another."""
        self._after = FIRST
        return await Alone(database=self._database, clock=self._clock, name=LEASE_NAME).run(holder, self._round)

    async def _round(self) -> int:
        rung = await asyncio.to_thread(self._ring)
        if rung:
            self._after = rung[-1]
        return len(rung)

    def _ring(self) -> list[UUID]:
        now = self._clock()
        with self._database.transaction() as session:
            return ring_unseen(
                session,
                after=self._after,
                before=now - timedelta(seconds=self._settings.backup_look_seconds),
                accepted_after=now - timedelta(days=self._settings.delivered_days),
                now=now,
                limit=PIECE,
            )

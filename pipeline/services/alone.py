"""A sweep of which only one runs in the whole fleet: rung by anybody, twice or late, it runs once at a time.

Knows nothing of what the sweep does.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.ports import Clock
from pipeline.storage import leases
from pipeline.storage.database import Database

LEASE_SECONDS = 15.0
"""A sweep that died is replaced after this; a living one renews the lease while a round goes on."""
RENEW_SECONDS = 4.0
ROUNDS = 200
"""After so many rounds a sweep leaves, so that a task never runs into its time limit; beat rings the next one."""

Round = Callable[[], Awaitable[int]]
"""One round of work; returns how much was done, 0 when nothing is left for now. May take longer than the lease."""

log = logging.getLogger(__name__)


class Alone:
    """Runs rounds of a sweep under its lease in the database."""

    def __init__(self, *, database: Database, clock: Clock, name: str) -> None:
        self._database = database
        self._clock = clock
        self._name = name

    async def run(self, holder: UUID, work: Round) -> int:
        """Work until nothing is left and nobody rang meanwhile; return how much was done. 0 beside another holder.

        Raises: whatever a round raises; the lease is given back then.
        """
        with self._database.transaction() as session:
            leases.ring(session, self._name, now=self._clock())
        done = 0
        try:
            for _ in range(ROUNDS):
                seen = self._take(holder)
                if seen is None:
                    return done
                async with self._renewed(holder):
                    count = await work()
                done += count
                if count == 0 and self._leave(holder, seen=seen):
                    return done
        except BaseException:
            # The next one need not wait for our lease.
            with suppress(ServiceUnavailableError):
                self._leave(holder, seen=None)
            raise
        self._leave(holder, seen=None)
        return done

    @asynccontextmanager
    async def _renewed(self, holder: UUID) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew_for_ever(holder))
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew_for_ever(self, holder: UUID) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                held = await asyncio.to_thread(self._renew, holder)
            except ServiceUnavailableError:
                continue  # the lease may end meanwhile: another holder does no harm, only the same work
            if not held:
                log.warning("lease lost during a round", extra={"event": "lease_lost", "sweep": self._name})
                return

    def _renew(self, holder: UUID) -> bool:
        with self._database.transaction() as session:
            return leases.renew(session, self._name, holder=holder, now=self._clock(), seconds=LEASE_SECONDS)

    def _take(self, holder: UUID) -> int | None:
        with self._database.transaction() as session:
            return leases.take(session, self._name, holder=holder, now=self._clock(), seconds=LEASE_SECONDS)

    def _leave(self, holder: UUID, *, seen: int | None) -> bool:
        with self._database.transaction() as session:
            return leases.leave(session, self._name, holder=holder, seen=seen)

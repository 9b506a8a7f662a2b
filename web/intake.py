"""Between the event loop and the database: a bounded number of threads, and no wait without a deadline."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database
from pipeline.storage.webhooks import Hint, bound_waits, hash_secret, store_hint

T = TypeVar("T")

THREADS = 8
"""Below the ten connections of the database's pool, so that no thread waits for one."""
WAITING_LIMIT = 200
"""What waits beyond the threads; more is sent away at once, the operator comes again."""
DEADLINE_SECONDS = 8.0
"""For one answer of the database, the wait for a thread included."""
STATEMENT_SECONDS = 5.0


class Intake:
    """Stores hints in the database from an event loop. Made after the fork; closed once."""

    def __init__(self, database: Database, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._database = database
        self._deadline_seconds = deadline_seconds
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="intake")
        self._room = BoundedSemaphore(THREADS + WAITING_LIMIT)

    async def store(self, secret: str, *, invoice_id: UUID | None, event: str) -> Hint:
        """Return what became of the hint, after its commit.

        Raises: ServiceUnavailableError when the database does not answer in time; the hint may be stored even so.
        """

        def write(session: Session) -> Hint:
            now = read_clock(session)
            return store_hint(session, hash_secret(secret), invoice_id=invoice_id, event=event, now=now)

        return await self._do(write)

    async def check(self) -> None:
        """Ask the database for a sign of life. Raises: ServiceUnavailableError."""

        def ask(session: Session) -> None:
            session.connection().execute(text("SELECT FROM webhook LIMIT 1"))

        await self._do(ask)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._database.close()

    async def _do(self, work: Callable[[Session], T]) -> T:
        if not self._room.acquire(blocking=False):
            raise ServiceUnavailableError("too many webhooks wait for the database")
        job = self._threads.submit(self._in_transaction, work)
        # Freed when the thread is done, not when nobody waits any more: one that hangs still takes up room.
        job.add_done_callback(lambda _: self._room.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._deadline_seconds)
        except TimeoutError as exc:
            raise ServiceUnavailableError("the database did not answer in time") from exc

    def _in_transaction(self, work: Callable[[Session], T]) -> T:
        with self._database.transaction() as session:
            bound_waits(session, seconds=STATEMENT_SECONDS)
            return work(session)

"""Writes what exchanges ended with, a few times a second for all of them. A process that dies loses the last of it.

Knows nothing of turns.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime, timedelta

from pipeline.domain.errors import ConfigurationError, ServiceUnavailableError
from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane
from pipeline.services.exchange_evidence import ExchangeEvidence
from pipeline.services.outlook import Outlook
from pipeline.services.ports import Clock
from pipeline.services.turn_queue import SleepUntil
from pipeline.settings import Settings
from pipeline.storage.circuits import note_evidence
from pipeline.storage.database import Database
from pipeline.storage.pacing import Key, note, seat

FLUSH = timedelta(seconds=0.2)
"""How long an answer may wait for others before it counts."""
CLOSE_SECONDS = 5.0

log = logging.getLogger(__name__)


class EvidenceKeeper:
    """Collects and writes. Its timer runs only while there is something to write."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        host: str,
        clock: Clock,
        outlook: Outlook,
        sleep_until: SleepUntil,
        executor: Callable[[], Executor],
    ) -> None:
        self._database = database
        self._settings = settings
        self._host = host
        self._clock = clock
        self._outlook = outlook
        self._sleep_until = sleep_until
        self._executor = executor
        self._evidence = ExchangeEvidence(host=host)
        self._seated: set[Key] = set()
        self._timer: asyncio.Task[None] | None = None
        self._hurried: set[asyncio.Task[None]] = set()

    def add(self, company: str | None, lane: Lane, outcome: Outcome | None) -> None:
        """Count one exchange that ended; it is written within a moment, and at once where it may open a circuit."""
        self._evidence.add(company, lane, outcome)
        if not self._hurried and self._evidence.opens(least_failures=self._settings.circuit_failures):
            self._hurry()
        elif self._evidence and (self._timer is None or self._timer.done()):
            self._timer = asyncio.get_running_loop().create_task(self._write_later())

    def block(self, scope: str, until: datetime) -> None:
        """Keep a scope to a pause: here at once, everywhere as soon as it is written, which begins now."""
        for lane in Lane:
            self._outlook.block(scope, lane, until)
            self._evidence.block((scope, lane), until)
        self._hurry()

    async def flush(self) -> None:
        """Write everything collected; what cannot be written is kept for the next time."""
        evidence, self._evidence = self._evidence, ExchangeEvidence(host=self._host)
        if not evidence:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor(), self._write, evidence)
        except (ServiceUnavailableError, ConfigurationError) as exc:
            self._evidence.merge(evidence)
            log.warning("evidence not written yet: %s", exc, extra={"event": "evidence_kept"})
            return
        self._outlook.written(evidence.blocks)
        if evidence.opens(least_failures=self._settings.circuit_failures):
            self._outlook.outdate()

    async def close(self) -> None:
        """Write the rest, unless the database is away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hurried:
            await asyncio.wait(self._hurried, timeout=CLOSE_SECONDS)
        try:
            await asyncio.wait_for(self.flush(), CLOSE_SECONDS)
        except TimeoutError:
            log.warning("evidence lost at the end", extra={"event": "evidence_lost"})

    def _hurry(self) -> None:
        task = asyncio.get_running_loop().create_task(self.flush())
        self._hurried.add(task)
        task.add_done_callback(self._hurried.discard)

    async def _write_later(self) -> None:
        while self._evidence:
            await self._sleep_until(self._clock() + FLUSH)
            await self.flush()

    def _write(self, evidence: ExchangeEvidence) -> None:
        noted = evidence.noted()
        now = self._clock()
        fresh = noted.keys() - self._seated
        if fresh:
            with self._database.transaction() as session:
                seat(session, fresh)
            self._seated |= fresh
        with self._database.transaction() as session:
            # The companies' before the host's, as note_evidence asks.
            for scope, weighed in sorted(evidence.weighed.items(), key=lambda each: (each[0] == self._host, each[0])):
                note_evidence(
                    session,
                    scope,
                    answered=weighed.answered,
                    failed=weighed.failed,
                    told=weighed.told,
                    now=now,
                    settings=self._settings,
                )
            # Last, so that the rows turns are taken from are locked for as short as can be.
            if not note(session, noted, host=self._host, settings=self._settings, now=now):
                self._seated.clear()

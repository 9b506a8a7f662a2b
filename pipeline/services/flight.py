"""One chunk in the air: collects what comes back, records it in small groups, keeps the rest alive by heartbeat.

Knows neither what is asked of the operator nor how it is recorded.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.outcome import Outcome
from pipeline.storage.claims import Claimed

FLUSH_SECONDS = 1.0
"""How long a result may wait for others before it is recorded."""

log = logging.getLogger(__name__)
Result = tuple[Claimed, Outcome]
Work = tuple[Coroutine[Any, Any, list[Result]], Iterable[UUID]]
"""One exchange and the invoices it is about."""
Record = Callable[[Sequence[Result], Sequence[UUID]], None]
"""Writes results and extends the leases of those still in the air, in one transaction; runs in a thread."""


class Flight:
    """The exchanges of one chunk, from the first byte until the last result is recorded."""

    def __init__(self, work: Iterable[Work], *, record: Record, patience_seconds: float) -> None:
        """Begin the exchanges. `patience_seconds`: how long to go on without a database before giving up."""
        self._ids_of = {asyncio.ensure_future(exchange): frozenset(ids) for exchange, ids in work}
        self._pending = set(self._ids_of)
        self._in_the_air = {each for ids in self._ids_of.values() for each in ids}
        self._record = record
        self._patience_seconds = patience_seconds
        self._unrecorded: list[Result] = []
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """Outcomes recorded so far, and how many invoices are still in the air."""
        return self._counts + Counter({"in_the_air": len(self._in_the_air)})

    async def run(self) -> None:
        """Record everything as it comes in.

        Raises: ServiceUnavailableError when the database stayed away too long; the leases then lead to a probe.
        """
        last_success = asyncio.get_running_loop().time()
        try:
            while self._pending or self._unrecorded:
                await self._collect()
                try:
                    await self._flush()
                    last_success = asyncio.get_running_loop().time()
                except ServiceUnavailableError:
                    if asyncio.get_running_loop().time() - last_success > self._patience_seconds:
                        raise
                    log.warning("could not record, trying again", extra={"event": "record_failed"})
                    await asyncio.sleep(FLUSH_SECONDS)
        finally:
            for task in self._pending:
                task.cancel()

    async def _collect(self) -> None:
        if not self._pending:
            return
        done, self._pending = await asyncio.wait(self._pending, timeout=FLUSH_SECONDS)
        for task in done:
            # One exchange that broke in our own code takes no other down; its invoices keep their lease, then a probe.
            if crash := task.exception():
                log.error("exchange broke, to be probed", exc_info=crash, extra={"event": "exchange_crashed"})
                self._in_the_air -= self._ids_of[task]
                continue
            self._unrecorded += task.result()

    async def _flush(self) -> None:
        results = self._unrecorded
        landed = {claimed.id for claimed, _ in results}
        await asyncio.to_thread(self._record, results, tuple(self._in_the_air - landed))
        self._unrecorded = []
        self._in_the_air -= landed
        self._counts.update(_counted_as(outcome) for _, outcome in results)


def _counted_as(outcome: Outcome) -> str:
    return outcome.kind.value if outcome.held_back_seconds is None else "held_back"

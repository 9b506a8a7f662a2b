"""The exchanges of one process that claimed work is waiting for, and how they end when the process does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from pipeline.domain.outcome import Outcome
from pipeline.services.departure import CUT_SHORT, DEPARTURE, ENDING, LAPSED, Departure, DepartureGate, Leases

T = TypeVar("T")
log = logging.getLogger(__name__)


class Exchanges:
    """Those that have not ended, each an asyncio task of its own."""

    def __init__(self, gate: DepartureGate | None) -> None:
        self._gate = gate
        self._departures: dict[asyncio.Task[Any] | None, Departure] = {}
        self.is_ending = False

    async def run(
        self, ids: Sequence[UUID], leases: Leases, exchange: Callable[[Departure], Awaitable[T]]
    ) -> T | Outcome:
        """Carry one out in the present task; it calls `begin` of its departure at the last moment we know of."""
        departure = Departure(lambda: self._why_not(ids, leases))
        DEPARTURE.set(departure)
        task = asyncio.current_task()
        self._departures[task] = departure
        try:
            return await exchange(departure)
        except asyncio.CancelledError:
            if not self.is_ending:
                raise
            return CUT_SHORT if departure.is_out else ENDING
        finally:
            del self._departures[task]

    def hand_back(self) -> None:
        """Let nothing begin any more, and end those that have not begun."""
        self.is_ending = True
        if self._gate is not None:
            self._gate.close()
        for task, departure in self._departures.items():
            if task is not None and not departure.is_out:
                task.cancel()

    def cut_short(self) -> int:
        """End those that are in the air; return how many."""
        left = [task for task in self._departures if task is not None]
        for task in left:
            task.cancel()
        return len(left)

    def _why_not(self, ids: Sequence[UUID], leases: Leases) -> Outcome | None:
        if self.is_ending:
            return ENDING
        if leases.is_over(ids):
            log.warning("not begun, the lease was over", extra={"event": "lease_over", "count": len(ids)})
            return LAPSED
        return None

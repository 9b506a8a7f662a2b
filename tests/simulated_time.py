"""An event loop whose clock stands still while anything works, and jumps to the next appointment when all wait.

Hours pass in seconds, and every timer of asyncio and of the product keeps its place in the order. Work in threads
(database calls) takes no simulated time.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
STUCK_SECONDS = 60.0
"""Of real time: a thread that takes longer hangs."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs what it is given; `clock()` is its time as an instant, for threads too."""

    def __init__(self, start: datetime = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._passed = 0.0
        self._outside = 0
        super().__init__(_JumpingSelector(self))
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._passed

    def clock(self) -> datetime:
        return self._start + timedelta(seconds=self._passed)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and close."""
        try:
            return self.run_until_complete(work)
        finally:
            self.close()

    @property
    def is_idle(self) -> bool:
        return self._outside == 0

    def jump(self, seconds: float) -> None:
        self._passed += seconds

    def _came_back(self, _: object) -> None:
        self._outside -= 1


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Instead of waiting it lets the time pass, unless a thread is still at work."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if not self._loop.is_idle:
            events = super().select(STUCK_SECONDS)
            if not events:
                raise RuntimeError("a thread does not come back")
            return events
        events = super().select(0)
        if events:
            return events
        if timeout is None:
            raise RuntimeError("everybody waits for nothing")
        self._loop.jump(timeout)
        return []

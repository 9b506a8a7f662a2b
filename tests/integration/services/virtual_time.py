"""A clock that jumps to the next instant somebody waits for, as soon as nobody has anything else to do."""

import asyncio
import heapq
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from tests.integration.services.line import START

SETTLING_ROUNDS = 30
"""Turns of the loop after which everything that could go on has gone on."""
MOMENT_SECONDS = 0.0005
"""Real time, for threads."""


class CountingExecutor(ThreadPoolExecutor):
    """Knows whether somebody is at the database."""

    def __init__(self):
        super().__init__(4)
        self.under_way = 0

    def submit(self, fn, /, *args, **kwargs):
        self.under_way += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _):
        self.under_way -= 1


class VirtualTime:
    """Clock and sleep for one loop; `executors` are waited for in real time."""

    def __init__(self):
        self.now = START
        self.executors: list[CountingExecutor] = []
        self._sleepers: list[tuple[Any, int, asyncio.Future[None]]] = []
        self._number = count()

    def __call__(self):
        return self.now

    async def sleep_until(self, at):
        if at <= self.now:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (at, next(self._number), future))
        await future

    def executor(self):
        self.executors.append(CountingExecutor())
        return self.executors[-1]

    def run(self, work: Coroutine[Any, Any, Any]):
        """Run to the end."""
        try:
            return asyncio.run(self._run(work))
        finally:
            for each in self.executors:
                each.shutdown()

    async def _run(self, work):
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(SETTLING_ROUNDS):
                await asyncio.sleep(0)
            if any(each.under_way for each in self.executors) or not self._sleepers:
                await asyncio.sleep(MOMENT_SECONDS)
                continue
            self.now = max(self.now, self._sleepers[0][0])
            while self._sleepers and self._sleepers[0][0] <= self.now:
                _, _, future = heapq.heappop(self._sleepers)
                if not future.done():
                    future.set_result(None)
        return task.result()

"""What a worker process owns: one event loop, one client, one pool; made after the fork, closed at the end."""

import asyncio
import ctypes
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop
from celery.signals import worker_init, worker_process_init, worker_process_shutdown, worker_shutting_down

from pipeline.bootstrap import Machine
from pipeline.domain.errors import ConfigurationError
from pipeline.settings import load_settings

log = logging.getLogger(__name__)
T = TypeVar("T")


CLOSE_SECONDS = 5.0
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""Of glibc's mallopt."""
BIG_BYTES = 1024 * 1024


class Process:
    """The belongings of one worker process. The loop turns in a thread of its own, also between tasks."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        self._draining: asyncio.Task[None] | None = None
        self.machine = self.run(_build())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine to its end on the process's loop; cancelled if the task's time is up."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def listen(self, doorbell: int) -> None:
        """Begin to drain when the other end of a pipe is closed: the parent was asked to end, or is gone."""
        self._loop.call_soon_threadsafe(self._loop.add_reader, doorbell, self._begin_drain, doorbell)

    def close(self) -> None:
        """Let what is in the air land, then close everything."""
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)

    def _begin_drain(self, doorbell: int) -> None:
        # The task that is being worked on goes on meanwhile: what it has not begun comes back as held back.
        self._loop.remove_reader(doorbell)
        self._draining = self._loop.create_task(self._drain())

    async def _end(self) -> None:
        if self._draining is not None:
            await self._draining
        await self._drain()
        await self.machine.close()

    async def _drain(self) -> None:
        cut_short = await self.machine.sender.drain(seconds=self.machine.settings.drain_seconds)
        if cut_short:
            log.warning("cut short, to be probed", extra={"event": "drain_incomplete", "exchanges": cut_short})


_held: list[Process] = []
_doorbell: list[int] = []
"""The ends of a pipe, to read and to write, between parent and children. The parent's is the only one to write, so that
the children's are at their end once it closes it or is gone."""
BOTH_ENDS = 2


def current() -> Process:
    """Return the process's belongings. Raises: ConfigurationError outside a prefork worker."""
    if not _held:
        raise ConfigurationError("tasks run in prefork worker processes only (celery worker --pool prefork)")
    return _held[0]


@worker_init.connect  # type: ignore[untyped-decorator]
def hang_doorbell(**_: object) -> None:
    """Connect the parent with all children to come."""
    _doorbell[:] = os.pipe()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def ring_doorbell(**_: object) -> None:
    """Tell the children at once: Celery does only when their present task is done, which may be long after."""
    # Taken out first: closed twice, the number could be somebody else's by then.
    if len(_doorbell) == BOTH_ENDS:
        os.close(_doorbell.pop())


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def open_process(**_: object) -> None:
    """Make the belongings after the fork."""
    # One line per HTTP request, with a hundred UUIDs in its URL, would drown what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if len(_doorbell) == BOTH_ENDS:
        os.close(_doorbell.pop())
    _give_back_memory()
    process = Process()
    _held.append(process)
    for doorbell in _doorbell:
        process.listen(doorbell)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def close_process(**_: object) -> None:
    """Close them at a clean end."""
    while _held:
        _held.pop().close()


def _give_back_memory() -> None:
    # After the first big document glibc would keep such blocks in its heaps for ever; so they go back to the system.
    # And it would give each thread a heap of its own, which keeps what it once took: 5 MiB of 147 under load.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, BIG_BYTES)
        mallopt(M_ARENA_MAX, 1)


async def _build() -> Machine:
    return Machine(load_settings())

"""What a worker process owns: one event loop, one client, one pool; made after the fork, closed at the end."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop
from celery.signals import worker_process_init, worker_process_shutdown

from pipeline.bootstrap import Machine
from pipeline.domain.errors import ConfigurationError
from pipeline.settings import load_settings

log = logging.getLogger(__name__)
T = TypeVar("T")


DRAIN_SECONDS = 8.0
"""How long a process that ends waits for what is in the air; the rest is probed when its lease is over."""
CLOSE_SECONDS = 5.0


class Process:
    """The belongings of one worker process. The loop turns in a thread of its own, also between tasks."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        self.machine = self.run(_build())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine to its end on the process's loop; cancelled if the task's time is up."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Let what is in the air land, then close everything."""
        left = self.run(self.machine.sender.drain(seconds=DRAIN_SECONDS))
        if left:
            log.warning("left in the air, to be probed", extra={"event": "drain_incomplete", "chunks": left})
        self.run(self.machine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)


_held: list[Process] = []


def current() -> Process:
    """Return the process's belongings. Raises: ConfigurationError outside a prefork worker."""
    if not _held:
        raise ConfigurationError("tasks run in prefork worker processes only (celery worker --pool prefork)")
    return _held[0]


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def open_process(**_: object) -> None:
    """Make the belongings after the fork."""
    # One line per HTTP request, with a hundred UUIDs in its URL, would drown what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _held.append(Process())


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def close_process(**_: object) -> None:
    """Close them at a clean end."""
    while _held:
        _held.pop().close()


async def _build() -> Machine:
    return Machine(load_settings())

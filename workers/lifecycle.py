"""What a worker process owns: one event loop, one client, one pool; made after the fork, closed at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop
from celery.signals import worker_process_init, worker_process_shutdown

from pipeline.bootstrap import Machine
from pipeline.domain.errors import ConfigurationError
from pipeline.settings import load_settings

T = TypeVar("T")


class Process:
    """The belongings of one worker process."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self.machine = self.run(_build())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine to its end on the process's loop."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Close everything."""
        self.run(self.machine.close())
        self._loop.close()


_held: list[Process] = []


def current() -> Process:
    """Return the process's belongings. Raises: ConfigurationError outside a prefork worker."""
    if not _held:
        raise ConfigurationError("tasks run in prefork worker processes only (celery worker --pool prefork)")
    return _held[0]


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def open_process(**_: object) -> None:
    """Make the belongings after the fork."""
    _held.append(Process())


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def close_process(**_: object) -> None:
    """Close them at a clean end."""
    while _held:
        _held.pop().close()


async def _build() -> Machine:
    return Machine(load_settings())

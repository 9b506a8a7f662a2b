"""One piece of work at a time in a thread beside this one. Knows nothing of what the work is."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")
LEAVE_SECONDS = 5.0


class Beside(Generic[Outcome]):
    """Does work that mostly waits while this thread goes on; never two pieces at once, so that they stay in order."""

    def __init__(self) -> None:
        self._under_way: Future[Outcome] | None = None

    def begin(self, work: Callable[[], Outcome]) -> None:
        """Start a piece of work; the one before has ended."""
        self._under_way = Future()
        # A daemon, so that whoever ends this process need not wait for a database that hangs.
        threading.Thread(target=_do, args=(self._under_way, work), name="beside", daemon=True).start()

    def end(self) -> Iterator[Outcome]:
        """Wait for what is under way and yield its outcome, nothing when there is none. Raises: what it raised."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            yield under_way.result()

    def leave(self) -> None:
        """Let what is under way come to its end, if it does so soon; nobody will be told what became of it."""
        if self._under_way is not None:
            wait((self._under_way,), LEAVE_SECONDS)


def _do(told: "Future[Outcome]", work: Callable[[], Outcome]) -> None:
    try:
        told.set_result(work())
    except BaseException as exc:  # noqa: BLE001 - the edge of a thread; the other one raises it
        told.set_exception(exc)

"""Ctrl-C that ends a long command at a good moment; pressed again, at once. Knows nothing of the command."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self, TypeVar

Thing = TypeVar("Thing")
STATUS_OF_A_SIGNAL = 128
"""Shells add it to the number of the signal that ended a command."""


class Interruption:
    """Within it, the first Ctrl-C (or SIGTERM) is only noted; a wait for input is cut short by it."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Of the signal that came; None as long as none did."""
        self._waiting = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal() itself gave

    @property
    def status(self) -> int:
        """The exit status of a command that was ended so: 130 after Ctrl-C."""
        return STATUS_OF_A_SIGNAL + (self.number or signal.SIGINT)

    def came(self) -> bool:
        """Tell whether the command should end at the next good moment."""
        return self.number is not None

    def until_it_comes(self, things: Iterator[Thing]) -> Iterator[Thing]:
        """Yield what comes; end when interrupted, also in the middle of a wait for the next."""
        while not self.came():
            try:
                self._waiting = True
                thing = next(things)
                self._waiting = False
            except StopIteration:
                return
            except KeyboardInterrupt:
                if not self.came():
                    raise
                return
            finally:
                self._waiting = False
            yield thing

    def _note(self, number: int, _frame: FrameType | None) -> None:
        again, self.number = self.came(), number
        if again or self._waiting:
            raise KeyboardInterrupt

"""Named points on an invoice's way at which `postiljon chaos` ends a process. Without a folder they do nothing."""

import os
import signal
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from uuid import UUID


class Point(StrEnum):
    """Where a process can be made to die."""

    BEFORE_CLAIM = "before-claim"
    AFTER_CLAIM = "after-claim"
    """The attempts are committed and nothing has left."""
    BYTES_LEFT = "after-the-bytes-left"
    BEFORE_RECORD = "before-the-record"
    """The operator has answered and nobody has written it down."""
    BEFORE_PUBLISH = "between-commit-and-publish"


class Points:
    """The points of one process."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def is_set(self, point: Point, ids: Iterable[UUID] = ()) -> bool:
        """Tell whether a process is to die at the point."""
        if self._folder is None:
            return False
        names = (point.value, *(f"{point.value}.{each}" for each in ids))
        return any((self._folder / name).exists() for name in names)

    def reach(self, point: Point, ids: Iterable[UUID] = ()) -> None:
        """Die here (SIGKILL) if a file of the point's name is in the folder; it is taken away first, so one dies.

        A file named point, dot, UUID ends whoever reaches the point with that invoice, again and again: it stays.
        """
        if self._folder is None or not self._is_reached(self._folder, point, ids):
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _is_reached(self, folder: Path, point: Point, ids: Iterable[UUID]) -> bool:
        if any((folder / f"{point.value}.{each}").exists() for each in ids):
            return True
        try:
            (folder / point.value).unlink()
        except OSError:
            return False
        return True

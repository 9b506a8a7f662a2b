"""Named points on an invoice's way at which `postiljon chaos` ends a process. Without a folder they do nothing."""

import os
import signal
from enum import StrEnum
from pathlib import Path


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

    def is_set(self, point: Point) -> bool:
        """Tell whether a process is to die at the point."""
        return self._folder is not None and (self._folder / point.value).exists()

    def reach(self, point: Point) -> None:
        """Die here (SIGKILL) if a file of the point's name is in the folder; it is taken away first, so one dies."""
        if self._folder is None:
            return
        try:
            (self._folder / point.value).unlink()
        except OSError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

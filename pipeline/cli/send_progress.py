"""How far a long send is, on stderr: a bar in a terminal, a line every few seconds elsewhere. Knows no invoices."""

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.cli.output import err

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 5.0
SHOWN_FROM = 500
"""Documents. Fewer are over before anybody has read how far they are."""


class SendProgress:
    """Told how many are done, tells how many of how many, how fast, and when it will be over."""

    def __init__(
        self, total: int | None, *, seconds: Callable[[], float], now: Callable[[], datetime], about: bool = False
    ) -> None:
        self._total, self._seconds, self._now, self._about = total, seconds, now, about
        self._done = 0
        self._began = self._told_at = seconds()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int) -> None:
        """Take note of a group that is stored."""
        self._done += count
        if self._done >= SHOWN_FROM and (self._total is None or self._total > self._done or self._bar):
            self._show()

    def words(self) -> str:
        """Say it on one line."""
        rate = self._done / max(self._seconds() - self._began, 1e-3)
        of = "" if self._total is None else f" of {'about ' if self._about else ''}{max(self._total, self._done):,}"
        return f"{self._done:,}{of} submitted, {rate:,.0f} a second{self._finish(rate)}"

    def _finish(self, rate: float) -> str:
        if self._total is None or self._total <= self._done:
            return ""
        left = timedelta(seconds=(self._total - self._done) / rate)
        # By the clock on the wall, which is the one a person plans by.
        return f", done at about {(self._now() + left).astimezone():%H:%M:%S}"

    def _show(self) -> None:
        if sys.stderr.isatty():
            self._draw()
        elif self._seconds() - self._told_at >= LINE_SECONDS:
            self._told_at = self._seconds()
            err().print(self.words(), soft_wrap=True)

    def _draw(self) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415 - most sends show no bar

            bar = BarColumn(bar_width=24)
            self._bar = Progress(bar, TextColumn("{task.description}"), console=err(), transient=True)
            self._bar.add_task("", total=self._total)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self._done, total=self._total, description=self.words())

"""Run a set of named processes together: start in order, restart what exits, stop in reverse, leave nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from pipeline.embedded import guardian
from pipeline.embedded.directory import ServiceDirectory, explained
from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.keeper import Keeper
from pipeline.embedded.liveness import started
from pipeline.embedded.spawning import python_script
from pipeline.embedded.state import FILE_NAME, Phase, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import FrameType, TracebackType

    from pipeline.embedded.process import ProcessSpec

POLL_SECONDS = 0.05


class Supervisor:
    """Runs processes from ``start`` to ``stop``, once, restarting from a thread of its own.

    Use it as a context manager, or in the foreground with ``run_until_signal``. The state file in ``state_dir`` and
    the logs in ``state_dir/logs`` are for other commands. When this very process is killed, a guardian ends the rest.
    """

    def __init__(
        self,
        state_dir: Path,
        specifications: Sequence[ProcessSpec],
        *,
        urls: Mapping[str, str] | None = None,
        grace_seconds: float = 5.0,
    ) -> None:
        self.directory = ServiceDirectory(state_dir)
        self.urls = dict(urls or {})
        self.grace_seconds = grace_seconds
        self.logs = self.directory.path / "logs"
        self._groups = _grouped([Keeper(specification, self.logs) for specification in specifications])
        self._phase = Phase.STARTING
        self._stopping = threading.Event()
        self._monitor: threading.Thread | None = None
        self._guardian: subprocess.Popen[str] | None = None
        self._known: dict[int, str] = {}

    @property
    def state(self) -> State:
        """What runs now."""
        pid = os.getpid()
        processes = tuple(keeper.state for keeper in self._keepers())
        return State(pid, started(pid) or "", self._phase, self.urls, processes)

    def start(self) -> Self:
        """Start everything in order and wait until each is ready, or done if it is a one-shot.

        Raises: EmbeddedServiceError in one line when one fails; everything is stopped again then.
        """
        self.directory.open()
        try:
            self._open_log_directory()
            self._start_guardian()
            for group in self._groups:
                self._start_group(group)
        except BaseException:
            self.stop()
            raise
        if not self._stopping.is_set():
            self._phase = Phase.READY
            self._publish()
            self._monitor = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._monitor.start()
        return self

    def stop(self) -> None:
        """Stop everything in reverse order and remove the state file; calling it again does nothing."""
        self._stopping.set()
        if self._monitor is not None:
            self._monitor.join()
            self._monitor = None
        if self._guardian is None:
            self.directory.close()
            return
        self._phase = Phase.STOPPING
        with contextlib.suppress(EmbeddedServiceError):  # a full disk must not keep anything running
            self._publish()
        for group in reversed(self._groups):
            _stop_together(group)
        self._dismiss_guardian()
        with contextlib.suppress(OSError):
            (self.directory.path / FILE_NAME).unlink(missing_ok=True)
        self.directory.close()

    def request_stop(self) -> None:
        """Ask ``run_until_signal`` or a ``start`` in progress to end soon; safe in a signal handler."""
        self._stopping.set()

    def run_until_signal(self) -> None:
        """Start, stay until SIGTERM or SIGINT comes, stop. Only for the main thread.

        Raises: EmbeddedServiceError as ``start`` does.
        """
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.start()
            self._stopping.wait()
        finally:
            self.stop()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.request_stop()

    def _keepers(self) -> list[Keeper]:
        return [keeper for group in self._groups for keeper in group]

    def _open_log_directory(self) -> None:
        with explained(self.logs):
            self.logs.mkdir(mode=0o700, exist_ok=True)

    def _start_group(self, group: list[Keeper]) -> None:
        for keeper in group:
            if self._stopping.is_set():
                return
            keeper.start()
            self._publish()
        waiting, restarts = group, 0
        while waiting and not self._stopping.is_set():
            waiting = [keeper for keeper in waiting if not keeper.is_up()]
            if restarts < (restarts := sum(keeper.restarts for keeper in group)):
                self._publish()
            if waiting:
                self._stopping.wait(POLL_SECONDS)
        self._publish()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            # A full disk or process table must not end the watch: what failed is tried again the next time.
            with contextlib.suppress(EmbeddedServiceError):
                changed = [keeper.watch() for keeper in self._keepers()]
                if self._guardian is None or self._guardian.poll() is not None:
                    self._start_guardian()
                    self._publish()
                elif any(changed):
                    self._publish()

    def _publish(self) -> None:
        """Tell the guardian and the state file what runs."""
        self._inform_guardian()
        self.directory.write(FILE_NAME, self.state.to_json())

    def _start_guardian(self) -> None:
        self._known = {}
        self._guardian = subprocess.Popen(
            [*python_script(guardian.__file__), str(self.grace_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            start_new_session=True,
        )

    def _inform_guardian(self) -> None:
        living = {
            k.process.pid: f"{k.beginning} {int(k.specification.stop_signal)}"
            for k in self._keepers()
            if k.pid and k.process
        }
        lines = [f"- {pid}\n" for pid in self._known.keys() - living.keys()]
        lines += [f"+ {pid} {words}\n" for pid, words in living.items() if self._known.get(pid) != words]
        self._known = living
        if self._guardian is not None and self._guardian.stdin is not None and lines:
            with contextlib.suppress(BrokenPipeError):  # it was killed: the watch starts another
                self._guardian.stdin.write("".join(lines))
                self._guardian.stdin.flush()

    def _dismiss_guardian(self) -> None:
        guard, self._guardian = self._guardian, None
        if guard is None or guard.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write("".join(f"- {pid}\n" for pid in self._known))
            guard.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
        guard.wait()


def _grouped(keepers: list[Keeper]) -> list[list[Keeper]]:
    """Put those that start beside their predecessor into one group with it."""
    groups: list[list[Keeper]] = []
    for keeper in keepers:
        if keeper.specification.beside_previous and groups:
            groups[-1].append(keeper)
        else:
            groups.append([keeper])
    return groups


def _stop_together(group: list[Keeper]) -> None:
    with ThreadPoolExecutor(max_workers=len(group)) as pool:
        list(pool.map(Keeper.stop, group))

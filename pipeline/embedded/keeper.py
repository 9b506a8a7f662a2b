"""One supervised process: start it, see whether it lives, start it again later and later, stop it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.embedded.directory import explained
from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.liveness import started
from pipeline.embedded.server import telling_line
from pipeline.embedded.spawning import end, kill_group, log_since, log_size, log_tail, set_aside, spawn
from pipeline.embedded.state import ProcessPhase, ProcessState

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from pipeline.embedded.process import ProcessSpec

FIRST_PAUSE_SECONDS = 0.2


class Keeper:
    """Keeps one process by its specification. It is used by one thread at a time."""

    def __init__(self, specification: ProcessSpec, log_directory: Path) -> None:
        self.specification = specification
        self.log = log_directory / f"{specification.name}.log"
        self.phase = ProcessPhase.PENDING
        self.restarts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.beginning: str | None = None
        self._log_start = 0
        self._started_at = 0.0
        self._next_start_at = 0.0
        self._ready_at: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    @property
    def pid(self) -> int | None:
        """The process id while the process lives."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    @property
    def state(self) -> ProcessState:
        """What there is to say about the process now."""
        pid, status = self.pid, None if self.process is None else self.process.poll()
        return ProcessState(
            self.specification.name, self.phase, pid, self.beginning if pid else None, self.restarts, status
        )

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        specification = self.specification
        with explained(self.log):
            set_aside(self.log)
        self._log_start = log_size(self.log)
        self.process = spawn(
            specification.command,
            log=self.log,
            environment=specification.environment,
            directory=specification.directory,
            death_signal=specification.stop_signal,
        )
        self.beginning = started(self.process.pid)
        self._started_at = time.monotonic()
        self._ready_at = None
        self.phase = ProcessPhase.STARTING

    def is_up(self) -> bool:
        """Tell whether the process is ready, or done if it is a one-shot.

        One that is to be restarted may end once without having become ready.

        Raises: EmbeddedServiceError when it failed or takes too long.
        """
        if self.process is None:
            return False
        status = self.process.poll()
        if status is not None:
            if status != 0 or not self.specification.one_shot:
                return self._start_once_more(status)
            self.phase = ProcessPhase.DONE
            return True
        if not self.specification.one_shot and self._is_ready():
            self._trust()
            return True
        if time.monotonic() - self._started_at > self.specification.ready_seconds:
            raise self.failure(f"was not ready within {self.specification.ready_seconds:g} seconds")
        return False

    def _start_once_more(self, status: int) -> bool:
        # A worker whose child is killed while it starts ends altogether, for instance: no reason to give up all others.
        # What ends at once because it is set up wrongly does so again.
        if self.restarts or not self.specification.restart or self.specification.one_shot:
            raise self.failure(f"ended with status {status}")
        if self.process is not None:
            kill_group(self.process.pid)
        self.restarts += 1
        self.start()
        return False

    def failure(self, fact: str) -> EmbeddedServiceError:
        """Put the fact and the most telling line of the log into one line."""
        reason = telling_line(log_tail(self.log, since=self._log_start))
        return EmbeddedServiceError(f"{self.specification.name} {fact}: {reason} (see {self.log})")

    def watch(self) -> bool:
        """Notice an exit and start the process again when its time has come; tell whether anything changed."""
        if self.phase in {ProcessPhase.RUNNING, ProcessPhase.STARTING}:
            return self._notice_exit() or self._notice_ready()
        if self.phase is ProcessPhase.RESTARTING and time.monotonic() >= self._next_start_at:
            self.restarts += 1
            self.start()
            return True
        return False

    def stop(self) -> None:
        """Stop the process and its group, by its signal and after its deadline by force."""
        if self.process is not None:
            end(
                self.process,
                stop_signal=self.specification.stop_signal,
                stop_seconds=self.specification.stop_seconds,
            )
        if self.phase is not ProcessPhase.DONE:
            self.phase = ProcessPhase.EXITED

    def _is_ready(self) -> bool:
        text, ready = self.specification.ready_text, self.specification.ready
        if text is not None and text not in log_since(self.log, self._log_start):
            return False
        return ready is None or ready()

    def _notice_exit(self) -> bool:
        if self.process is None or self.process.poll() is None:
            return False
        kill_group(self.process.pid)  # what it started must not work on beside its successor
        if not self.specification.restart:
            self.phase = ProcessPhase.EXITED
            return True
        now = time.monotonic()
        if self._ready_at is not None and now - self._ready_at >= self.specification.steady_seconds:
            self._pause = FIRST_PAUSE_SECONDS
        self._next_start_at = now + self._pause
        self._pause = min(self._pause * 2, self.specification.longest_pause_seconds)
        self.phase = ProcessPhase.RESTARTING
        return True

    def _notice_ready(self) -> bool:
        if self.phase is not ProcessPhase.STARTING:
            return False
        if self._is_ready():
            self._trust()
            return True
        return False

    def _trust(self) -> None:
        self._ready_at = time.monotonic()
        self.phase = ProcessPhase.RUNNING

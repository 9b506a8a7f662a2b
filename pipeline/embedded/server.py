"""What the embedded servers have in common: a directory, a free port, a start with a deadline, a clean stop."""

from __future__ import annotations

import re
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.embedded.directory import ServiceDirectory, explained
from pipeline.embedded.errors import EmbeddedServiceError, PortTakenError, StillInUseError
from pipeline.embedded.ports import free_port
from pipeline.embedded.process import ProcessSpec
from pipeline.embedded.spawning import end, log_size, log_tail, set_aside, spawn

PORT_TRIES = 5
POLL_SECONDS = 0.02
PORT_TAKEN = "Address already in use"
STILL_IN_USE = "is still in use"
STILL_IN_USE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 2.0
"""Everything waits for a server that was killed, and starting it too early costs nothing."""
DISK_FULL = ("No space left on device", "Check free disk space")
LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ UTC \[\d+\] ")


class EmbeddedServer(ABC):
    """One server in one directory. ``start`` runs it here; ``prepare`` and ``as_process`` give it to a supervisor."""

    def __init__(self, directory: Path, *, start_seconds: float = 60.0, stop_seconds: float = 20.0) -> None:
        self.directory = ServiceDirectory(directory)
        self.start_seconds = start_seconds
        self.stop_seconds = stop_seconds
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def title(self) -> str:
        """The name a person knows the server by."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address with user and password; known after ``prepare`` or ``start``."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether the server answers us now."""

    @abstractmethod
    def _set_up(self) -> None:
        """Make the files the server needs, once, and clear what a crash left behind."""

    @abstractmethod
    def _configure(self) -> None:
        """Write what depends on the port."""

    @abstractmethod
    def _specification(self) -> ProcessSpec:
        """Say how the prepared server is run."""

    @property
    def port(self) -> int:
        """The port on 127.0.0.1.

        Raises: EmbeddedServiceError before ``prepare`` or ``start``.
        """
        if self._port is None:
            raise EmbeddedServiceError(f"{self.title} in {self.directory.path} has no port yet: start it first.")
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of the server while it runs under ``start``."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """Where the output of a server run by ``start`` goes."""
        return self.directory.path / "server.log"

    def prepare(self) -> None:
        """Take the directory, make the server's files if they are missing, and choose the port.

        Raises: EmbeddedServiceError in one line when that is impossible.
        """
        self.directory.open()
        try:
            self._set_up()
            self._take_port(free_port(self.directory.last_port()))
        except BaseException:
            self.directory.close()
            raise

    def as_process(self) -> ProcessSpec:
        """Describe the prepared server for a supervisor; the directory stays locked until ``stop``."""
        return self._specification()

    def start(self) -> Self:
        """Run the server and wait until it answers; if it runs already, do nothing.

        Raises: EmbeddedServiceError in one line; nothing is left running then.
        """
        if self.pid is not None:
            return self
        self.prepare()
        try:
            self._start_on_some_port()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server if it runs here and let the directory go; calling it again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            end(process, stop_signal=self._specification().stop_signal, stop_seconds=self.stop_seconds)
        self.directory.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_port(self, port: int) -> None:
        self._port = port
        self.directory.write("port", str(port))
        self._configure()

    def _start_on_some_port(self) -> None:
        for _ in range(PORT_TRIES - 1):
            try:
                return self._run()
            except PortTakenError:
                self._take_port(free_port())
            except StillInUseError:
                time.sleep(STILL_IN_USE_SECONDS)
        return self._run()

    def _run(self) -> None:
        with explained(self.log):
            set_aside(self.log)
        specification, since = self._specification(), log_size(self.log)
        process = self._process = spawn(
            specification.command,
            log=self.log,
            environment=specification.environment,
            directory=specification.directory,
            death_signal=specification.stop_signal,
        )
        deadline = time.monotonic() + self.start_seconds
        while process.poll() is None:
            if self.is_ready():
                return
            if time.monotonic() > deadline:
                raise self._failure(
                    f"did not answer within {self.start_seconds:g} seconds", log_tail(self.log, since=since)
                )
            time.sleep(POLL_SECONDS)
        raise self._failure(f"ended with status {process.returncode}", log_tail(self.log, since=since))

    def _failure(self, fact: str, output: str) -> EmbeddedServiceError:
        """Put what happened, the most telling line of the output and where the rest is into one line."""
        where = self.directory.path
        if any(sign in output for sign in DISK_FULL):
            return EmbeddedServiceError(f"The disk that holds {where} is full: free some space and start again.")
        if PORT_TAKEN in output:
            return PortTakenError(f"{self.title} found its port {self._port} taken by another process: start it again.")
        if STILL_IN_USE in output:
            return StillInUseError(
                f"{self.title} in {where}: parts of its last run have not ended yet: start it again."
            )
        reason = telling_line(output)
        return EmbeddedServiceError(f"{self.title} in {where} {fact}: {reason} (see {self.log.name} there)")


def telling_line(output: str) -> str:
    """Pick the line of a server's output that says why: the last fatal one, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if any(word in line for word in ("PANIC:", "FATAL:", "error:", "FATAL CONFIG"))]
    return LOG_PREFIX.sub("", (fatal or lines or ["it said nothing"])[-1])

"""pytest-celery's nodes on supervised local processes: what it does to a container is done to a process."""

import os
import signal as signals
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_celery import CeleryTestContainer

from pipeline.embedded.liveness import wait_until
from pipeline.embedded.spawning import log_since, log_size
from pipeline.embedded.state import ProcessPhase, ProcessState
from pipeline.embedded.supervisor import Supervisor

READY_SECONDS = 60.0


class ProcessContainer(CeleryTestContainer):
    """One named process of a supervisor, which starts it again whenever it ends."""

    def __init__(self, supervisor: Supervisor, name: str, *, ready_text: str = "", url: str = "") -> None:
        # The base class wants a Docker container; nothing of it is used.
        self._supervisor = supervisor
        self._name = name
        self._ready_text = ready_text
        self._url = url
        self._log = supervisor.logs / f"{name}.log"
        self._since = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def id(self) -> str:
        return f"{self.pid}"

    @property
    def status(self) -> str:
        return "running" if self.pid else "exited"

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self._url, "host_url": self._url}

    @property
    def pid(self) -> int | None:
        return self.state.pid

    @property
    def state(self) -> ProcessState:
        return next(each for each in self._supervisor.state.processes if each.name == self._name)

    @property
    def log(self) -> Path:
        return self._log

    def logs(self) -> str:
        return log_since(self._log, 0)

    def reload(self) -> None:
        """Nothing: everything is read afresh."""

    def children(self) -> list[int]:
        """The processes that this one has started."""
        return children_of(self.pid) if self.pid else []

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the process alone."""
        pid, self._since = self.pid, log_size(self._log)
        assert pid is not None, f"{self._name} does not run"
        os.kill(pid, signals.Signals[signal] if isinstance(signal, str) else signal)

    def kill_family(self) -> None:
        """`kill -9` the process and everything it has started, at once."""
        pid, self._since = self.pid, log_size(self._log)
        assert pid is not None, f"{self._name} does not run"
        os.killpg(pid, signals.SIGKILL)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Stop the clock of the process and everything it has started, and let it go on afterwards."""
        pid = self.pid
        assert pid is not None, f"{self._name} does not run"
        os.killpg(pid, signals.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signals.SIGCONT)

    def restart(self, timeout: float = READY_SECONDS) -> None:
        """End the process if it runs and wait until the supervisor has it back."""
        old = self.state
        if self.pid is not None:
            self.kill("SIGTERM")
        self.wait_for_successor(old, seconds=timeout)

    def wait_for_successor(self, old: ProcessState, *, seconds: float = READY_SECONDS) -> None:
        """Wait until another process than the old one is ready."""
        back = wait_until(lambda: self.pid not in {None, old.pid} and self.is_ready(), seconds=seconds)
        assert back, f"{self._name} did not come back within {seconds:g} s: {self.state}\n{self.logs()[-2000:]}"

    def is_ready(self) -> bool:
        """Whether the process runs and has said that it is ready."""
        return self.state.phase is ProcessPhase.RUNNING and self._ready_text in log_since(self._log, self._since)

    def ready(self) -> bool:
        assert wait_until(self.is_ready, seconds=READY_SECONDS), f"{self._name} is not ready: {self.state}"
        return True

    def teardown(self) -> None:
        """Nothing: the installation is shared by all tests and stops as a whole."""


def children_of(pid: int) -> list[int]:
    """The children of a process, by the kernel's own list."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (thread / "children").read_text(encoding="ascii").split()]
    return found

"""What a supervisor writes down about itself, and how another command finds or ends it by that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pipeline.embedded.directory import explained
from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.liveness import is_alive, started, wait_until
from pipeline.embedded.spawning import kill_group

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME = "state.json"
GUARDIAN_SECONDS = 15.0  # how long a killed supervisor's guardian may take; longer than its grace


class Phase(Enum):
    """Where a supervisor is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class ProcessPhase(Enum):
    """Where one supervised process is in its life."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    DONE = "done"
    EXITED = "exited"


@dataclass(frozen=True)
class ProcessState:
    """One process: its number and beginning while it lives, how often it was started again, its last exit status."""

    name: str
    phase: ProcessPhase
    pid: int | None = None
    beginning: str | None = None
    restarts: int = 0
    exit_status: int | None = None


@dataclass(frozen=True)
class State:
    """A supervisor: its process, its phase, the addresses of its services (with passwords) and its processes."""

    pid: int
    beginning: str
    phase: Phase
    urls: Mapping[str, str]
    processes: tuple[ProcessState, ...]

    def to_json(self) -> str:
        """Write the state as the text of the state file."""
        return json.dumps(asdict(self), default=lambda member: member.value, indent=1)


def running(state_dir: Path) -> State | None:
    """Find the supervisor that works in this directory now; a file left by a dead one counts as none."""
    state = read(state_dir)
    return state if state is not None and is_alive(state.pid, state.beginning) else None


def read(state_dir: Path) -> State | None:
    """Read the state file, whether its supervisor lives or not; None when there is none that can be understood.

    Raises: EmbeddedServiceError when it must not be read.
    """
    path = state_dir / FILE_NAME
    with explained(path):
        if not path.exists():
            return None
        text = path.read_text(encoding="utf-8")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        content = json.loads(text)
        processes = tuple(
            ProcessState(**{**entry, "phase": ProcessPhase(entry["phase"])}) for entry in content["processes"]
        )
        return State(content["pid"], content["beginning"], Phase(content["phase"]), content["urls"], processes)
    return None


def stop(state_dir: Path, *, deadline_seconds: float = 60.0) -> bool:
    """End the supervisor of this directory and all its processes; tell whether there was anything to end.

    A supervisor that does not stop in time is killed, and so is what it leaves. Processes that a killed supervisor
    left are ended too.

    Raises: EmbeddedServiceError when something still runs after that, or belongs to another user.
    """
    state = read(state_dir)
    if state is None:
        return False
    alive = is_alive(state.pid, state.beginning)
    if alive and not _ask_to_stop(state, deadline_seconds):
        os.kill(state.pid, signal.SIGKILL)
    last = read(state_dir) or state  # it may have started something since
    left = _living(last)
    if left and not wait_until(lambda: not _living(last), seconds=GUARDIAN_SECONDS):
        for process in _living(last):
            kill_group(process.pid or 0)
    _check_gone(state_dir, last)
    with explained(state_dir):
        (state_dir / FILE_NAME).unlink(missing_ok=True)
    return alive or bool(left)


def _ask_to_stop(state: State, seconds: float) -> bool:
    try:
        os.kill(state.pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise EmbeddedServiceError(
            f"Process {state.pid} belongs to another user: stop it as that user or as root."
        ) from error
    return wait_until(lambda: not is_alive(state.pid, state.beginning), seconds=seconds)


def _living(state: State) -> list[ProcessState]:
    """The processes that run on although nobody supervises them."""
    return [p for p in state.processes if p.pid is not None and p.beginning and started(p.pid) == p.beginning]


def _check_gone(state_dir: Path, state: State) -> None:
    if not wait_until(lambda: not _living(state), seconds=5.0):
        names = ", ".join(f"{process.name} ({process.pid})" for process in _living(state))
        raise EmbeddedServiceError(
            f"Still running after everything was stopped in {state_dir}: {names}. End them by hand."
        )

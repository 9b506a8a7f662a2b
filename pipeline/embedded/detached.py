"""Start a supervisor in the background and wait until it says that it is ready, or why it is not."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pipeline.embedded.directory import explained
from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.liveness import wait_until
from pipeline.embedded.server import telling_line
from pipeline.embedded.spawning import log_size, log_tail
from pipeline.embedded.state import Phase, State, running, stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOG_NAME = "supervisor.log"
POLL_SECONDS = 0.05
GIVE_UP_SECONDS = 30.0


def spawn_detached(
    command: Sequence[str],
    state_dir: Path,
    *,
    deadline_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> State:
    """Run a command that runs a Supervisor on ``state_dir``; return when its state says ready.

    The command outlives this process. It must be the supervising process itself, not a shell around it.

    Raises: EmbeddedServiceError in one line when one runs there already, when the command ends early (with the last
    telling line of its log) or is not ready in time; nothing is left running then, except the one already there.
    """
    if (there := running(state_dir)) is not None:
        raise EmbeddedServiceError(f"Already running in {state_dir} as process {there.pid}: stop that one first.")
    log = state_dir / "logs" / LOG_NAME
    with explained(state_dir):
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_dir.chmod(0o700)
        since = log_size(log)
        with log.open("ab") as output:
            log.chmod(0o600)
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
    return _await_ready(process, state_dir, deadline_seconds, log, since)


def _await_ready(process: subprocess.Popen[bytes], state_dir: Path, seconds: float, log: Path, since: int) -> State:
    def settled() -> bool:
        return process.poll() is not None or _ready_state(process.pid, state_dir) is not None

    in_time = wait_until(settled, seconds=seconds, poll_seconds=POLL_SECONDS)
    state = _ready_state(process.pid, state_dir)
    if state is not None:
        process.returncode = 0  # it goes on without us: nobody will wait for it
        return state
    fact = f"ended with status {process.poll()}" if in_time else f"was not ready within {seconds:g} seconds"
    _give_up(process, state_dir)
    reason = telling_line(log_tail(log, since=since))
    raise EmbeddedServiceError(f"The background process {fact}: {reason} (see {log})")


def _ready_state(pid: int, state_dir: Path) -> State | None:
    state = running(state_dir)
    return state if state is not None and state.pid == pid and state.phase is Phase.READY else None


def _give_up(process: subprocess.Popen[bytes], state_dir: Path) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GIVE_UP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        stop(state_dir)

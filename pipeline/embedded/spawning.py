"""How every process is started: in a session of its own, tethered to this process, its output in a log file."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.embedded import tethered
from pipeline.embedded.errors import EmbeddedServiceError

LOG_LIMIT_BYTES = 16 * 1024 * 1024  # a log longer than this is set aside at the next start
TAIL_BYTES = 4000
KILL_SECONDS = 5.0


@functools.cache
def _spawner(_pid: int) -> ThreadPoolExecutor:
    """The one thread of this process that starts others: a tether is cut when the *thread* that tied it ends."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def python_script(module_file: str) -> tuple[str, ...]:
    """The command that runs one of our standalone scripts quickly and without site-packages."""
    return (sys.executable, "-I", "-S", module_file)


def tethered_command(command: Sequence[str], *, death_signal: signal.Signals = signal.SIGTERM) -> list[str]:
    """Wrap a command so that it gets the signal when the thread that started it ends."""
    return [*python_script(tethered.__file__), str(int(death_signal)), str(os.getpid()), *command]


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a command in its own process group, its output appended to the log.

    The variables are laid over those of this process. It gets the signal when this process ends, even by kill -9.

    Raises: EmbeddedServiceError when the log cannot be written or no process can be made.
    """
    try:
        with log.open("ab") as output:
            log.chmod(0o600)
            return (
                _spawner(os.getpid())
                .submit(
                    subprocess.Popen[bytes],
                    tethered_command(command, death_signal=death_signal),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    cwd=directory,
                    start_new_session=True,
                )
                .result()
            )
    except OSError as error:
        raise EmbeddedServiceError(f"Cannot start {Path(command[0]).name}: {error}.") from error


def end(process: subprocess.Popen[bytes], *, stop_signal: signal.Signals, stop_seconds: float) -> bool:
    """Stop a process that was spawned here, and all of its process group; tell whether the signal was enough."""
    graceful = True
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop_signal)
        try:
            process.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            graceful = False
    kill_group(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)
    return graceful


def kill_group(group: int) -> None:
    """Kill whatever is left of a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def log_size(log: Path) -> int:
    """Where the next output will begin."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def log_since(log: Path, position: int) -> str:
    """All output after the given position, as text."""
    try:
        with log.open("rb") as file:
            file.seek(position)
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def log_tail(log: Path, *, since: int = 0) -> str:
    """The last output after the given position, as text; empty when there is none."""
    return log_since(log, max(since, log_size(log) - TAIL_BYTES)).strip()


def set_aside(log: Path) -> None:
    """Begin a new log when this one has become long; the one before is kept beside it."""
    if log_size(log) > LOG_LIMIT_BYTES:
        log.replace(log.with_name(log.name + ".1"))

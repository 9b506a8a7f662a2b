"""Whether a process that was once noted down still lives, or its number belongs to somebody else by now."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_SECONDS = 0.02


def started(pid: int) -> str | None:
    """When the process with this number began, in the system's own words; None if there is none or it is a zombie.

    The same number with another beginning is another process. Source: proc_pid_stat(5), fields 3 and 22.
    """
    if sys.platform != "linux":
        return _started_by_ps(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def is_alive(pid: int, start: str) -> bool:
    """Tell whether the very process that was noted down still runs."""
    return started(pid) == start


def command_line(pid: int) -> str:
    """The command of a process, its words divided by spaces; empty when it cannot be told."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def children_of(pid: int) -> list[int]:
    """The living processes that a process started itself, the lowest number first."""
    return sorted(child for child, parent in _parents() if parent == pid)


def wait_until(condition: Callable[[], bool], *, seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
    """Ask until the condition holds or the time is over, and tell which."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_seconds)
    return True


def _started_by_ps(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    words = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    status, _, beginning = (
        subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
    )
    return None if not status or status.startswith("Z") else beginning.strip().replace(" ", "_")


def _parents() -> Iterator[tuple[int, int]]:
    """Every living process and who started it. Source: proc_pid_stat(5), fields 3 and 4."""
    if sys.platform != "linux":
        words = ["ps", "-A", "-o", "pid=,ppid=,stat="]
        for line in subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines():
            pid, parent, status = line.split()
            if not status.startswith("Z"):
                yield int(pid), int(parent)
        return
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] not in {"Z", "X"}:
                yield int(path.parent.name), int(fields[1])

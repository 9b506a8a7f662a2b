"""The process that ends everything when the supervisor itself is killed.

Usage: guardian.py GRACE_SECONDS, its standard input a pipe from the supervisor. Lines ``+ PID BEGINNING SIGNAL`` and
``- PID`` tell which process groups live. When the pipe closes with groups on the list, the supervisor is dead: each
group's leader gets its signal and, after the grace, the whole group is killed. A script of its own, run by path and
without site-packages, in its own session.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.05


def main(arguments: list[str]) -> None:
    """Listen until the supervisor is gone, then end what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the closing of the pipe ends us
    groups: dict[int, tuple[str, int]] = {}
    for line in sys.stdin:
        note(groups, line.split())
    end_all(groups, float(arguments[0]))


def note(groups: dict[int, tuple[str, int]], words: list[str]) -> None:
    """Put a group on the list or take it off."""
    if words[0] == "-":
        groups.pop(int(words[1]), None)
    else:
        groups[int(words[1])] = (words[2], int(words[3]))


def end_all(groups: dict[int, tuple[str, int]], grace_seconds: float) -> None:
    """Ask every leader to stop and kill what remains of the groups after the grace."""
    for group, (beginning, number) in reversed(groups.items()):
        if _is_ours(group, beginning):
            _send(os.kill, group, number)
    deadline = time.monotonic() + grace_seconds
    remaining = dict(groups)
    while remaining and time.monotonic() < deadline:
        for group, (beginning, _) in list(remaining.items()):
            if not _is_ours(group, beginning):  # the leader is gone, so are its reasons to wait for the others
                _send(os.killpg, group, signal.SIGKILL)
                del remaining[group]
        time.sleep(POLL_SECONDS)
    for group in remaining:
        _send(os.killpg, group, signal.SIGKILL)


def _is_ours(pid: int, beginning: str) -> bool:
    """Compare the beginning, so that a number that now belongs to somebody else is left alone."""
    if sys.platform != "linux":
        status = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        return bool(status.strip()) and not status.startswith("Z")
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = text.rpartition(")")[2].split()
    return fields[0] not in {"Z", "X"} and fields[19] == beginning


def _send(how: Callable[[int, int], None], target: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(target, number)


if __name__ == "__main__":
    main(sys.argv[1:])

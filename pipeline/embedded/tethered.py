"""Run a command that dies with the process that started it.

Usage: tethered.py SIGNAL PARENT_PID COMMAND...

A script of its own, run by path and without site-packages, because it stands before every process we start. Linux
sends SIGNAL when the starting thread ends, however it ends. Elsewhere the command is merely executed: there the
guardian alone cleans up.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for SIGNAL at the parent's death, then become COMMAND."""
    death_signal, parent_pid, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before we could ask
            sys.exit(128 + signal.SIGTERM)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])

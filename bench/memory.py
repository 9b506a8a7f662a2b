"""What worker processes take at their peak: under full load, then with archives of 20 MB in the air beside it.

A peak counts all pages a process has, those it shares with its siblings too; the share (PSS) counts of these its part,
so that shares add up to what the machine gives. Linux only.
"""

import os
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid5
from zipfile import ZIP_STORED, ZipFile

from bench.accounting import MIB, family_of, share_bytes
from bench.compare import say
from bench.installation import Installation, installation
from bench.moments import PATIENCE_SECONDS, check_held_once, submit_singly
from bench.payloads import write
from bench.surroundings import surroundings
from simulator.samples import ubl

NAMESPACE = UUID("6f6a8c0e-3d0f-4b8e-9d2f-0d6d2f4f9a51")
WORKERS = ("worker-send", "worker-pump", "worker-follow", "beat")
MB = 1_000_000


def memory(
    folder: Path, *, invoices: int, archives: int, megabytes: float, latency_ms: float, seed: int
) -> dict[str, Any]:
    """Send a backlog, then another with archives in it; the peak of each kind of process after both, in 10^6 bytes."""
    result = surroundings()
    paths = write(folder / "invoices", count=2 * invoices, seed=seed)
    big = list(write_archives(folder / "archives", count=archives, size=int(megabytes * MB), seed=seed))
    with installation(folder / "system", latency_ms=latency_ms) as running:
        os.environ.update(running.stack.environment)  # the bell of this process rings at their broker
        say(f"sending {invoices:,} invoices")
        running.submit(paths[:invoices])
        _wait(running, invoices)
        plain = _peaks(running)
        shares = {name: _share(running, name) for name in WORKERS}
        say(f"sending {invoices:,} invoices and {archives} archives of {megabytes:g} MB")
        with running.paused("worker-send"):
            running.submit(paths[invoices:])
            submit_singly(running, big)
        _wait(running, len(paths) + len(big))
        after = _peaks(running)
        check_held_once(running, [*paths, *big])
    rows = [
        {"value": name, "peak_mb": plain[name], "peak_mb_with_archives": after[name], "share_mb": shares[name]}
        for name in WORKERS
    ]
    return {**result, "name": "memory", "seed": seed, "archives": archives, "megabytes": megabytes, "rows": rows}


def write_archives(folder: Path, *, count: int, size: int, seed: int) -> Iterator[Path]:
    """Write ZIPs of an invoice with an attachment that does not shrink, each named by its UUID."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = Random(seed)
    for index in range(count):
        made = BytesIO()
        with ZipFile(made, "w", ZIP_STORED) as archive:
            archive.writestr("invoice.xml", ubl(seed, index))
            archive.writestr("liite.pdf", b"%PDF-1.4\n" + chance.randbytes(size))
        path = folder / f"{uuid5(NAMESPACE, f'{seed}/{index}')}.zip"
        path.write_bytes(made.getvalue())
        yield path


def _wait(running: Installation, count: int) -> None:
    running.wait_until_accepted(count, deadline=time.monotonic() + PATIENCE_SECONDS + count / 20)


def _share(running: Installation, name: str) -> float:
    """Return the largest share among the processes of a name, in 10^6 bytes."""
    pids = (pid for each in running.stack.processes if each.name == name and (pid := each.pid) is not None)
    return round(max(share_bytes(pid) for root in pids for pid in family_of(root)) / MB, 1)


def _peaks(running: Installation) -> dict[str, float]:
    account = running.account()
    account.begin()
    costs = account.end()
    return {name: round(costs[name].peak_mib * MIB / MB, 1) for name in WORKERS}

"""What submitting costs: files and manifests in bulk, and one invoice in each of the caller's transactions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.compare import say
from bench.feeder import BATCH
from bench.installation import Installation, installation
from bench.payloads import payloads, write
from bench.surroundings import surroundings

SENDING = ("worker-pump", "worker-follow", "beat")
MOST_SINGLE = 1_000


def submits(folder: Path, *, invoices: Sequence[int], seed: int) -> dict[str, Any]:
    """Submit while nobody sends: files, of each number; then a manifest and single ones, of the smallest number."""
    result = surroundings()
    rows = []
    for count in invoices:
        here = folder / str(count)
        with installation(here / "system") as running, running.paused(*SENDING):
            say(f"submitting {count:,} files")
            rows.append(_row("files", running, write(here / "files", count=count, seed=seed)))
            if count != min(invoices):
                continue
            say(f"submitting a manifest of {count:,} lines")
            manifest = write_manifest(here / "lines.ndjson", count=count, seed=seed + 1)
            rows.append(_row("NDJSON", running, [manifest], count, "--manifest"))
            single = min(count, MOST_SINGLE)
            say(f"submitting {single:,} one by one")
            paths = write(here / "single", count=single, seed=seed + 2)
            rows.append(_row("one by one, a transaction each", running, paths, single, "--single"))
    return {**result, "name": "submit", "seed": seed, **summary(rows), "rows": rows}


def write_manifest(path: Path, *, count: int, seed: int) -> Path:
    """Write a manifest that has its documents in it."""
    with path.open("w", encoding="utf-8") as file:
        for payload in payloads(count=count, seed=seed):
            terms = {"uuid": str(payload.uuid), "batch": BATCH, "filename": f"{payload.uuid}.xml"}
            file.write(json.dumps({**terms, "content": payload.content.decode()}, ensure_ascii=False) + "\n")
    return path


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the targets are about: so many a second by each way, memory by number."""
    speed = {row["value"]: row["per_second"] for row in reversed(rows)}
    return {
        "files_per_second": speed["files"],
        "ndjson_per_second": speed["NDJSON"],
        "single_per_second": speed["one by one, a transaction each"],
        "peak_mib_by_files": {str(row["invoices"]): row["peak_mib"] for row in rows if row["value"] == "files"},
    }


def _row(
    name: str, running: Installation, paths: Sequence[Path], invoices: int | None = None, *options: str
) -> dict[str, Any]:
    count = invoices or len(paths)
    account = running.account()
    account.begin()
    feeding = running.submit(paths, options=options)
    theirs = account.end()["postgres"].cpu_seconds
    seconds = feeding.last - feeding.began
    return {
        "value": name,
        "invoices": count,
        "seconds": round(seconds, 2),
        "per_second": round(count / seconds),
        "our_cpu_ms": round(feeding.cost.cpu_seconds * 1000 / count, 3),
        "postgres_cpu_ms": round(theirs * 1000 / count, 3),
        "cpu_ms_per_invoice": round((feeding.cost.cpu_seconds + theirs) * 1000 / count, 3),
        "peak_mib": round(feeding.cost.peak_mib),
    }

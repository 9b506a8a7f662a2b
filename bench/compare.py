"""The end-to-end run: ours, the rivals and the raw client in one go, and what the ratios are."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.end_to_end import OURS, WARM_UP, Order, measure_ours
from bench.payloads import write
from bench.surroundings import surroundings


def compare(folder: Path, order: Order, *, only: Sequence[str] = ()) -> dict[str, Any]:
    """Measure one system after the other with the same invoices; return everything for a page. Raises: BenchError."""
    result = surroundings()
    say(f"making {order.invoices + WARM_UP:,} invoices")
    paths = write(folder / "invoices", count=order.invoices + WARM_UP, seed=order.seed)
    result |= {"seed": order.seed, "latency_ms": order.latency_ms, "payload": _sizes(paths)}
    runs: list[dict[str, Any]] = []
    if not only or OURS in only:
        say(f"{OURS}: {order.invoices:,} invoices")
        runs.append(measure_ours(folder / OURS, paths, order).as_json())
    return {**_headline(runs), **result, "submit_first": order.submit_first, "runs": runs}


def _headline(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ours = next((run for run in runs if run["name"] == OURS), None)
    return {
        "invoices_per_second": ours and ours["invoices_per_second"],
        "times_tutorial": None,
        "times_best_peer": None,
        "share_of_raw_client": None,
        "cpu_ms_per_invoice": ours and ours["cpu_ms_per_invoice"],
    }


def table(result: dict[str, Any]) -> str:
    """Write the result for people."""
    lines = ["| system | invoices | seconds | invoices/s | CPU ms per invoice |", "|---|---|---|---|---|"]
    lines += [
        f"| {run['name']} | {run['invoices']:,} | {run['seconds']:.1f} | {run['invoices_per_second']:,.0f} | "
        f"{run['cpu_ms_per_invoice']:.2f} |"
        for run in result["runs"]
    ]
    return "\n".join(lines)


def say(words: str) -> None:
    """Tell a person what goes on."""
    sys.stderr.write(f"{words} ...\n")
    sys.stderr.flush()


def _sizes(paths: Sequence[Path]) -> dict[str, int]:
    sizes = [path.stat().st_size for path in paths]
    return {
        "bytes_min": min(sizes),
        "bytes_median": round(statistics.median(sizes)),
        "bytes_mean": round(statistics.mean(sizes)),
        "bytes_max": max(sizes),
    }

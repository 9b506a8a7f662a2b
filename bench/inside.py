"""The ways inside: the transport, and the settings whose defaults must be worth it, one changed at a time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.compare import say
from bench.end_to_end import WARM_UP, Order, measure_ours
from bench.payloads import write
from bench.raw import NATIVE, TRANSPORTS, measure_raw
from bench.surroundings import surroundings

SETTINGS = {"chunks": "POSTILJON_CHUNK_INVOICES", "concurrency": "POSTILJON_UPLOAD_CONCURRENCY"}
VALUES = {"chunks": (1, 10, 50, 100, 200, 500), "concurrency": (25, 50, 100, 200, 400), "processes": (1, 2, 3, 4)}
LABELS = {
    "chunks": "invoices in a message",
    "concurrency": "uploads in the air per process",
    "processes": "send processes",
    "transports": "transport",
}
AT_ONCE = 100
CHUNK_INVOICES = 100
CHUNKS_IN_WINDOW = 8


def transports(folder: Path, order: Order) -> dict[str, Any]:
    """Upload the same invoices through each transport, one process, a hundred at once."""
    result = surroundings()
    paths = write(folder / "invoices", count=order.invoices + WARM_UP, seed=order.seed)
    rows = []
    for name in (*TRANSPORTS, NATIVE):
        say(name)
        run = measure_raw(
            paths, warm=WARM_UP, processes=1, latency_ms=order.latency_ms, name=name, at_once=AT_ONCE, transport=name
        )
        rows.append({"value": name, **run.as_json()})
    return {**result, "name": "transports", "label": LABELS["transports"], "seed": order.seed, "rows": rows}


def vary(name: str, folder: Path, order: Order, *, values: Sequence[int] = ()) -> dict[str, Any]:
    """Send the same invoices end to end for each value of one setting, all else at its default."""
    result = surroundings()
    paths = write(folder / "invoices", count=order.invoices + WARM_UP, seed=order.seed)
    rows = []
    for value in values or VALUES[name]:
        say(f"{name} {value}")
        run = measure_ours(folder / f"{name}-{value}", paths, _changed(name, value, order))
        rows.append({"value": value, **run.as_json()})
    return {**result, "name": name, "label": LABELS[name], "seed": order.seed, "rows": rows}


def _changed(name: str, value: int, order: Order) -> Order:
    if name == "processes":
        return replace(order, send_processes=value)
    settings = {SETTINGS[name]: str(value)}
    if name == "chunks":
        # As many invoices on their way as by default, in however many messages.
        window = max(CHUNKS_IN_WINDOW, CHUNKS_IN_WINDOW * CHUNK_INVOICES // value)
        settings["POSTILJON_WINDOW_CHUNKS"] = str(window)
    return replace(order, settings={**order.settings, **settings})


def table(result: dict[str, Any]) -> str:
    """Write the rows, each beside the slowest."""
    slowest = min(row["invoices_per_second"] for row in result["rows"])
    lines = [f"| {result['label']} | invoices/s | ratio | CPU ms per invoice |", "|---|---|---|---|"]
    lines += [
        f"| {row['value']} | {row['invoices_per_second']:,.0f} | {row['invoices_per_second'] / slowest:.1f} | "
        f"{row['cpu_ms_per_invoice']:.2f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines)

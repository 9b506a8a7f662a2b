"""The end-to-end run: ours, the raw client and the rivals in one go, and what the ratios are."""

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from bench.end_to_end import OURS, WARM_UP, Measured, Order, measure_ours
from bench.payloads import write
from bench.raw import measure_raw
from bench.rivals.field import RIVALS, Rival
from bench.surroundings import surroundings
from bench.versus import ground, measure_rival
from pipeline.domain.errors import ConfigurationError, PostiljonError

RAW = {"raw-client-1": 1, "raw-client-2": 2}
"""The ceiling by its number of processes: the better one counts."""
RAW_INVOICES = 20_000
RIVAL_WARM_UP = 100
NAMES = (OURS, *RAW, *(rival.name for rival in RIVALS))
PACKAGES = ("dramatiq", "taskiq", "taskiq-redis", "arq", "procrastinate", "dbos")
INSTALL = "make install-bench"


def compare(
    folder: Path, order: Order, *, only: Sequence[str] = (), rival_invoices: int | None = None
) -> dict[str, Any]:
    """Measure one system after the other with the same invoices; return everything for a page.

    Raises: BenchError when ours cannot be measured; a rival that cannot is named among `left_out`.
    """
    unknown = set(only) - set(NAMES)
    if unknown:
        raise ConfigurationError(f"there is no {', '.join(sorted(unknown))} to measure; there are {', '.join(NAMES)}")
    result = surroundings(PACKAGES)
    say(f"making {order.invoices + WARM_UP:,} invoices")
    paths = write(folder / "invoices", count=order.invoices + WARM_UP, seed=order.seed)
    result |= {"seed": order.seed, "latency_ms": order.latency_ms, "payload": _sizes(paths)}
    runs, left_out = _play(folder, paths, order, only=frozenset(only or NAMES), most=rival_invoices)
    told = [run.as_json() for run in runs]
    return {**headline(told), **result, "submit_first": order.submit_first, "runs": told, "left_out": left_out}


def _play(
    folder: Path, paths: Sequence[Path], order: Order, *, only: frozenset[str], most: int | None
) -> tuple[list[Measured], dict[str, str]]:
    runs: list[Measured] = []
    left_out: dict[str, str] = {}

    def play(name: str, measure: Callable[[], Measured]) -> None:
        say(name)
        try:
            runs.append(measure())
        except (PostiljonError, SubprocessError, OSError) as exc:
            left_out[name] = str(exc)

    if OURS in only:
        say(f"{OURS}: {order.invoices:,} invoices")
        runs.append(measure_ours(folder / OURS, paths, order))
    for name, processes in RAW.items():
        if name in only:
            some = paths[: min(len(paths), RAW_INVOICES + WARM_UP)]
            play(name, lambda n=name, p=processes, s=some: _raw(n, p, s, order))  # type: ignore[misc] # bound now
    chosen = [rival for rival in RIVALS if rival.name in only]
    for rival in chosen:
        if not rival.is_installed:
            left_out[rival.name] = f"not installed: {INSTALL}"
    if not any(rival.is_installed for rival in chosen):
        return runs, left_out
    with ground(folder / "rivals") as shared:
        for rival in (each for each in chosen if each.is_installed):
            some = _some(paths, rival, most)
            play(rival.name, lambda r=rival, s=some: _rival(r, shared, s, order))  # type: ignore[misc] # bound now
    return runs, left_out


def _raw(name: str, processes: int, paths: Sequence[Path], order: Order) -> Measured:
    return measure_raw(paths, warm=WARM_UP, processes=processes, latency_ms=order.latency_ms, name=name)


def _rival(rival: Rival, shared: Any, paths: Sequence[Path], order: Order) -> Measured:
    return measure_rival(rival, shared, paths, warm=RIVAL_WARM_UP, latency_ms=order.latency_ms)


def _some(paths: Sequence[Path], rival: Rival, most: int | None) -> Sequence[Path]:
    return paths[: min(len(paths), min(rival.invoices, most or rival.invoices) + RIVAL_WARM_UP)]


def headline(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make the ratios of one run; None where a side was not measured."""
    rate = {run["name"]: run["invoices_per_second"] for run in runs}
    tutorial = next((rate[rival.name] for rival in RIVALS if rival.tutorial and rival.name in rate), None)
    peers = [rate[rival.name] for rival in RIVALS if not rival.tutorial and rival.name in rate]
    raw = [rate[name] for name in RAW if name in rate]
    ours = next((run for run in runs if run["name"] == OURS), None)
    own = ours["invoices_per_second"] if ours else None
    return {
        "invoices_per_second": own,
        "times_tutorial": own and tutorial and round(own / tutorial, 2),
        "times_best_peer": (own and peers and round(own / max(peers), 2)) or None,
        "share_of_raw_client": (own and raw and round(own / max(raw), 3)) or None,
        "cpu_ms_per_invoice": ours and ours["cpu_ms_per_invoice"],
    }


def table(result: dict[str, Any]) -> str:
    """Write the result for people."""
    lines = ["| system | invoices | seconds | invoices/s | ours is so many times | CPU ms per invoice |"]
    lines.append("|---|---|---|---|---|---|")
    own = result["invoices_per_second"]
    for run in result["runs"]:
        rate = run["invoices_per_second"]
        times = f"{own / rate:.2f}" if own else ""
        lines.append(
            f"| {run['name']} | {run['invoices']:,} | {run['seconds']:.1f} | {rate:,.0f} | {times} | "
            f"{run['cpu_ms_per_invoice']:.2f} |"
        )
    lines += [f"left out: {name}: {why}" for name, why in result["left_out"].items()]
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

"""Writes bench/README.md and its pictures from bench/results/*.json. Run: python -m bench.page"""

import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import compare, inside
from bench.command import rows_table
from bench.growth import shown
from bench.words import AFTER, INTRODUCTION, SECTIONS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PICTURES = frozenset({"end-to-end", "chunks", "concurrency", "processes", "growth"})
NOISY = (
    "**Noisy: taken while other work ran on the machine ({busy:.0%} of its CPU was in use before); to be replaced.**"
)
TARGETS = (
    ("invoices_per_second", "invoices/s, submitted to accepted", 2000),
    ("times_tutorial", "times the tutorial (Celery, prefork 8)", 20),
    ("times_best_peer", "times the best of the others", 5),
    ("share_of_raw_client", "share of the raw client", 0.7),
)


def main() -> None:
    """Write the page and its pictures."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    names = [*(name for name in SECTIONS if name in results), *(name for name in results if name not in SECTIONS)]
    parts = [INTRODUCTION, *(section(name, results[name]) for name in names), AFTER]
    (HERE / "README.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    if find_spec("matplotlib") is None:
        sys.stderr.write("no pictures: make install-bench installs matplotlib\n")
        return
    from bench import pictures  # noqa: PLC0415 - matplotlib is of the extra

    pictures.draw(results, HERE)


def section(name: str, result: dict[str, Any]) -> str:
    """Write one measurement: what it is, its table, its picture, and what it was measured on."""
    title, about = SECTIONS.get(name) or (result.get("title", name), result.get("about", ""))
    parts = [f"## {title}", about, *TABLES.get(name, _rows)(result)]
    if name in PICTURES:
        parts.append(f"![{title}]({name}.png)")
    parts.append(_surroundings(result))
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _surroundings(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result.get("versions", {}).items())
    seed = f", seed {result['seed']}" if "seed" in result else ""
    told = (
        f"`{result.get('command', '')}` - {result.get('measured_at', '')}{seed}. {result.get('machine', '')}, "
        f"Python {result.get('python', '')}, {versions}."
    )
    return told + ("\n" + NOISY.format(busy=result.get("busy_before", 1.0)) if result.get("noisy") else "")


def _rows(result: dict[str, Any]) -> list[str]:
    return [rows_table(result)]


def _inside(result: dict[str, Any]) -> list[str]:
    return [inside.table(result)]


def _end_to_end(result: dict[str, Any]) -> list[str]:
    payload = result["payload"]
    ours = next((run for run in result["runs"] if run["name"] == "postiljon"), None)
    sizes = (
        f"{payload['bytes_min']:,} to {payload['bytes_max']:,} bytes an invoice, median {payload['bytes_median']:,}, "
        f"mean {payload['bytes_mean']:,}; the operator answers after {result['latency_ms']:.0f} ms."
    )
    parts = [sizes, _targets(result), compare.table(result)]
    return [*parts, _phases(ours), _processes(ours)] if ours else parts


def _targets(result: dict[str, Any]) -> str:
    lines = ["| | measured | target |", "|---|---|---|"]
    lines += [f"| {words} | {_cell(result.get(key))} | {target:,} |" for key, words, target in TARGETS]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,}"


def _phases(ours: dict[str, Any]) -> str:
    return (
        f"Ours, of {ours['seconds']:.1f} s: submitting took {ours['submit_seconds']:.1f} s, and "
        f"{ours['drain_seconds']:.1f} s after the last submit the last invoice was accepted; from first to last "
        f"upload the operator counted {ours['air_seconds']:.1f} s."
    )


def _processes(ours: dict[str, Any]) -> str:
    lines = ["| process | CPU ms per invoice | peak memory of the largest, MiB | processes |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {cpu:.3f} | {ours['peak_mib_by_process'][name]:,} | {ours['processes'][name]} |"
        for name, cpu in sorted(ours["cpu_ms_by_process"].items(), key=lambda item: -item[1])
    ]
    return "\n".join(lines)


TABLES: dict[str, Callable[[dict[str, Any]], Sequence[str]]] = {
    "end-to-end": _end_to_end,
    "transports": _inside,
    "chunks": _inside,
    "concurrency": _inside,
    "processes": _inside,
    "growth": lambda result: [shown.table(result)],
    "broker": lambda result: [shown.broker_table(result)],
}

if __name__ == "__main__":
    main()

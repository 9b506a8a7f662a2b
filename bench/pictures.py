"""The page's pictures: bars for who is how fast, curves for what a setting does."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.growth import shown as growth

mpl.use("Agg")
from matplotlib import pyplot as plt

DPI = 80
OURS, OTHERS, RAW = "#1f6f8b", "#b8c4c9", "#e0b35a"
CURVES = ("chunks", "concurrency", "processes")


def draw(results: dict[str, dict[str, Any]], folder: Path) -> None:
    """Draw a picture for each result that has one."""
    if "end-to-end" in results:
        _bars(results["end-to-end"], folder / "end-to-end.png")
    if "growth" in results:
        growth.draw(results["growth"], folder / "growth.png")
    for name, result in results.items():
        if name in CURVES:
            _curve(result, folder / f"{name}.png")


def _bars(result: dict[str, Any], path: Path) -> None:
    runs = sorted(result["runs"], key=lambda run: float(run["invoices_per_second"]))
    names = [run["name"] for run in runs]
    rates = [run["invoices_per_second"] for run in runs]
    colours = [OURS if name == "postiljon" else RAW if name.startswith("raw") else OTHERS for name in names]
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(runs) + 1))
    bars = axes.barh(names, rates, color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_xlabel("invoices/s")
    _finish(figure, axes, path)


def _curve(result: dict[str, Any], path: Path) -> None:
    rows = result["rows"]
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot([row["value"] for row in rows], [row["invoices_per_second"] for row in rows], marker="o", color=OURS)
    axes.set_xlabel(result["label"])
    axes.set_ylabel("invoices/s")
    axes.set_ylim(bottom=0)
    _finish(figure, axes, path)


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    # Without the moment it was drawn: the same results give the same bytes.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)

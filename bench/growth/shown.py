"""Growth as a page shows it: the table, the sizes on disk, autovacuum at work, and the curve."""

from pathlib import Path
from typing import Any

CURVES = (
    "claim a chunk",
    "send a chunk",
    "dispatch tick",
    "board",
    "watch",
    "follow: choosing",
    "follow: the daily pass",
    "list: small company, refused",
    "list: batch",
    "show: failed",
)
"""Drawn; the table has them all."""
LEAST_PAGES = 100
"""Below this a ratio says nothing: a b-tree that grew by a level."""


def table(result: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    sizes = result["sizes"]
    heads = "".join(f" {short(each['invoices'])} ms | pages | ratio |" for each in sizes)
    lines = [f"| beside so many invoices |{heads}", "|---" * (1 + 3 * len(sizes)) + "|"]
    for name, first in sizes[0]["operations"].items():
        lines.append(f"| {name} |" + "".join(_cells(each["operations"].get(name), first) for each in sizes))
    return "\n".join((*lines, "", *_on_disk(sizes), *_stream(sizes[-1].get("stream"))))


def broker_table(result: dict[str, Any]) -> str:
    """Return what the broker held as Markdown."""
    lines = [f"| beside a backlog of {result['backlog']:,} | used MiB | messages |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row['when']} | {row['used_mib']} | {row['messages']} |" for row in result["broker"]])


def draw(result: dict[str, Any], to: Path) -> None:
    """Draw pages touched beside each size, as a multiple of the smallest, as a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws has it (make install-bench)

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of how it draws

    sizes = result["sizes"]
    figure, axes = plt.subplots(figsize=(8, 5))
    for name in (each for each in CURVES if each in sizes[0]["operations"]):
        pages = [max(each["operations"][name]["pages"], LEAST_PAGES) for each in sizes]
        axes.plot([each["invoices"] for each in sizes], [each / pages[0] for each in pages], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="invoices of history", ylabel="pages touched, as a multiple")
    axes.set_ylim(bottom=0.5, top=max(10.0, axes.get_ylim()[1]))
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(to, dpi=120, bbox_inches="tight")
    plt.close(figure)


def short(count: int) -> str:
    """Return a round number as people write it: 1e6."""
    return f"{count:.0e}".replace("e+0", "e")


def _cells(own: dict[str, Any] | None, first: dict[str, Any]) -> str:
    if own is None:
        return " | | |"
    ratio = max(own["pages"], LEAST_PAGES) / max(first["pages"], LEAST_PAGES)
    return f" {own['p95_ms']:.1f} | {own['pages']:,} | {ratio:.1f} |"


def _on_disk(sizes: list[dict[str, Any]]) -> list[str]:
    largest = sizes[-1]
    lines = [
        f"Bytes on disk for each of {largest['invoices']:,} invoices (documents nearly empty):",
        "",
        "| table | heap | indexes | TOAST |",
        "|---|---|---|---|",
    ]
    rows = (f"| {name} | {own['heap']} | {own['indexes']} | {own['toast']} |" for name, own in largest["bytes"].items())
    return [*lines, *rows]


def _stream(stream: dict[str, Any] | None) -> list[str]:
    if stream is None:
        return []
    quarters = ", ".join(f"{each['pages']:,}" for each in stream["send_a_chunk_by_quarter"])
    told = f"{stream['invoices']:,} invoices sent and followed in {stream['seconds']} s beside it"
    lines = [
        "",
        f"{told}; pages of a chunk by quarter of that time: {quarters}.",
        "",
        "| table | dead rows before | after | autovacuums | updates | of these HOT | heap MiB | indexes MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {row['name']} | {row['dead_before']:,} | {row['dead']:,} | {row['autovacuums']} | {row['updates']:,} | "
        f"{row['hot_updates']:,} | {row['heap_mib']} | {row['index_mib']} |"
        for row in stream["tables"]
    ]

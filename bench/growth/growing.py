"""Grows a history step by step and measures every part of the line beside each size; everything in a folder of its own.

Pages touched in PostgreSQL say more than the time on a machine that does other work; both are kept.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.growth.meter import Meter
from bench.growth.operations import Line, measure_all
from bench.growth.stream import run_stream
from bench.history import layout
from bench.history.writing import Plan, add_companies, write_history
from bench.surroundings import surroundings
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.services.arming import place_of, require_key, seal_here
from pipeline.settings import Settings, settings_from
from pipeline.storage import schema
from pipeline.storage.arming import read_arming
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault, new_key

SETTINGS = {
    "POSTILJON_INSTANCE_KEY": "an instance key of a measurement alone",
    "POSTILJON_OPERATOR_URL": "http://127.0.0.1:9",
    "POSTILJON_DISPATCH_LEASE_SECONDS": "600",
}
SHOWN_BYTES = 5
"""A table that takes less for each invoice is in the sum alone."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be measured."""

    sizes: tuple[int, ...]
    plan: Plan
    runs: int
    plans: bool
    """Whether the heaviest statements are explained."""
    stream_seconds: float
    """How long work goes on beside the largest history, to see autovacuum."""


def grow(folder: Path, order: Order) -> dict[str, Any]:
    """Measure beside each size, the smallest first; return everything for a page."""
    result = surroundings() | {"seed": order.plan.seed, "runs": order.runs, "documents": order.plan.documents}
    with EmbeddedPostgres(folder / "postgres", durable=False) as server:
        return result | {"sizes": _grow(server.url, order)}


def _grow(url: str, order: Order) -> list[dict[str, Any]]:
    settings, vault = settings_from({**SETTINGS, "POSTILJON_DATABASE_URL": url}), Vault([new_key()])
    writer = Database(url)
    schema.upgrade(writer.engine)
    arm_here(writer, settings)
    companies = add_companies(writer, vault, order.plan)
    found: list[dict[str, Any]] = []
    for first, size in pairwise((0, *order.sizes)):
        written = write_history(writer, order.plan, first=first, last=size)
        _tell(f"{size:,} invoices: written in {written.seconds} s, {written.index_seconds} s of it indexes")
        meter = Meter(url, plans=order.plans)
        line = Line(meter, settings, vault, companies)
        try:
            beside: dict[str, Any] = {"invoices": size, "written": vars(written), "bytes": _sizes(writer, size)}
            beside["operations"] = _measure(line, runs=order.runs)
            if size == order.sizes[-1] and order.stream_seconds:
                beside["stream"] = run_stream(line, seconds=order.stream_seconds)
        finally:
            meter.close()
        found.append(beside)
    writer.close()
    return found


def _measure(line: Line, *, runs: int) -> dict[str, Any]:
    operations = {}
    for name, measured in measure_all(line, runs=runs):
        operations[name] = measured
        _tell(f"  {name}: {measured['p50_ms']} ms, {measured['pages']} pages")
    return operations


def arm_here(database: Database, settings: Settings) -> None:
    """Let a database of ours send."""
    with database.transaction() as session:
        here = place_of(read_arming(session), settings)
        seal_here(session, here, key=require_key(settings), by="bench", now=read_clock(session))


def _sizes(database: Database, invoices: int) -> dict[str, dict[str, float]]:
    with database.transaction() as session:
        rows = session.connection().execute(text(layout.SIZES)).all()
    kept = {
        row.name: {part: round(float(getattr(row, part)) / invoices, 1) for part in ("heap", "indexes", "toast")}
        for row in rows
    }
    total = {part: round(sum(sizes[part] for sizes in kept.values()), 1) for part in ("heap", "indexes", "toast")}
    return {"all": total, **{name: sizes for name, sizes in kept.items() if sum(sizes.values()) >= SHOWN_BYTES}}


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")

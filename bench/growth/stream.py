"""A stream of submitting, claiming, recording and following beside a history, and what autovacuum does about it.

What must be seen: dead rows of the hot tables are taken away while work goes on, and a claim touches no more pages at
the end than at the beginning.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from bench.growth.operations import Line

ACTIVITY = """
    SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead, autovacuum_count + vacuum_count AS vacuums,
        autovacuum_count AS autovacuums, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates, last_autovacuum,
        pg_relation_size(relid) AS heap_bytes, pg_indexes_size(relid) AS index_bytes
    FROM pg_stat_all_tables WHERE schemaname = 'public' AND n_tup_ins + n_tup_upd + n_tup_del > 0
"""
MIB = 1024 * 1024
ROUND_SUBMITS = 8
"""Of 100 invoices each: a window."""


def run_stream(line: Line, *, seconds: float) -> dict[str, Any]:
    """Work for a while; return pages and time of a chunk by quarter, and each hot table before and after."""
    before = _activity(line)
    began, sent = time.monotonic(), 0
    chunks: list[tuple[float, int, float]] = []
    while time.monotonic() - began < seconds:
        for at, pages, took, count in _one_round(line):
            sent += count
            chunks.append((at - began, pages, took))
    after = _activity(line)
    quarters = [[each for each in chunks if seconds * q / 4 <= each[0] < seconds * (q + 1) / 4] for q in range(4)]
    tables = [_change(name, before.get(name, {}), row) for name, row in sorted(after.items())]
    return {
        "seconds": round(time.monotonic() - began, 1),
        "invoices": sent,
        "send_a_chunk_by_quarter": [
            {"pages": int(statistics.median(each[1] for each in own)), "ms": _milliseconds(own)}
            for own in quarters
            if own
        ],
        "tables": [each for each in tables if each["updates"] or each["dead"] or each["autovacuums"]],
    }


def _change(name: str, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    grown = {each: after[each] - before.get(each, 0) for each in ("autovacuums", "updates", "hot_updates")}
    sizes = {f"{part}_mib": round(after[f"{part}_bytes"] / MIB, 1) for part in ("heap", "index")}
    return {"name": name, "dead_before": before.get("dead", 0), "dead": after["dead"], **grown, **sizes}


def _one_round(line: Line) -> Iterator[tuple[float, int, float, int]]:
    for _ in itertools.repeat(None, ROUND_SUBMITS):
        line.submit()
    line.tick()
    chunks, line.kept.chunks = line.kept.chunks, []
    for chunk in chunks:
        measured = line.meter.measure(lambda chunk=chunk: line.send(chunk), runs=1)  # type: ignore[misc] # bound now
        yield time.monotonic(), measured.pages[0], measured.seconds[0], len(chunk.invoice_ids)
    asyncio.run(line.follower.run(uuid4()))
    asyncio.run(line.watch.run(uuid4()))


def _milliseconds(chunks: list[tuple[float, int, float]]) -> float:
    return round(1000 * statistics.median(each[2] for each in chunks), 1)


def _activity(line: Line) -> dict[str, dict[str, Any]]:
    return {row.name: dict(row._mapping) for row in line.query(ACTIVITY)}  # noqa: SLF001 - SQLAlchemy's public name

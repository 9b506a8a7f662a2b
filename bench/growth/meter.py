"""Times what the product does on a database and counts the pages it touches there, which a loaded machine leaves alone.

Knows nothing of what is measured.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from pipeline.storage.database import Database

# Of all clients together; the watching connection adds a handful of pages of the catalogue.
TOUCHED = """
    SELECT sum(coalesce(hits, 0) + coalesce(reads, 0)) FROM pg_stat_io
    WHERE backend_type = 'client backend' AND object = 'relation'
"""
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
HEAVY_PAGES = 200
"""A statement that touches fewer is not worth a line."""


@dataclass(kw_only=True)
class Measured:
    """What one operation took, repeated some times."""

    seconds: list[float] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    heavy: list[dict[str, Any]] = field(default_factory=list)
    """The statements that touched most, with the plan's scans."""

    def as_object(self) -> dict[str, object]:
        """Return it as the results file keeps it."""
        return {
            "runs": len(self.seconds),
            "p50_ms": round(1000 * statistics.median(self.seconds), 3),
            "p95_ms": round(1000 * percentile(self.seconds, 0.95), 3),
            "pages": int(statistics.median(self.pages)) if self.pages else None,
            "heavy": self.heavy,
        }


class Meter:
    """Measures on a database that nobody else uses."""

    def __init__(self, url: str, *, plans: bool) -> None:
        self.database = Database(url, pool_size=1)
        self._plans = plans
        self._watcher: psycopg.Connection[Any] = psycopg.connect(
            make_url(url).set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
        )
        self._seen: list[tuple[str, Any]] = []
        event.listen(self.database.engine, "before_cursor_execute", self._note)

    def measure(self, action: Callable[[], object], *, runs: int) -> Measured:
        """Repeat an action; it may change the database, for it is the product's own."""
        measured, self._seen = Measured(), []
        for _ in range(runs):
            before = self._touched()
            began = time.perf_counter()
            action()
            measured.seconds.append(time.perf_counter() - began)
            measured.pages.append(self._touched() - before)
        seen, self._seen = self._seen, []
        if self._plans:
            measured.heavy = self._explain(seen)
        return measured

    def close(self) -> None:
        """Close both connections."""
        self.database.close()
        self._watcher.close()

    def _touched(self) -> int:
        with self.database.transaction() as session:
            session.connection().execute(text("SELECT pg_stat_force_next_flush()"))
        row = self._watcher.execute(TOUCHED).fetchone()
        return int(row[0]) if row else 0

    def _explain(self, seen: list[tuple[str, Any]]) -> list[dict[str, Any]]:
        # Repeated with their own parameters and rolled back; some find less now than they did.
        found = [plan for statement, parameters in dict(seen).items() if (plan := self._plan(statement, parameters))]
        return sorted(found, key=lambda plan: -plan["pages"])[:3]

    def _plan(self, statement: str, parameters: Any) -> dict[str, Any] | None:
        if not statement.lstrip(" (\n").upper().startswith(("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")):
            return None
        try:
            with self.database.engine.connect() as connection, connection.begin() as transaction:
                root = connection.exec_driver_sql(EXPLAIN + statement, parameters).scalar_one()[0]["Plan"]
                transaction.rollback()
        except DBAPIError:  # a statement that cannot be repeated is measured all the same
            return None
        pages = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        if pages < HEAVY_PAGES:
            return None
        return {"statement": " ".join(statement.split())[:160], "pages": pages, "scans": sorted(set(_scans(root)))}

    def _note(self, _connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if self._plans:
            self._seen.append((statement, parameters[0] if isinstance(parameters, list) and parameters else parameters))


def _scans(node: dict[str, Any]) -> list[str]:
    own = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    told = f"{node['Node Type']} {node.get('Index Name') or node['Relation Name']}" if "Relation Name" in node else ""
    if node.get("Index Name") and "Relation Name" not in node:
        told = f"{node['Node Type']} {node['Index Name']}"
    here = [f"{told}: {own} pages"] if told and own >= HEAVY_PAGES // 2 else []
    return here + [each for child in node.get("Plans", ()) for each in _scans(child)]


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of them lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

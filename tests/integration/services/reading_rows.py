"""How many rows of the invoice table the statements of a piece of work read, by what PostgreSQL says of each."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

EXPLAINED = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


@contextmanager
def rows_read(database) -> Iterator[dict[str, int]]:
    """Give, by statement, the most rows that one run of it scanned, those that it threw away and index entries too.

    Each statement is run once more beforehand, and undone.
    """
    most: dict[str, int] = {}

    def explain(connection, _cursor, statement, parameters, _context, many):
        if many or not EXPLAINED.match(statement):
            return
        raw = connection.connection.driver_connection
        raw.execute("SAVEPOINT before")
        (answer,) = raw.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchone()
        raw.execute("ROLLBACK TO SAVEPOINT before")
        plan = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
        words = " ".join(statement.split())[:120]
        most[words] = max(most.get(words, 0), sum(_scanned(plan)))

    event.listen(database.engine, "before_cursor_execute", explain)
    try:
        yield most
    finally:
        event.remove(database.engine, "before_cursor_execute", explain)


def _scanned(node):
    named = node.get("Relation Name") or node.get("Index Name") or ""
    if named.startswith("invoice") and "Operation" not in node:
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield round(node["Actual Loops"] * (node["Actual Rows"] + removed))
    for child in node.get("Plans", ()):
        yield from _scanned(child)

"""Taking a part out of its table: as a whole, or for one with only what must live. Everything or nothing of a part.

The replacement is filled beside the table, where nobody waits for it. Only then are the table and its part locked, for
as long as it takes to put one in the place of the other, or not at all.
"""

import json
from dataclasses import replace
from datetime import datetime

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage.partitions import COUNTERS, LOCK_TIMEOUT
from pipeline.storage.retention_rules import GONE, Leaving, Rules, survivors_of

GONE_PREFIX = "gone_"
"""A table of the invoices that left a part, until nothing of them is left elsewhere."""
KEPT_PREFIX = "kept_"
REMOVER = "retention"
LOCK_WAIT = "200ms"
"""Whoever waits for a table stands before everybody who comes after him: sending waits this long, not longer."""
LOCK_TRIES = 5
PAUSE = text("SELECT pg_sleep(0.3)")
ALONE = text("SELECT pg_try_advisory_xact_lock(hashtext('postiljon.removal'))")
"""Whoever removes anything: nothing is taken from a part while another is filled from it."""
BOUNDS = text("""
    SELECT pg_get_expr(relpartbound, oid) AS bounds, pg_get_partition_constraintdef(oid) AS inside
    FROM pg_class WHERE oid = CAST(:part AS regclass)
""")
INDEXES = text("""
    SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = CAST(:part AS regclass)
""")
REMOVED = text("""
    INSERT INTO removal (kind, company_id, removed, removed_at, removed_by)
    VALUES (:kind, :company, CAST(:removed AS jsonb), :now, :by) RETURNING id
""")
# A resend takes the newest copy of its bytes, and a late failure brings an invoice back: both may have come meanwhile.
WANTED_AFTER_ALL = """
    INSERT INTO {kept} SELECT t.* FROM {part} AS t WHERE EXISTS (
        SELECT 1 FROM invoice_open AS i WHERE i.document_sha256 = t.sha256 AND i.document_at = t.created_at)
    ON CONFLICT DO NOTHING
"""
SUBTRACT = """
    INSERT INTO tally_delta (subject, company_id, batch_id, name, n)
    SELECT 'invoice', company_id, coalesce(batch_id, 0), state, -count(*) FROM {gone} GROUP BY 2, 3, 4
"""


def take_removal_lock(connection: Connection) -> None:
    """Be the only one who removes anything until the transaction ends. Raises: ServiceUnavailableError."""
    if not connection.execute(ALONE).scalar_one():
        raise ServiceUnavailableError("something else is being removed at this moment; try again when it is through")


def note_removal(
    session: Session, *, kind: str, removed: dict[str, object], now: datetime, by: str, company_id: object = None
) -> int:
    """Write down what was removed; return the number it has from now on."""
    parameters = {"kind": kind, "company": company_id, "removed": json.dumps(removed), "now": now, "by": by}
    return int(session.connection().execute(REMOVED, parameters).scalar_one())


def mark(session: Session, rules: Rules, part: str) -> None:
    """Note that a part was looked at under these rules and nothing can leave it."""
    connection = session.connection()
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"COMMENT ON TABLE {part} IS '{rules.mark}'"))


def remove_from_part(session: Session, rules: Rules, leaving: Leaving, *, now: datetime) -> Leaving:
    """Take out of a part what need not live, and note it; return what left. All in the caller's transaction.

    Raises: ServiceUnavailableError when the table is in use for too long, or its rows changed meanwhile.
    """
    connection = session.connection()
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    take_removal_lock(connection)
    bounds = connection.execute(BOUNDS, {"part": leaving.part}).one()
    filled = _fill(connection, rules, leaving, inside=bounds.inside)
    _lock(connection, leaving)
    left = _settle(connection, filled)
    connection.execute(text(f"DROP TABLE {leaving.part}"))
    if left.kept:
        _attach(connection, left, bounds=bounds.bounds)
        connection.execute(text(f"COMMENT ON TABLE {left.part} IS '{rules.mark}'"))
    else:
        connection.execute(text(f"DROP TABLE {KEPT_PREFIX}{leaving.part}"))
    removed = {**left.as_object(), "rule": rules.as_object()}
    note_removal(session, kind="retention", removed=removed, now=now, by=REMOVER)
    return left


def _fill(connection: Connection, rules: Rules, leaving: Leaving, *, inside: str) -> Leaving:
    kept, gone = KEPT_PREFIX + leaving.part, GONE_PREFIX + leaving.part
    connection.execute(text(f"CREATE TABLE {kept} (LIKE {leaving.part} INCLUDING ALL)"))
    # With this PostgreSQL need not read it again when it takes its place.
    connection.execute(text(f"ALTER TABLE {kept} ADD CONSTRAINT {kept}_inside CHECK ({inside})"))
    survivors = survivors_of(leaving.table, leaving.part)
    count = connection.execute(text(f"INSERT INTO {kept} {survivors}"), rules.parameters).rowcount
    connection.execute(text(f"ANALYZE {kept}"))
    if leaving.table != "invoice":
        return replace(leaving, kept=count, rows=leaving.rows + leaving.kept - count)
    connection.execute(text(f"CREATE TABLE {gone} (id uuid PRIMARY KEY, company_id uuid, batch_id bigint, state text)"))
    connection.execute(text(f"INSERT INTO {gone} {GONE.format(part=leaving.part)}"), rules.parameters)
    rows = connection.execute(text(f"SELECT state, count(*) AS n FROM {gone} GROUP BY state ORDER BY state"))
    states = {row.state: row.n for row in rows}
    return replace(leaving, kept=count, rows=sum(states.values()), states=states)


def _lock(connection: Connection, leaving: Leaving) -> None:
    """Lock what is to be swapped; wait a moment each time, so that nobody behind waits longer than that."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    for _ in range(LOCK_TRIES):
        savepoint = connection.begin_nested()
        try:
            _lock_once(connection, leaving)
        except OperationalError as exc:
            savepoint.rollback()
            if not isinstance(exc.orig, LockNotAvailable):
                raise
            connection.execute(PAUSE)
        else:
            savepoint.commit()
            return
    raise ServiceUnavailableError(f"{leaving.part} is in use; it is tried again later")


def _lock_once(connection: Connection, leaving: Leaving) -> None:
    if leaving.table == "invoice":  # what its rows refer to: taken at once and in this order, not one by one later
        connection.execute(text("LOCK TABLE company, batch, invoice_key IN SHARE ROW EXCLUSIVE MODE"))
    # ONLY: the part of the open invoices goes on meanwhile.
    connection.execute(text(f"LOCK TABLE ONLY {leaving.table}, {leaving.table}_other, {leaving.part}"))


def _settle(connection: Connection, filled: Leaving) -> Leaving:
    """Take into account, under the lock, what happened since the replacement was filled."""
    kept, gone = KEPT_PREFIX + filled.part, GONE_PREFIX + filled.part
    if filled.table == "document":
        more = connection.execute(text(WANTED_AFTER_ALL.format(kept=kept, part=filled.part))).rowcount
        return replace(filled, kept=filled.kept + more, rows=filled.rows - more)
    if filled.table == "invoice":
        # Nothing is put on an old shelf; what was taken from it is missing in the count.
        total = connection.execute(text(f"SELECT count(*) FROM {filled.part}")).scalar_one()
        if total != filled.kept + filled.rows:
            raise ServiceUnavailableError(f"an invoice was brought back from {filled.part} meanwhile; try again")
        connection.execute(text(SUBTRACT.format(gone=gone)))
    return filled


def _attach(connection: Connection, leaving: Leaving, *, bounds: str) -> None:
    part, kept = leaving.part, KEPT_PREFIX + leaving.part
    for index in connection.execute(INDEXES, {"part": kept}).scalars().all():
        connection.execute(text(f"ALTER INDEX {index} RENAME TO {index.removeprefix(KEPT_PREFIX)}"))
    connection.execute(text(f"ALTER TABLE {kept} RENAME TO {part}"))
    connection.execute(text(f"ALTER TABLE {leaving.table} ATTACH PARTITION {part} {bounds}"))
    connection.execute(text(f"ALTER TABLE {part} DROP CONSTRAINT {kept}_inside"))
    if leaving.table == "invoice":
        for statement in COUNTERS:
            connection.execute(text(statement.format(name=part)))

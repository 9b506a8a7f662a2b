"""Batches: their counters read and folded, closing, and completion by compare-and-set. Scans no invoices.

The triggers that feed the counters and the guard that keeps completion honest are in migration 0006.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.errors import InvalidInputError, UnknownBatchError
from pipeline.domain.state import State
from pipeline.storage.tallies import Balance

PARTS = ("delivered", "failed", "open", "held", "cancelled", "superseded")
COUNTS = ("total", *PARTS)

LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('postiljon.fold_batches'))")
FOLD = text(f"""
    WITH taken AS (
        DELETE FROM batch_delta WHERE id IN (SELECT id FROM batch_delta ORDER BY id LIMIT :limit) RETURNING *
    ), summed AS (
        SELECT batch_id, {", ".join(f"sum({name}) AS {name}" for name in COUNTS)},
            max(not_before) AS not_before, max(submitted_at) AS submitted_at
        FROM taken GROUP BY batch_id
    ), added AS (
        UPDATE batch SET {", ".join(f"{name} = batch.{name} + summed.{name}" for name in COUNTS)},
            not_before = greatest(batch.not_before, summed.not_before),
            submitted_at = greatest(batch.submitted_at, summed.submitted_at)
        FROM summed WHERE batch.id = summed.batch_id
    )
    SELECT count(*) FROM taken
""")
# A submission that is not committed yet holds its batch by the foreign key, and such a batch is passed over here. What
# is committed by now the next statement sees, what comes later waits until this transaction is over.
LOCK_THROUGH = text("""
    SELECT id FROM batch WHERE completed_at IS NULL AND open = 0 AND held = 0
        AND (closed_at IS NOT NULL OR total > 0 AND submitted_at < :quiet_since)
    ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED
""")
COMPLETE = text(f"""
    UPDATE batch SET completed_at = :now, closed_at = coalesce(closed_at, :now), completed_total = total
    WHERE id = ANY(:ids) AND completed_at IS NULL AND open = 0 AND held = 0 AND total = {" + ".join(PARTS)}
        AND NOT EXISTS (SELECT 1 FROM batch_delta WHERE batch_id = batch.id)
    RETURNING id
""")
CLOSE = text("UPDATE batch SET closed_at = :now WHERE id = :id AND closed_at IS NULL RETURNING id")
REOPEN = text("""
    UPDATE batch SET closed_at = NULL
    WHERE company_id = :company AND name = :name AND closed_at IS NOT NULL AND completed_at IS NULL RETURNING id
""")
_READ = f"""
    SELECT batch.id, batch.company_id, company.name AS company_name, batch.name, batch.created_at, batch.closed_at,
        batch.completed_at, batch.completed_total, greatest(batch.not_before, late.not_before) AS not_before,
        greatest(batch.submitted_at, late.submitted_at) AS submitted_at,
        {", ".join(f"batch.{name} + coalesce(late.{name}, 0) AS {name}" for name in COUNTS)}
    FROM batch JOIN company ON company.id = batch.company_id LEFT JOIN (
        SELECT batch_id, max(not_before) AS not_before, max(submitted_at) AS submitted_at,
            {", ".join(f"CAST(sum({name}) AS bigint) AS {name}" for name in COUNTS)}
        FROM batch_delta GROUP BY batch_id) AS late ON late.batch_id = batch.id
"""
LIST = text(f"""
    {_READ} WHERE (CAST(:company AS uuid) IS NULL OR batch.company_id = :company)
        AND (NOT :going OR batch.completed_at IS NULL)
    ORDER BY batch.id DESC LIMIT :limit
""")
OF_IDS = text(f"{_READ} WHERE batch.id = ANY(:ids) ORDER BY batch.id")
NAMED = text("""
    SELECT id FROM batch WHERE name = :name AND (CAST(:company AS uuid) IS NULL OR company_id = :company) ORDER BY id
""")
STATES = text("""
    SELECT name, CAST(sum(n) AS bigint) AS n FROM (
        SELECT name, n FROM tally WHERE subject = 'invoice' AND company_id = :company AND batch_id = :batch
        UNION ALL SELECT name, n FROM tally_delta WHERE subject = 'invoice' AND batch_id = :batch) AS b GROUP BY name
""")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch as of one statement."""

    id: int
    company_id: UUID
    company_name: str
    name: str
    created_at: datetime
    submitted_at: datetime | None
    """When its last invoice came."""
    not_before: datetime | None
    """The latest earliest moment among its invoices."""
    closed_at: datetime | None
    completed_at: datetime | None
    completed_total: int | None
    balance: Balance

    @property
    def done(self) -> int:
        """How many need nothing more from anybody, as far as is known."""
        return self.balance.total - self.balance.open - self.balance.held

    @property
    def is_through(self) -> bool:
        """Whether it was completed, and nothing that came or turned since is open or held."""
        return self.completed_at is not None and self.done == self.balance.total


def fold_batches(session: Session, *, limit: int = 50_000) -> int:
    """Add up to `limit` changes to the counters of their batches; return how many. 0 beside somebody who folds."""
    connection = session.connection()
    if not connection.execute(LOCK).scalar_one():
        return 0
    return int(connection.execute(FOLD, {"limit": limit}).scalar_one())


def complete_batches(session: Session, *, now: datetime, quiet_since: datetime) -> list[Batch]:
    """Record which batches are complete now, each for once and all time; return them.

    Complete is what was closed, or got no invoice since `quiet_since`, and has nothing open or held.
    """
    connection = session.connection()
    through = list(connection.execute(LOCK_THROUGH, {"quiet_since": quiet_since}).scalars())
    if not through:
        return []
    completed = list(connection.execute(COMPLETE, {"ids": through, "now": now}).scalars())
    return [_batch(row) for row in connection.execute(OF_IDS, {"ids": completed})]


def close_batch(session: Session, batch_id: int, *, now: datetime) -> bool:
    """Say that no more is expected under its name; False when that was said before."""
    return session.connection().execute(CLOSE, {"id": batch_id, "now": now}).one_or_none() is not None


def reopen_batch(session: Session, company_id: UUID, name: str) -> bool:
    """Say that more comes under the name after all; False when it is not closed, or completed, or not there."""
    found = session.connection().execute(REOPEN, {"company": company_id, "name": name.strip()})
    return found.one_or_none() is not None


def list_batches(
    session: Session, *, company_id: UUID | None = None, going_only: bool = False, limit: int = 50
) -> list[Batch]:
    """Return batches, the newest first."""
    parameters = {"company": company_id, "going": going_only, "limit": limit}
    return [_batch(row) for row in session.connection().execute(LIST, parameters)]


def find_batch(session: Session, named: str, *, company_id: UUID | None = None) -> Batch:
    """Return the batch of a name, or of an id.

    Raises: UnknownBatchError; InvalidInputError when several companies have one of that name.
    """
    ids = list(session.connection().execute(NAMED, {"name": named.strip(), "company": company_id}).scalars())
    if not ids and named.isdecimal() and len(named) < 19:  # noqa: PLR2004 - digits of a bigint
        ids = [int(named)]
    found = [each for each in read_batches(session, ids) if company_id in (None, each.company_id)]
    if not found:
        raise UnknownBatchError(f"unknown batch {named!r}: `postiljon batch list` shows what there is")
    if len(found) > 1:
        companies = ", ".join(each.company_name for each in found[:5])
        raise InvalidInputError(f"{len(found)} companies have a batch {named!r} ({companies}); add --company")
    return found[0]


def read_batches(session: Session, ids: Sequence[int]) -> list[Batch]:
    """Return batches by their ids, those that are there."""
    return [_batch(row) for row in session.connection().execute(OF_IDS, {"ids": list(ids)})]


def read_states(session: Session, batch: Batch) -> Mapping[State, int]:
    """Return how many invoices of a batch are in each state, from the counters; states without any are left out."""
    rows = session.connection().execute(STATES, {"company": batch.company_id, "batch": batch.id})
    return {State(row.name): row.n for row in rows if row.n}


def _batch(row: Any) -> Batch:
    return Batch(
        id=row.id,
        company_id=row.company_id,
        company_name=row.company_name,
        name=row.name,
        created_at=row.created_at,
        submitted_at=row.submitted_at,
        not_before=row.not_before,
        closed_at=row.closed_at,
        completed_at=row.completed_at,
        completed_total=row.completed_total,
        balance=Balance(**{name: getattr(row, name) for name in COUNTS}),
    )

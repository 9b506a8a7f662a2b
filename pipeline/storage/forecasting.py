"""What a forecast needs beside counters, paces and circuits: when the last invoice is due, which turns are taken.

A look into an index for each company; never a count over invoices.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.turnstile import Lane

# What is with a worker is due again when its lease ends, which is no appointment; such rows are as few as the window.
LAST_DUE = text("""
    SELECT c.id, last.due_at FROM company AS c CROSS JOIN LATERAL (
        SELECT due_at FROM invoice WHERE company_id = c.id AND state IN ('queued', 'waiting', 'in_doubt')
            AND (lease_until IS NULL OR lease_until <= :now)
        ORDER BY due_at DESC LIMIT 1
    ) AS last WHERE last.due_at > :now
""")
TAKEN_TURNS = text("SELECT scope, next_at FROM pace WHERE lane = :lane AND next_at IS NOT NULL")


def read_last_due(session: Session, *, now: datetime) -> dict[UUID, datetime]:
    """Return when the last invoice of each company is due, where that is still to come."""
    return {row.id: row.due_at for row in session.connection().execute(LAST_DUE, {"now": now})}


def read_taken_turns(session: Session, lane: Lane) -> dict[str, datetime]:
    """Return until when the turns of a lane are taken, by scope."""
    return {row.scope: row.next_at for row in session.connection().execute(TAKEN_TURNS, {"lane": lane.value})}

"""What a forecast needs beside counters, paces and circuits: when the last is due, which turns are taken, cut-offs.

A look into an index for each company, or into counters; never a count over invoices.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.turnstile import Lane

# What is with a worker is due again when its lease ends, which is no appointment; such rows are as few as the window.
LAST_DUE = text("""
    SELECT c.id, last.due_at FROM company AS c CROSS JOIN LATERAL (
        SELECT due_at FROM invoice_open WHERE company_id = c.id AND state IN ('queued', 'waiting', 'in_doubt')
            AND (lease_until IS NULL OR lease_until <= :now)
        ORDER BY due_at DESC LIMIT 1
    ) AS last WHERE last.due_at > :now
""")
TAKEN_TURNS = text("SELECT scope, next_at FROM pace WHERE lane = :lane AND next_at IS NOT NULL")

# By the minute, cut off downwards, as the triggers count it; what has neither deadline nor priority is told by state.
TO_SEND = text("""
    WITH counted AS (
        SELECT company_id, batch_id, name, CAST(sum(n) AS bigint) AS n FROM (
            SELECT subject, company_id, batch_id, name, n FROM tally
            UNION ALL SELECT subject, company_id, batch_id, name, n FROM tally_delta) AS both_of_them
        WHERE subject = 'deadline' OR (subject = 'invoice' AND name IN ('queued', 'sending', 'waiting', 'in_doubt'))
        GROUP BY company_id, batch_id, name HAVING sum(n) > 0
    )
    SELECT counted.company_id, batch_id, counted.name, n, batch.created_at,
        CASE WHEN batch.not_before > :now THEN batch.not_before END AS not_before
    FROM counted LEFT JOIN batch ON batch.id = batch_id
""")


@dataclass(frozen=True, kw_only=True)
class ToSend:
    """Invoices of a company still to be accepted that have the same batch, priority and deadline (by the minute)."""

    company_id: UUID
    batch_id: int
    """NO_BATCH for none."""
    priority: int
    deadline: datetime | None
    invoices: int
    came_at: datetime | None
    """When their batch was begun."""
    not_before: datetime | None
    """The latest earliest moment in their batch, if that is still to come."""


def read_to_send(session: Session, *, now: datetime) -> list[ToSend]:
    """Return what is still to be accepted, in groups; from the counters alone."""
    urgent: list[ToSend] = []
    wholes: dict[tuple[UUID, int], ToSend] = {}
    for row in session.connection().execute(TO_SEND, {"now": now}):
        key = (row.company_id, row.batch_id)
        priority, slash, minute = row.name.partition("/")
        group = ToSend(
            company_id=row.company_id,
            batch_id=row.batch_id,
            priority=int(priority) if slash else 0,
            deadline=datetime.fromtimestamp(int(minute) * 60, UTC) if minute else None,
            invoices=row.n,
            came_at=row.created_at,
            not_before=row.not_before,
        )
        if slash:
            urgent.append(group)
        else:
            wholes[key] = replace(group, invoices=group.invoices + (wholes[key].invoices if key in wholes else 0))
    for each in urgent:
        whole = wholes.get((each.company_id, each.batch_id))
        if whole is not None:
            wholes[each.company_id, each.batch_id] = replace(whole, invoices=whole.invoices - each.invoices)
    return urgent + [each for each in wholes.values() if each.invoices > 0]


def read_last_due(session: Session, *, now: datetime) -> dict[UUID, datetime]:
    """Return when the last invoice of each company is due, where that is still to come."""
    return {row.id: row.due_at for row in session.connection().execute(LAST_DUE, {"now": now})}


def read_taken_turns(session: Session, lane: Lane) -> dict[str, datetime]:
    """Return until when the turns of a lane are taken, by scope."""
    return {row.scope: row.next_at for row in session.connection().execute(TAKEN_TURNS, {"lane": lane.value})}

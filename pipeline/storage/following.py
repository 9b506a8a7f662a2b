"""Which accepted invoices to ask the operator about, and what its answer changes. Knows nothing of HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State

TAKE_LOOKS = text("""
    WITH due AS (
        SELECT i.id FROM invoice AS i JOIN company AS c ON c.id = i.company_id AND c.hold_reason IS NULL
        WHERE i.look_at <= :now AND i.state IN ('accepted', 'delivered')
        ORDER BY i.look_at LIMIT :limit FOR UPDATE OF i SKIP LOCKED
    )
    UPDATE invoice SET look_at = :until FROM due WHERE invoice.id = due.id
    RETURNING invoice.id, invoice.company_id, invoice.state, invoice.looks, invoice.accepted_at, invoice.operator_status
""")
LEARN = text("""
    WITH moved AS (
        UPDATE invoice SET state = :target, operator_status = :status, reason = :reason, look_at = :look_at,
            looks = :looks, changed_at = :now
        WHERE id = :id AND state = :source RETURNING id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'operator_status', :source, :target, :cause FROM moved RETURNING invoice_id
""")
LOOK_LATER = text("""
    WITH before AS (
        SELECT id, reason FROM invoice WHERE id = :id AND state = :source FOR UPDATE
    ), looked AS (
        UPDATE invoice SET look_at = :look_at, looks = :looks, operator_status = coalesce(:status, operator_status),
            reason = coalesce(CAST(:reason AS text), before.reason)
        FROM before WHERE invoice.id = before.id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'look', :source, :source, :reason FROM before
    WHERE CAST(:reason AS text) IS NOT NULL AND reason IS DISTINCT FROM CAST(:reason AS text)
""")


@dataclass(frozen=True, kw_only=True)
class Look:
    """An invoice whose turn it is to be asked about."""

    id: UUID
    company_id: UUID
    state: State
    looks: int
    accepted_at: datetime
    operator_status: str | None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a look told: a new state with its cause, or none (`target` equals the state); a reason then is a finding."""

    look: Look
    target: State
    operator_status: str | None
    reason: str | None
    look_at: datetime | None


def take_looks(session: Session, *, now: datetime, until: datetime, limit: int) -> list[Look]:
    """Take invoices due for a look; if nobody records what was learned, they are due again at `until`."""
    rows = session.connection().execute(TAKE_LOOKS, {"now": now, "until": until, "limit": limit})
    return [
        Look(
            id=row.id,
            company_id=row.company_id,
            state=State(row.state),
            looks=row.looks,
            accepted_at=row.accepted_at,
            operator_status=row.operator_status,
        )
        for row in rows
    ]


def record_learned(session: Session, learned: Sequence[Learned], *, now: datetime) -> int:
    """Write what the looks told; return how many invoices changed their state."""
    connection = session.connection()
    changed = 0
    for each in sorted(learned, key=lambda one: one.look.id):
        parameters = {
            "id": each.look.id,
            "source": each.look.state.value,
            "target": each.target.value,
            "status": each.operator_status,
            "reason": each.reason,
            "cause": each.reason or f"the operator says {each.operator_status}",
            "look_at": each.look_at,
            "looks": each.look.looks + 1,
            "now": now,
        }
        if each.target is each.look.state:
            connection.execute(LOOK_LATER, parameters)
        else:
            changed += len(connection.execute(LEARN, parameters).all())
    return changed

"""What the dispatcher hands out: counting what is in flight, picking what is due, stamping it with epoch and lease."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State

DUE = "state IN ('queued', 'waiting', 'in_doubt')"

COUNT_IN_FLIGHT = text("SELECT company_id, count(*) AS n FROM invoice WHERE lease_until > :now GROUP BY company_id")
COMPANIES_WITH_WORK = text(f"""
    SELECT id FROM company WHERE hold_reason IS NULL AND EXISTS (
        SELECT 1 FROM invoice WHERE company_id = company.id AND {DUE} AND due_at <= :now)
""")
PICK = text(f"""
    SELECT picked.* FROM unnest(CAST(:companies AS uuid[])) AS named(id) CROSS JOIN LATERAL (
        SELECT id, company_id, size, state FROM invoice
        WHERE company_id = named.id AND {DUE} AND due_at <= :now
        ORDER BY due_at LIMIT :share FOR UPDATE SKIP LOCKED) AS picked
""")
NEXT_EPOCH = text("SELECT nextval('epoch')")
STAMP = text("""
    UPDATE invoice SET epoch = :epoch, lease_until = :until, due_at = :until WHERE id = ANY(:ids)
""")


@dataclass(frozen=True, kw_only=True)
class DueInvoice:
    """An invoice that the dispatcher has locked."""

    id: UUID
    company_id: UUID
    size: int
    state: State


def pick_due(session: Session, *, now: datetime, room: int, leave_out: Container[UUID] = ()) -> list[DueInvoice]:
    """Lock up to about `room` due invoices, each company with work getting the same share; held ones none."""
    connection = session.connection()
    companies = [row.id for row in connection.execute(COMPANIES_WITH_WORK, {"now": now}) if row.id not in leave_out]
    if not companies or room <= 0:
        return []
    share = -(-room // len(companies))
    rows = connection.execute(PICK, {"companies": companies, "now": now, "share": share})
    return [DueInvoice(id=r.id, company_id=r.company_id, size=r.size, state=State(r.state)) for r in rows]


def count_in_flight(session: Session, *, now: datetime) -> dict[UUID, int]:
    """Count by company the invoices that are with workers or on their way to them; companies without are left out."""
    rows = session.connection().execute(COUNT_IN_FLIGHT, {"now": now})
    return {row.company_id: row.n for row in rows}


def stamp(session: Session, ids: Sequence[UUID], *, until: datetime) -> int:
    """Give locked invoices a new epoch and a lease until an instant; return the epoch."""
    connection = session.connection()
    epoch = int(connection.execute(NEXT_EPOCH).scalar_one())
    connection.execute(STAMP, {"epoch": epoch, "until": until, "ids": list(ids)})
    return epoch

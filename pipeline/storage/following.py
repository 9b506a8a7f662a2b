"""Which invoices to ask the operator about: whose turn it is, taken in full calls of one company. Knows no HTTP.

What the answers change: following_learned.py. Who makes a turn come early: following_hints.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import OperatorState, State

FOLLOWED = "state IN ('accepted', 'delivered', 'failed')"

DUE_BY_COMPANY = text(f"""
    SELECT c.id, due.n FROM company AS c CROSS JOIN LATERAL (
        SELECT count(*) AS n, min(look_at) AS oldest FROM (
            SELECT look_at FROM invoice_open WHERE company_id = c.id AND look_at <= :now AND {FOLLOWED}
            ORDER BY look_at LIMIT :at_most) AS own) AS due
    WHERE c.hold_reason IS NULL AND (c.look_after IS NULL OR c.look_after <= :now) AND due.n > 0 ORDER BY due.oldest
""")
# A call is filled up with what would be due soon: half of its own wait is over, and no more than FILL_SECONDS are left.
TAKE_LOOKS = text(f"""
    WITH due AS (
        SELECT picked.* FROM unnest(CAST(:companies AS uuid[]), CAST(:amounts AS int[])) AS named (id, amount)
        CROSS JOIN LATERAL (
            SELECT id, look_at AS planned_at FROM invoice_open
            WHERE company_id = named.id AND {FOLLOWED} AND look_at <= :soon
                AND (look_at <= :now OR look_at - :now <= (look_at - coalesce(seen_at, accepted_at)) / 2)
            ORDER BY look_at LIMIT named.amount FOR NO KEY UPDATE SKIP LOCKED) AS picked
    ), taken AS (
        UPDATE invoice_open AS invoice
        SET look_at = :until FROM due WHERE invoice.id = due.id RETURNING invoice.*, due.planned_at
    )
    SELECT taken.id, taken.company_id, taken.state, taken.accepted_at, taken.seen_at, taken.planned_at, taken.lost,
        taken.operator_status, taken.operator_state, way.rerouted_at, way.rerouting, attempted.found_at
    FROM taken
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(status IN ('begun', 'unclear')), false) AS rerouting,
            max(finished_at) FILTER (WHERE status = 'done' AND kind IN ('einvoice', 'email', 'print')) AS rerouted_at
        FROM way_out WHERE invoice_id = taken.id) AS way
    CROSS JOIN LATERAL (
        SELECT max(finished_at) AS found_at FROM attempt
        WHERE taken.lost > 0 AND invoice_id = taken.id AND started_at >= taken.submitted_at - interval '1 day'
    ) AS attempted
    ORDER BY taken.company_id, taken.planned_at, taken.id
""")
PUT_OFF = text("""
    WITH taken AS (
        SELECT id FROM invoice_open WHERE id = ANY(:ids) AND look_at = :until ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE invoice_open AS invoice SET look_at = :again FROM taken WHERE invoice.id = taken.id
""")
# The latest of several answers stands. Its invoices keep their turns: a hundred thousand would be written each time.
PUT_OFF_COMPANY = text("UPDATE company SET look_after = greatest(look_after, :again) WHERE id = :id")
ANSWERED = text("UPDATE company SET looked_at = :now, look_failing_since = NULL WHERE id = :id")
# While somebody is left alone the circuit's alarm says so; of our own restraint nothing is concluded.
NOT_ANSWERED = text("""
    UPDATE company SET look_failing_since = coalesce(look_failing_since, :now)
    WHERE id = :id AND NOT EXISTS (SELECT 1 FROM circuit WHERE scope = ANY(:scopes) AND state <> 'closed')
""")


@dataclass(frozen=True, kw_only=True)
class Look:
    """An invoice whose turn it is to be asked about."""

    id: UUID
    company_id: UUID
    state: State
    since: datetime
    """Since when the operator has had it as it has it now: accepted, last rerouted, or last found after a loss."""
    planned_at: datetime
    """When its turn was; the call may have been filled up with it a little earlier."""
    seen_at: datetime | None = None
    rerouted_at: datetime | None = None
    """When our last reroute of it was known to be done."""
    rerouting: bool = False
    """Whether a reroute of ours is in the air: the router settles what it did."""
    lost: int = 0
    """How often the operator did not know it so far."""
    operator_status: str | None = None
    operator_state: OperatorState | None = None


def count_due(session: Session, *, now: datetime, at_most: int) -> list[tuple[UUID, int]]:
    """Count the due looks, up to a bound, of companies neither held nor left alone, the longest waiting one first."""
    rows = session.connection().execute(DUE_BY_COMPANY, {"now": now, "at_most": at_most})
    return [(row.id, row.n) for row in rows]


def take_looks(
    session: Session, wanted: Sequence[tuple[UUID, int]], *, now: datetime, soon: datetime, until: datetime
) -> list[Look]:
    """Take so many looks of each company; what is not due is taken up to `soon`, to fill the last call.

    If nobody records what was learned, they are due again at `until`.
    """
    parameters = {
        "companies": [company_id for company_id, _ in wanted],
        "amounts": [amount for _, amount in wanted],
        "now": now,
        "soon": soon,
        "until": until,
    }
    return [
        Look(
            id=row.id,
            company_id=row.company_id,
            state=State(row.state),
            since=max(at for at in (row.accepted_at, row.rerouted_at, row.found_at) if at is not None),
            planned_at=row.planned_at,
            seen_at=row.seen_at,
            rerouted_at=row.rerouted_at,
            rerouting=row.rerouting,
            lost=row.lost,
            operator_status=row.operator_status,
            operator_state=OperatorState(row.operator_state) if row.operator_state is not None else None,
        )
        for row in session.connection().execute(TAKE_LOOKS, parameters)
    ]


def put_off(session: Session, ids: Sequence[UUID], *, until: datetime, again: datetime) -> None:
    """Ask about taken looks again at an instant, since the question failed. A hint that came meanwhile stands."""
    session.connection().execute(PUT_OFF, {"ids": list(ids), "until": until, "again": again})


def put_off_company(session: Session, company_id: UUID, *, again: datetime) -> None:
    """Ask about no invoice of a company before an instant: the operator wants it left alone so long."""
    session.connection().execute(PUT_OFF_COMPANY, {"id": company_id, "again": again})


def note_answered(session: Session, company_id: UUID, *, now: datetime) -> None:
    """Keep that the operator answered about a company's invoices."""
    session.connection().execute(ANSWERED, {"id": company_id, "now": now})


def note_not_answered(session: Session, company_id: UUID, *, scopes: Sequence[str], now: datetime) -> None:
    """Keep since when the operator does not answer about a company's invoices.

    Not while a circuit of these scopes is other than closed: its alarm names the outage.
    """
    session.connection().execute(NOT_ANSWERED, {"id": company_id, "scopes": list(scopes), "now": now})

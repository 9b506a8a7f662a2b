"""Who carries out a way out until when, and the intent that is committed before the operator is asked.

Every claim is a new epoch; a writer with an older one changes nothing. What came of it: ways_ending.py.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State
from pipeline.domain.way import Way
from pipeline.storage.case_tables import LIVE_WAY_SQL

# What was asked already is settled whatever became of its order: only what nobody has begun can wait for one. What
# was begun when its order ended and is planned again is taken too, or it would wait for ever: it is not carried out.
# Nothing that waits for a way out is put away (storage/shelving.py).
CLAIM = text(f"""
    WITH due AS (
        SELECT w.id, w.not_before AS planned_for FROM way_out AS w
        JOIN route_case ON route_case.id = w.case_id
        JOIN company ON company.id = route_case.company_id AND company.hold_reason IS NULL
            AND NOT company.id = ANY(CAST(:but AS uuid[]))
        LEFT JOIN route_order AS o ON o.id = w.order_id
        WHERE w.{LIVE_WAY_SQL} AND w.not_before <= :now AND (w.lease_until IS NULL OR w.lease_until <= :now)
            AND (w.status <> 'planned' OR w.order_id IS NULL OR o.status <> 'canary' OR w.id = o.canary_id)
        ORDER BY w.not_before, w.id LIMIT :limit FOR NO KEY UPDATE OF w SKIP LOCKED
    ), claimed AS (
        UPDATE way_out SET status = 'begun', epoch = nextval('epoch'), lease_until = :until
        FROM due WHERE way_out.id = due.id RETURNING way_out.*, due.planned_for
    )
    SELECT claimed.*, i.company_id, i.state,
        (SELECT why FROM route_order WHERE id = claimed.order_id AND status IN ('stopped', 'undone')) AS order_ended
    FROM claimed JOIN invoice_open AS i ON i.id = claimed.invoice_id
    ORDER BY claimed.planned_for, claimed.id
""")
INTEND = text("""
    UPDATE way_out SET asked = asked + 1, asked_at = :now, actions_before = :actions, lease_until = :until
    WHERE id = :id AND epoch = :epoch AND status = 'begun'
        AND EXISTS (SELECT 1 FROM invoice_open WHERE id = way_out.invoice_id AND state = 'failed')
    RETURNING asked
""")
PUT_OFF = text("""
    UPDATE way_out SET status = CASE WHEN :asked = 0 THEN 'planned' ELSE 'unclear' END, not_before = :again,
        asked_at = CASE WHEN :asked = 0 THEN NULL ELSE asked_at END, asked = :asked, lease_until = NULL,
        outcome = :words
    WHERE id = :id AND epoch = :epoch AND status = 'begun' RETURNING id
""")


@dataclass(frozen=True, kw_only=True)
class ClaimedWay:
    """A way out that we carry out under an epoch, and how far it had come."""

    id: int
    case_id: int
    invoice_id: UUID
    company_id: UUID
    state: State
    """Of the invoice when it was claimed."""
    way: Way
    fields: dict[str, str]
    chosen_by: str
    reason: str | None
    epoch: int
    asked: int
    """How often the operator was asked for the change, as far as is known."""
    asked_at: datetime | None
    actions_before: int
    """How many actions the operator showed when it was asked."""
    planned_at: datetime
    outcome: str | None
    """The words of the last answer, if there was one."""
    successor_id: UUID | None
    document_sha256: bytes | None
    document_filename: str | None
    order_ended: str | None = None
    """Why the order it belongs to was stopped or taken back, if it was."""


def claim_ways(
    session: Session, *, now: datetime, lease: timedelta, limit: int, but: Collection[UUID] = ()
) -> list[ClaimedWay]:
    """Take ways out whose time has come, each under an epoch of its own; a dead worker's come back after the lease.

    What belongs to an order waits until it runs, but for its canary; what belongs to a held company waits for that.
    `but`: companies for which nobody is to be asked now.
    """
    rows = session.connection().execute(CLAIM, {"now": now, "until": now + lease, "limit": limit, "but": list(but)})
    return [
        ClaimedWay(
            id=row.id,
            case_id=row.case_id,
            invoice_id=row.invoice_id,
            company_id=row.company_id,
            state=State(row.state),
            way=Way(row.kind),
            fields=row.fields,
            chosen_by=row.chosen_by,
            reason=row.reason,
            epoch=row.epoch,
            asked=row.asked,
            asked_at=row.asked_at,
            actions_before=row.actions_before or 0,
            planned_at=row.planned_at,
            outcome=row.outcome,
            successor_id=row.successor_id,
            document_sha256=row.document_sha256,
            document_filename=row.document_filename,
            order_ended=row.order_ended,
        )
        for row in rows
    ]


def intend(session: Session, claimed: ClaimedWay, *, actions: int, now: datetime, until: datetime) -> bool:
    """Write down that the operator is asked now, and what it showed before; False when we may not ask any more.

    To be committed before the request leaves.
    """
    parameters = {"id": claimed.id, "epoch": claimed.epoch, "actions": actions, "now": now, "until": until}
    return session.connection().execute(INTEND, parameters).one_or_none() is not None


def put_off_way(session: Session, claimed: ClaimedWay, *, asked: int, again: datetime, words: str) -> bool:
    """Leave a way out for later: still planned when nothing that was asked could have happened, else unclear."""
    parameters = {"id": claimed.id, "epoch": claimed.epoch, "asked": asked, "again": again, "words": words}
    return session.connection().execute(PUT_OFF, parameters).one_or_none() is not None

"""Cancelling what never left: a person takes an invoice back before anything of it can have reached the operator.

Never left was what no upload was begun for. An upload that was refused left nothing either where a probe has found
another invoice under the UUID. Everything else stays as it is, with the reason why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.decision import ANOTHER
from pipeline.domain.state import State

CAUSE = "a person cancelled it before anything of it reached the operator"
# A new epoch: a message on its way to a worker takes nothing any more. Workers lock in the same order.
CANCEL = text("""
    WITH chosen AS (
        SELECT id, state, uploads, supersedes, state IN ('queued', 'waiting', 'held') AND supersedes IS NULL AND (
            uploads = 0 OR (state = 'held' AND held_for = 'person' AND uploads = 1 AND refusal IS NOT NULL
                AND starts_with(reason, :another))) AS may
        FROM invoice WHERE id = ANY(:ids) ORDER BY id FOR UPDATE
    ), cancelled AS (
        UPDATE invoice_open AS invoice
        SET state = 'cancelled', reason = :cause, held_for = NULL, lease_until = NULL, due_at = NULL,
            give_up_at = NULL, epoch = nextval('epoch'), changed_at = :now
        FROM chosen WHERE invoice.id = chosen.id AND chosen.may RETURNING invoice.id, chosen.state AS source
    ), noted AS (
        INSERT INTO event (invoice_id, at, kind, source, target, cause)
        SELECT id, :now, 'cancelled', source, 'cancelled', :cause FROM cancelled
    )
    SELECT chosen.id, chosen.state, uploads, supersedes, cancelled.id IS NOT NULL AS is_cancelled
    FROM chosen LEFT JOIN cancelled USING (id)
""")
NEXT_OF_BATCH = text("""
    SELECT id FROM invoice_open
    WHERE batch_id = :batch AND state IN ('queued', 'sending', 'waiting', 'in_doubt', 'held')
        AND (CAST(:after AS uuid) IS NULL OR id > :after)
    ORDER BY id LIMIT :limit
""")


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What became of the wish to cancel one invoice."""

    id: UUID
    state: State | None
    """As it is now; None when there is no such invoice."""
    why_not: str | None
    """None when it is cancelled now, or was before."""


def cancel_invoices(session: Session, ids: Sequence[UUID], *, now: datetime) -> list[Cancelled]:
    """Cancel those that never left, in the order given; the others stay as they are and are told why."""
    parameters = {"ids": list(ids), "now": now, "cause": CAUSE, "another": ANOTHER}
    found = {row.id: row for row in session.connection().execute(CANCEL, parameters)}
    verdicts = []
    for each in dict.fromkeys(ids):
        row = found.get(each)
        if row is None:
            verdicts.append(Cancelled(id=each, state=None, why_not="no such invoice"))
        elif row.is_cancelled or row.state == State.CANCELLED:
            verdicts.append(Cancelled(id=each, state=State.CANCELLED, why_not=None))
        else:
            state = State(row.state)
            verdicts.append(Cancelled(id=each, state=state, why_not=_why_not(state, row.uploads, row.supersedes)))
    return verdicts


def next_of_batch(session: Session, batch_id: int, *, after: UUID | None, limit: int) -> list[UUID]:
    """Return the next invoices of a batch that are not yet accepted, in the order of their UUIDs."""
    parameters = {"batch": batch_id, "after": after, "limit": limit}
    return list(session.connection().execute(NEXT_OF_BATCH, parameters).scalars())


def _why_not(state: State, uploads: int, supersedes: UUID | None) -> str:
    if state is State.SENDING:
        return "a worker is sending it now"
    if state is State.IN_DOUBT:
        return "the operator is being asked whether it holds it; cancel it when that is known"
    if state in {State.QUEUED, State.WAITING, State.HELD} and supersedes is not None:
        return f"it goes in the place of {supersedes}, which would be left without one; see its case"
    if state in {State.QUEUED, State.WAITING, State.HELD}:
        return f"it was uploaded {uploads} times, and the operator may hold it; it goes on or waits for a person"
    return f"it is {state.value}: it left, and what left cannot be taken back from here"

"""The way out of a hold that waits for a person. Holds of companies are in pipeline.storage.companies."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State

RELEASE = text("""
    WITH held AS (
        SELECT id, uploads FROM invoice WHERE id = :id AND state = 'held' AND held_for = 'person' FOR UPDATE
    ), released AS (
        UPDATE invoice SET state = CASE WHEN held.uploads = 0 THEN 'queued' ELSE 'in_doubt' END, reason = NULL,
            held_for = NULL, due_at = :now, give_up_at = NULL, tries = 0, changed_at = :now, epoch = nextval('epoch')
        FROM held WHERE invoice.id = held.id RETURNING invoice.id, invoice.state
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'released', 'held', state, 'a person released it' FROM released RETURNING target
""")


def release_invoice(session: Session, invoice_id: UUID, *, now: datetime) -> State | None:
    """Let an invoice go on that waits for a person; return its state, None when it does not wait for one.

    What was ever uploaded goes to in_doubt, so that the operator is asked before anything is sent.
    """
    target = session.connection().execute(RELEASE, {"id": invoice_id, "now": now}).scalar_one_or_none()
    return State(target) if target is not None else None

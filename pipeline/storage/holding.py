"""Invoices that wait for their company or for a person, and how they go on. Why a company is held: companies.py."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State

PIECE = 5000
"""Invoices moved in one transaction: well under a second, so that nobody waits for the locks."""
LASTING = timedelta(seconds=5)
"""A hold that is over sooner (new keys, a person, frequent checks) moves nothing: it must not move a hundred thousand
invoices to and fro. The dispatcher hands out nothing of a held company from its first moment on."""

GO_ON = """
    UPDATE invoice_open AS invoice
    SET state = CASE WHEN held.uploads = 0 THEN 'queued' ELSE 'in_doubt' END, reason = NULL,
        held_for = NULL, due_at = :now, give_up_at = NULL, tries = 0, changed_at = :now, epoch = nextval('epoch'),
        unfinished = CASE WHEN invoice.held_for = 'person' THEN 0 ELSE unfinished END
    FROM held WHERE invoice.id = held.id RETURNING invoice.id, invoice.state
"""
RELEASE = text(f"""
    WITH held AS (
        SELECT id, uploads FROM invoice_open WHERE id = :id AND state = 'held' AND held_for = 'person' FOR UPDATE
    ), released AS ({GO_ON})
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'released', 'held', state, 'a person released it' FROM released RETURNING target
""")
# What was never uploaded first: it says at once whether the company may send, the rest must be asked about before.
RELEASE_OF_COMPANY = text(f"""
    WITH held AS (
        SELECT id, uploads FROM invoice_open WHERE company_id = :id AND state = 'held' AND held_for = 'company'
        ORDER BY uploads, submitted_at, id LIMIT :limit FOR UPDATE
    ), released AS ({GO_ON})
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'released', 'held', state, :cause FROM released RETURNING invoice_id
""")

WAITING = "state IN ('queued', 'waiting', 'in_doubt') AND (lease_until IS NULL OR lease_until <= :now)"
TO_HOLD = f"""
    SELECT id FROM company WHERE hold_reason IS NOT NULL
        AND held_since <= CAST(:now AS timestamptz) - interval '{LASTING.total_seconds()} seconds'
        AND EXISTS (SELECT 1 FROM invoice_open WHERE company_id = company.id AND {WAITING})
"""
HELD_WITH_WAITING = text(f"{TO_HOLD} ORDER BY id")
LOCK_HELD = text("SELECT hold_reason FROM company WHERE id = :id AND hold_reason IS NOT NULL FOR NO KEY UPDATE")
# Uploads, tries and refusal stay: the hold burns nothing, and a refusal is still to be settled after it.
HOLD_WAITING = text(f"""
    WITH waiting AS (
        SELECT id, state FROM invoice_open WHERE company_id = :id AND {WAITING}
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ), held AS (
        UPDATE invoice_open AS invoice
        SET state = 'held', held_for = 'company', reason = :reason, lease_until = NULL, due_at = NULL,
            give_up_at = NULL, changed_at = :now, epoch = nextval('epoch')
        FROM waiting WHERE invoice.id = waiting.id RETURNING invoice.id, waiting.state AS source
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'held', source, 'held', :reason FROM held RETURNING invoice_id
""")

TO_LET_GO_ON = "SELECT id FROM company WHERE hold_reason IS NULL AND check_at <= :now"
TO_GO_ON = text(f"{TO_LET_GO_ON} ORDER BY id")
LOCK_TO_GO_ON = text("""
    SELECT 1 FROM company WHERE id = :id AND hold_reason IS NULL AND check_at <= :now FOR NO KEY UPDATE
""")
ALL_GO_ON = text("UPDATE company SET check_at = NULL WHERE id = :id")
MARK_STRAGGLERS = text("""
    UPDATE company SET check_at = :now WHERE hold_reason IS NULL AND check_at IS NULL AND EXISTS (
        SELECT 1 FROM invoice_open WHERE company_id = company.id AND state = 'held' AND held_for = 'company')
    RETURNING id
""")
NO_LONGER = "the company is no longer held"


def release_invoice(session: Session, invoice_id: UUID, *, now: datetime) -> State | None:
    """Let an invoice go on that waits for a person; return its state, None when it does not wait for one.

    What was ever uploaded goes to in_doubt, so that the operator is asked before anything is sent.
    """
    target = session.connection().execute(RELEASE, {"id": invoice_id, "now": now}).scalar_one_or_none()
    return State(target) if target is not None else None


def release_invoices(session: Session, company_id: UUID, *, cause: str, now: datetime, limit: int | None) -> int:
    """Let invoices go on that wait for their company, all or some; return how many. The caller locked the company."""
    parameters = {"id": company_id, "cause": cause, "now": now, "limit": limit}
    return len(session.connection().execute(RELEASE_OF_COMPANY, parameters).all())


def hold_waiting(session: Session, *, now: datetime, limit: int = PIECE) -> int:
    """Hold what is queued, waiting or in doubt of companies held for `LASTING`, up to a piece; return how many.

    What is with a worker, or on its way to one, is left until its lease is over or its answer recorded.
    """
    connection = session.connection()
    left = limit
    for company in connection.execute(HELD_WITH_WAITING, {"now": now}).scalars().all():
        # A release waits for this lock, or has ended the hold before: nothing stays held with a company that is well.
        reason = connection.execute(LOCK_HELD, {"id": company}).scalar_one_or_none()
        if reason is not None and left > 0:
            parameters = {"id": company, "reason": reason, "now": now, "limit": left}
            left -= len(connection.execute(HOLD_WAITING, parameters).all())
    return limit - left


def let_go_on(session: Session, *, now: datetime, limit: int = PIECE) -> int:
    """Let invoices go on whose company is no longer held, up to a piece; return how many. Those on trial wait."""
    connection = session.connection()
    left = limit
    for company in connection.execute(TO_GO_ON, {"now": now}).scalars().all():
        if left <= 0 or connection.execute(LOCK_TO_GO_ON, {"id": company, "now": now}).one_or_none() is None:
            continue
        count = release_invoices(session, company, cause=NO_LONGER, now=now, limit=left)
        if count < left:
            connection.execute(ALL_GO_ON, {"id": company})
        left -= count
    return limit - left


def mark_stragglers(session: Session, *, now: datetime) -> list[UUID]:
    """Find companies that are well and yet have invoices waiting for them, so that `let_go_on` sees to these.

    Nothing of ours leaves any behind; this is for what nobody thought of, and so need not be asked often.
    """
    return list(session.connection().execute(MARK_STRAGGLERS, {"now": now}).scalars())

"""How a way out ends: the way out, the invoice, the case and the event in one transaction, or none of them.

The rows are always held in the same order: invoice, case, way out.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.cause import ADDRESS_CAUSES, Cause
from pipeline.domain.state import State
from pipeline.storage.ways_out import lock_case, set_case
from pipeline.storage.ways_taking import ClaimedWay
from pipeline.storage.ways_words import say_way

ADDRESSES = ("recipient_eia", "recipient_operator", "recipient_email")
"""The options of an upload that say where to; they win over the document (contract section 2)."""
LOCK_INVOICE = text("SELECT state FROM invoice_open WHERE id = :id FOR NO KEY UPDATE")
END = text("""
    UPDATE way_out SET status = :status, outcome = :outcome, finished_at = :finished_at, lease_until = NULL
    WHERE id = :id AND epoch = :epoch AND status = 'begun' RETURNING id
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:id, :now, :kind, :source, :target, :cause)
""")
TO_ACCEPTED = text("""
    UPDATE invoice_open AS invoice
    SET state = 'accepted', reason = :reason, look_at = :look_at, looks = 0, route_at = NULL,
        channel = coalesce(:channel, channel), changed_at = :now
    WHERE id = :id AND state = 'failed' RETURNING id
""")
# The budget begins anew; the probe finds nothing, as it did before, and the same bytes go under the same UUID.
TO_DOUBT = text("""
    UPDATE invoice_open AS invoice
    SET state = 'in_doubt', reason = :reason, refusal = NULL, give_up_at = NULL, tries = 0,
        due_at = :now, lease_until = NULL, route_at = NULL, epoch = nextval('epoch'), changed_at = :now
    WHERE id = :id AND state = 'refused' RETURNING id
""")
TO_SUPERSEDED = text("""
    UPDATE invoice_open AS invoice
    SET state = 'superseded', reason = :reason, look_at = NULL, route_at = NULL, changed_at = :now
    WHERE id = :id AND state = :source RETURNING id
""")
SUCCEED = text("""
    INSERT INTO invoice_open (id, company_id, batch_id, document_sha256, document_at, size, filename, reference,
        options, state, epoch, due_at, uploads, tries, looks, number, format, issue_date, total, currency, seller_name,
        buyer_name, priority, submitted_at, changed_at, supersedes)
    SELECT :successor, company_id, batch_id, document.sha256, document.created_at, document.size,
        coalesce(:filename, filename), reference,
        CASE WHEN :readdressed THEN options - CAST(:addresses AS text[]) ELSE options END,
        'queued', 0, :now, 0, 0, 0, number, format, issue_date, total, currency, seller_name, buyer_name,
        priority, :now, :now, invoice.id
    FROM invoice_open AS invoice CROSS JOIN LATERAL (
        SELECT sha256, document.size, created_at FROM document
        WHERE sha256 = coalesce(CAST(:sha256 AS bytea), document_sha256)
        ORDER BY created_at DESC LIMIT 1) AS document
    WHERE invoice.id = :id AND NOT EXISTS (SELECT 1 FROM invoice_key WHERE id = :successor)
    ON CONFLICT DO NOTHING RETURNING id
""")
REWRITE_HEADER = text("""
    UPDATE invoice_open AS invoice SET number = :number, format = :format, issue_date = :issue_date, total = :total,
        currency = :currency, seller_name = :seller_name, buyer_name = :buyer_name WHERE id = :successor
""")
CAUSE = text("SELECT cause FROM route_case WHERE id = :id")
MOVE_CASE = text("UPDATE route_case SET invoice_id = :successor WHERE id = :case")


@dataclass(frozen=True, kw_only=True)
class NewHeader:
    """What a corrected document says of itself, for people and search."""

    number: str | None
    format: str
    issue_date: date | None
    total: Decimal | None
    currency: str | None
    seller_name: str | None
    buyer_name: str | None


def end_rerouted(
    session: Session, claimed: ClaimedWay, *, words: str, finished_at: datetime, look_at: datetime, now: datetime
) -> bool:
    """Note that the operator rerouted it: the invoice is followed again. False: we are late, nothing was written."""
    if not _end(session, claimed, "done", outcome=words, finished_at=finished_at):
        return False
    told = f"rerouted {say_way(claimed.way, claimed.fields)}"
    _accept(session, claimed, kind="rerouted", told=told, channel=claimed.way.upper(), look_at=look_at, now=now)
    set_case(session, claimed.case_id, status="under_way", plan=f"{told}; waiting for the delivery", now=now)
    return True


def end_skipped(session: Session, claimed: ClaimedWay, *, words: str, look_at: datetime, now: datetime) -> bool:
    """Note why nothing is to be done any more; what we took for failed is followed again, what for refused probed."""
    if not _end(session, claimed, "skipped", outcome=words, finished_at=now):
        return False
    _accept(session, claimed, kind="way_skipped", told=words, channel=None, look_at=look_at, now=now)
    _doubt(session, claimed, kind="way_skipped", told=words, now=now)
    case = lock_case(session, claimed.case_id)
    # Delivered, or closed by a person, before this was seen: nothing of it is under way any more.
    if case is not None and case.status not in {"resolved", "closed"}:
        set_case(session, claimed.case_id, status="under_way", plan=words, now=now)
    return True


def end_refused(session: Session, claimed: ClaimedWay, *, words: str, now: datetime) -> bool:
    """Note that the way out leads nowhere, and open the case for a person."""
    if not _end(session, claimed, "refused", outcome=words, finished_at=now):
        return False
    told = f"{say_way(claimed.way, claimed.fields)} did not go: {words}"
    _note(session, claimed.invoice_id, "way_refused", claimed.state, claimed.state, cause=told, now=now)
    set_case(session, claimed.case_id, status="open", plan=f"{told}; a person decides", now=now)
    return True


def end_retried(session: Session, claimed: ClaimedWay, *, now: datetime) -> bool:
    """Have a refused invoice probed, and sent again under the same UUID when the operator still does not hold it."""
    words = f"once more under the same UUID, chosen by {_who(claimed)}"
    if not _end(session, claimed, "done", outcome=words, finished_at=now):
        return False
    _doubt(session, claimed, kind="retried", told=words, now=now)
    set_case(session, claimed.case_id, status="under_way", plan=f"{words}; waiting for the operator's answer", now=now)
    return True


def end_resent(session: Session, claimed: ClaimedWay, *, header: NewHeader | None, now: datetime) -> bool:
    """Put the successor in the place of the invoice; False when we are late, or another took the place already.

    Raises nothing for the latter: the savepoint is undone and the caller says so with `end_refused`.
    """
    successor = claimed.successor_id
    savepoint = session.begin_nested()
    told = f"sent anew as {successor}"
    if not (
        successor is not None
        and _end(session, claimed, "done", outcome=told, finished_at=now)
        and _supersede(session, claimed, told=told, now=now)
        and _succeed(session, claimed, successor, header=header, now=now)
    ):
        savepoint.rollback()
        return False
    savepoint.commit()
    set_case(session, claimed.case_id, status="under_way", plan=f"{told}; waiting for the delivery", now=now)
    return True


def _end(session: Session, claimed: ClaimedWay, status: str, *, outcome: str, finished_at: datetime) -> bool:
    connection = session.connection()
    connection.execute(LOCK_INVOICE, {"id": claimed.invoice_id})
    lock_case(session, claimed.case_id)
    parameters = {"id": claimed.id, "epoch": claimed.epoch, "status": status}
    ended = connection.execute(END, {**parameters, "outcome": outcome, "finished_at": finished_at})
    return ended.one_or_none() is not None


def _accept(
    session: Session,
    claimed: ClaimedWay,
    *,
    kind: str,
    told: str,
    channel: str | None,
    look_at: datetime,
    now: datetime,
) -> None:
    parameters = {"id": claimed.invoice_id, "reason": told, "channel": channel, "look_at": look_at, "now": now}
    if session.connection().execute(TO_ACCEPTED, parameters).one_or_none() is not None:
        _note(session, claimed.invoice_id, kind, State.FAILED, State.ACCEPTED, cause=told, now=now)


def _doubt(session: Session, claimed: ClaimedWay, *, kind: str, told: str, now: datetime) -> None:
    parameters = {"id": claimed.invoice_id, "reason": told, "now": now}
    if session.connection().execute(TO_DOUBT, parameters).one_or_none() is not None:
        _note(session, claimed.invoice_id, kind, State.REFUSED, State.IN_DOUBT, cause=told, now=now)


def _supersede(session: Session, claimed: ClaimedWay, *, told: str, now: datetime) -> bool:
    parameters = {"id": claimed.invoice_id, "source": claimed.state.value, "reason": told, "now": now}
    if session.connection().execute(TO_SUPERSEDED, parameters).one_or_none() is None:
        return False
    _note(session, claimed.invoice_id, "superseded", claimed.state, State.SUPERSEDED, cause=told, now=now)
    return True


def _succeed(
    session: Session, claimed: ClaimedWay, successor: UUID, *, header: NewHeader | None, now: datetime
) -> bool:
    connection = session.connection()
    parameters = {
        "id": claimed.invoice_id,
        "successor": successor,
        "sha256": claimed.document_sha256,
        "filename": claimed.document_filename,
        "readdressed": _is_readdressed(session, claimed),
        "addresses": list(ADDRESSES),
        "now": now,
    }
    if connection.execute(SUCCEED, parameters).one_or_none() is None:
        return False
    if header is not None:
        connection.execute(REWRITE_HEADER, {**vars(header), "successor": successor})
    connection.execute(MOVE_CASE, {"successor": successor, "case": claimed.case_id})
    which = "a corrected document" if claimed.document_sha256 is not None else "the same document"
    told = f"{which} in the place of {claimed.invoice_id}, chosen by {_who(claimed)}"
    _note(session, successor, "submitted", None, State.QUEUED, cause=told, now=now)
    return True


def _is_readdressed(session: Session, claimed: ClaimedWay) -> bool:
    # What was given at submission and led nowhere would win over the address that was corrected.
    if claimed.document_sha256 is None:
        return False
    cause = session.connection().execute(CAUSE, {"id": claimed.case_id}).scalar_one()
    return Cause(cause) in ADDRESS_CAUSES


def _who(claimed: ClaimedWay) -> str:
    return f"{claimed.chosen_by}: {claimed.reason}" if claimed.reason else claimed.chosen_by


def _note(
    session: Session, invoice_id: UUID, kind: str, source: State | None, target: State, *, cause: str, now: datetime
) -> None:
    parameters = {"id": invoice_id, "kind": kind, "source": source.value if source else None, "target": target.value}
    session.connection().execute(NOTE, {**parameters, "cause": cause, "now": now})

"""Planning ways out, taking them back and closing cases: the one door for rules and people alike.

Whoever plans holds the row of the case, so that two never plan at once; the database refuses a second live way out
besides. Knows nothing of how a way out is carried out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.errors import InvalidInputError
from pipeline.domain.recipient import Recipient
from pipeline.domain.state import State
from pipeline.domain.way import REROUTES, Way, reroute_fields
from pipeline.storage.case_tables import LIVE_WAY_SQL
from pipeline.storage.ways_words import say_instant, say_way

LOCK_CASE = text("""
    SELECT route_case.id, route_case.status, plan, closed_reason, invoice_id, invoice.state FROM route_case
    JOIN invoice ON invoice.id = invoice_id WHERE route_case.id = :id FOR NO KEY UPDATE OF route_case
""")
LIVE_WAY = text(f"SELECT id FROM way_out WHERE case_id = :case AND {LIVE_WAY_SQL}")
SUCCESSOR = text("SELECT id FROM invoice WHERE supersedes = :id AND state <> 'cancelled'")
HAS_DOCUMENT = text("""
    SELECT 1 FROM invoice JOIN document ON sha256 = document_sha256 WHERE invoice.id = :id LIMIT 1
""")
SET_CASE = text("""
    UPDATE route_case SET status = :status, plan = :plan, decide_at = NULL, changed_at = :now WHERE id = :id
""")
CASE_OF_WAY = text("SELECT case_id FROM way_out WHERE id = :id")
UNDO = text("""
    UPDATE way_out SET status = 'undone', finished_at = :now, outcome = 'a person undid it'
    WHERE id = :id AND status = 'planned' AND asked = 0 RETURNING kind, fields
""")
CLOSE = text("""
    WITH closed AS (
        UPDATE route_case SET status = 'closed', closed_reason = :reason, plan = NULL, decide_at = NULL,
            changed_at = :now
        WHERE id = :id RETURNING invoice_id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT invoice_id, :now, 'case_closed', state, state, :cause FROM closed JOIN invoice ON invoice.id = invoice_id
""")
# A successor's UUID is minted here, with the intent, so that a resend asked for twice can only be the same one.
PLAN = text("""
    INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, reason, order_id, document_sha256,
        document_filename, successor_id, status, not_before, epoch, asked, planned_at)
    VALUES (:case, :invoice, :kind, CAST(:fields AS jsonb), :chosen_by, :reason, :order, :sha256, :filename,
        CASE WHEN :kind = 'resend' THEN gen_random_uuid() END, 'planned', :not_before, 0, 0, :now)
    RETURNING id
""")


@dataclass(frozen=True, kw_only=True)
class LockedCase:
    """A case whose row this transaction holds."""

    id: int
    status: str
    plan: str | None
    closed_reason: str | None
    invoice_id: UUID
    state: State


def plan_way_out(
    session: Session,
    case_id: int,
    *,
    way: Way,
    fields: Mapping[str, str],
    chosen_by: str,
    reason: str | None,
    not_before: datetime,
    now: datetime,
    order_id: int | None = None,
    document_sha256: bytes | None = None,
    document_filename: str | None = None,
) -> int | str:
    """Plan a way out of an open case and return its id, or say in a text why not; nothing is written then.

    `fields`: all fields of a reroute under the operator's names. `document_sha256`: a stored, corrected document for a
    resend. The case waits for the way out from then on, and no rule is asked any more.
    """
    case = lock_case(session, case_id)
    if case is None:
        return f"there is no case {case_id}"
    if why_not := _why_not(session, case, way, corrected=document_sha256 is not None):
        return why_not
    try:
        checked = reroute_fields(way, Recipient(), fields)
    except InvalidInputError as exc:
        return str(exc)
    parameters = {
        "case": case.id,
        "invoice": case.invoice_id,
        "kind": way.value,
        "fields": json.dumps(checked),
        "chosen_by": chosen_by,
        "reason": reason,
        "order": order_id,
        "sha256": document_sha256,
        "filename": document_filename,
        "not_before": not_before,
        "now": now,
    }
    way_out_id: int = session.connection().execute(PLAN, parameters).scalar_one()
    later = f", not before {say_instant(not_before)}" if not_before > now else ""
    plan = f"{say_way(way, checked)}{later} (chosen by {chosen_by})"
    set_case(session, case.id, status="under_way", plan=plan, now=now)
    return way_out_id


def undo_way_out(session: Session, way_out_id: int, *, now: datetime) -> bool:
    """Take a planned way out back and open its case for a person; False once anything was begun or asked."""
    connection = session.connection()
    case_id = connection.execute(CASE_OF_WAY, {"id": way_out_id}).scalar_one_or_none()
    if case_id is None or lock_case(session, case_id) is None:
        return False
    undone = connection.execute(UNDO, {"id": way_out_id, "now": now}).one_or_none()
    if undone is None:
        return False
    plan = f"a person undid: {say_way(Way(undone.kind), undone.fields)}"
    set_case(session, case_id, status="open", plan=plan, now=now)
    return True


def close_case(session: Session, case_id: int, *, reason: str, now: datetime) -> bool:
    """Close a case with a reason; False when it is closed or resolved already, or a way out is not at its end."""
    case = lock_case(session, case_id)
    if case is None or case.status in {"closed", "resolved"} or _live_way(session, case.id):
        return False
    parameters = {"id": case.id, "reason": reason, "cause": f"a person closed the case: {reason}", "now": now}
    session.connection().execute(CLOSE, parameters)
    return True


def lock_case(session: Session, case_id: int) -> LockedCase | None:
    """Hold the row of a case until the end of the transaction and return it with the state of its invoice.

    Whoever needs the row of the invoice too takes that one first.
    """
    row = session.connection().execute(LOCK_CASE, {"id": case_id}).mappings().one_or_none()
    if row is None:
        return None
    return LockedCase(**{**row, "state": State(row["state"])})


def set_case(session: Session, case_id: int, *, status: str, plan: str, now: datetime) -> None:
    """Say where a case stands and what comes next; the rules are asked no more until it fails again."""
    parameters: dict[str, Any] = {"id": case_id, "status": status, "plan": plan, "now": now}
    session.connection().execute(SET_CASE, parameters)


def _why_not(session: Session, case: LockedCase, way: Way, *, corrected: bool) -> str | None:
    if case.status == "closed":
        return f"case {case.id} is closed: {case.closed_reason}"
    if case.status == "resolved":
        return f"case {case.id} is resolved: its invoice is {case.state}"
    if case.status == "under_way" or _live_way(session, case.id):
        return f"case {case.id} is under way already: {case.plan}"
    if way is Way.CLOSE:
        return "closing is no way out to be planned: close the case with a reason"
    if corrected and way is not Way.RESEND:
        return f"{way} sends the same document: a corrected one is resent as a new invoice"
    return _why_not_in(session, case, way) or (None if corrected else _why_no_document(session, case, way))


def _why_not_in(session: Session, case: LockedCase, way: Way) -> str | None:
    if case.state not in {State.FAILED, State.REFUSED}:
        return f"its invoice is {case.state}, neither failed nor refused"
    if way in REROUTES and case.state is not State.FAILED:
        return "the operator refused the invoice and holds nothing of it to reroute: resend or retry it"
    if way is Way.RETRY and case.state is not State.REFUSED:
        return "the operator holds the invoice, so the same UUID cannot be sent again: reroute or resend it"
    successor = session.connection().execute(SUCCESSOR, {"id": case.invoice_id}).scalar_one_or_none()
    return f"invoice {successor} took its place already" if successor else None


def _why_no_document(session: Session, case: LockedCase, way: Way) -> str | None:
    if (
        way not in {Way.RESEND, Way.RETRY}
        or session.connection().execute(HAS_DOCUMENT, {"id": case.invoice_id}).first()
    ):
        return None
    return "its document was dropped or expunged: resend it with a document (postiljon cases resend --document)"


def _live_way(session: Session, case_id: int) -> int | None:
    found: int | None = session.connection().execute(LIVE_WAY, {"case": case_id}).scalar_one_or_none()
    return found

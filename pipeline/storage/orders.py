"""Orders: many ways out at once, a canary first, the rest at a pace, with time to take it back.

Knows when an order may go on and when it must stop; what a way out does is carried out elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.document import Document
from pipeline.domain.errors import InvalidInputError
from pipeline.domain.state import State
from pipeline.storage.case_tables import LIVE_WAY_SQL, RouteOrderRow
from pipeline.storage.submissions import KEEP_DOCUMENT
from pipeline.storage.ways_out import undo_way_out

BEHIND = timedelta(minutes=1)
"""An order so far behind its pace starts counting anew: after an outage its ways out must not all be due at once."""

FAILED = frozenset({State.FAILED, State.REFUSED, State.SUPERSEDED, State.CANCELLED})
"""What the canary's invoice is after a failure, whoever saw to it first."""

ADD = text("""
    INSERT INTO route_order (kind, chosen, status, canary_until, undo_until, per_minute, created_at)
    VALUES (:kind, CAST(:chosen AS jsonb), 'canary', :canary_until, :undo_until, :per_minute, :now) RETURNING id
""")
SET_CANARY = text("UPDATE route_order SET canary_id = :way WHERE id = :order")
CONTENT = text("""
    SELECT content FROM document JOIN invoice ON document_sha256 = sha256 WHERE invoice.id = :invoice LIMIT 1
""")
LIVE_ORDERS = text("""
    SELECT o.id, o.status, o.canary_until - o.created_at AS canary_wait, o.canary_id, w.status AS canary, w.outcome,
        w.case_id
    FROM route_order AS o LEFT JOIN way_out AS w ON w.id = o.canary_id
    WHERE o.status IN ('canary', 'running') ORDER BY o.id FOR UPDATE OF o SKIP LOCKED
""")
# It may be put away by now if nobody advanced orders for weeks: it is looked for everywhere, but only once it is sent.
SENT_CANARY = text("""
    SELECT greatest(w.finished_at, i.accepted_at) AS settled_at, i.state,
        EXISTS (SELECT 1 FROM way_out AS l WHERE l.case_id = w.case_id AND l.id > w.id) AS taken_again
    FROM way_out AS w LEFT JOIN invoice AS i ON i.id = coalesce(w.successor_id, w.invoice_id) WHERE w.id = :way
""")
LOCK_ORDER = text("SELECT 1 FROM route_order WHERE id = :id FOR UPDATE")
SET_STATUS = text("UPDATE route_order SET status = :status, why = :why WHERE id = :id")
# Company by company: what waits for a held one is behind until that is over, and the others' go on at their pace.
NEXT_PLANNED = text("""
    SELECT c.company_id, min(w.not_before) AS next_at FROM way_out AS w JOIN route_case AS c ON c.id = w.case_id
    WHERE w.order_id = :id AND w.status = 'planned' AND EXISTS (
        SELECT 1 FROM company WHERE id = c.company_id AND hold_reason IS NULL)
    GROUP BY c.company_id
""")
ANY_LIVE = text(f"SELECT EXISTS (SELECT 1 FROM way_out WHERE order_id = :id AND {LIVE_WAY_SQL})")
DELAY = text("""
    UPDATE way_out SET not_before = not_before + :delay FROM route_case AS c
    WHERE order_id = :id AND way_out.status = 'planned' AND asked = 0 AND c.id = case_id AND c.company_id = :company
""")
# The rows of the cases first: whoever plans holds them.
SKIP_REST = text("""
    WITH held AS (
        SELECT c.id FROM route_case AS c WHERE c.id IN (
            SELECT case_id FROM way_out WHERE order_id = :id AND status = 'planned' AND asked = 0
        ) ORDER BY c.id FOR NO KEY UPDATE
    ), skipped AS (
        UPDATE way_out SET status = 'skipped', finished_at = :now, outcome = :why FROM held
        WHERE way_out.case_id = held.id AND order_id = :id AND status = 'planned' AND asked = 0 RETURNING case_id
    )
    UPDATE route_case SET status = 'open', plan = :why, decide_at = NULL, changed_at = :now
    FROM skipped WHERE route_case.id = skipped.case_id
""")
WAY = "SELECT id, case_id, invoice_id, kind, status, outcome, asked, not_before FROM way_out"
WAYS = text(f"{WAY} WHERE order_id = :id ORDER BY case_id")
LIVE_OF_CASE = text(f"{WAY} WHERE case_id = :case AND {LIVE_WAY_SQL}")


@dataclass(frozen=True, kw_only=True)
class OrderedWay:
    """One way out of an order, as it stands."""

    id: int
    case_id: int
    invoice_id: UUID
    kind: str
    status: str
    outcome: str | None
    asked: int
    not_before: datetime


@dataclass(frozen=True, kw_only=True)
class OrderView:
    """An order as people see it."""

    id: int
    kind: str
    status: str
    """canary, running, done, stopped or undone."""
    why: str | None
    """Why it was stopped or undone."""
    canary: int | None
    """The canary's case."""
    undo_until: datetime
    per_minute: int
    created_at: datetime
    ways: tuple[OrderedWay, ...]
    """In the order of their cases."""


@dataclass(frozen=True, kw_only=True)
class Undone:
    """What taking back led to."""

    undone: tuple[OrderedWay, ...]
    """Not begun yet: their cases are open again."""
    too_late: tuple[OrderedWay, ...]
    """Begun or at their end: they stay as they are."""


def add_order(
    session: Session,
    *,
    kind: str,
    chosen: Mapping[str, object],
    per_minute: int,
    undo_window: timedelta,
    canary_wait: timedelta,
    now: datetime,
) -> int:
    """Write an order that waits for its canary, and return its id. `chosen` is plain JSON, to be shown."""
    parameters = {
        "kind": kind,
        "chosen": json.dumps(chosen),
        "canary_until": now + canary_wait,
        "undo_until": now + undo_window,
        "per_minute": per_minute,
        "now": now,
    }
    order_id: int = session.connection().execute(ADD, parameters).scalar_one()
    return order_id


def set_canary(session: Session, order_id: int, way_out_id: int) -> None:
    """Say which way out of an order goes first."""
    session.connection().execute(SET_CANARY, {"order": order_id, "way": way_out_id})


def read_invoice_content(session: Session, invoice_id: UUID) -> bytes:
    """Return the bytes of an invoice's document; none when it was dropped or expunged."""
    return bytes(session.connection().execute(CONTENT, {"invoice": invoice_id}).scalar_one_or_none() or b"")


def keep_document(session: Session, document: Document, *, now: datetime) -> None:
    """Store a document that no invoice has yet; one that is there stays."""
    parameters = {"sha256": document.sha256, "content": document.content, "size": document.size, "now": now}
    session.connection().execute(KEEP_DOCUMENT, {**parameters, "kind": document.kind.value})


def advance_orders(session: Session, *, now: datetime) -> int:
    """Let orders go on whose canary did well, stop those whose canary did not, end those that are through.

    Cheap with nothing to do; safe to call from anywhere, an order that somebody else sees to is left out. Returns how
    many orders changed.
    """
    return sum(_advance(session, order, now=now) for order in session.connection().execute(LIVE_ORDERS).all())


def read_order(session: Session, order_id: int) -> OrderView:
    """Return an order with its ways out. Raises: InvalidInputError when there is none."""
    order = session.get(RouteOrderRow, order_id)
    if order is None:
        raise InvalidInputError(f"there is no order-{order_id}; `postiljon cases show CASE` names the order of a case")
    ways = _ways(session, order_id)
    return OrderView(
        id=order_id,
        kind=order.kind,
        status=order.status,
        why=order.why,
        canary=next((way.case_id for way in ways if way.id == order.canary_id), None),
        undo_until=order.undo_until,
        per_minute=order.per_minute,
        created_at=order.created_at,
        ways=ways,
    )


def undo_order(session: Session, order_id: int, *, by: str, now: datetime) -> Undone:
    """Take back everything of an order that has not begun; its cases are open again.

    Raises: InvalidInputError when there is no such order.
    """
    # The order before its cases, as the router takes them when it stops one.
    session.connection().execute(LOCK_ORDER, {"id": order_id})
    read_order(session, order_id)
    found = {
        way.id: undo_way_out(session, way.id, now=now) for way in _ways(session, order_id) if way.status == "planned"
    }
    if any(found.values()):
        _set_status(session, order_id, "undone", f"{by} took it back")
    ways = _ways(session, order_id)
    return Undone(
        undone=tuple(way for way in ways if found.get(way.id)),
        too_late=tuple(way for way in ways if not found.get(way.id) and way.status not in {"undone", "skipped"}),
    )


def undo_case(session: Session, case_id: int, *, now: datetime) -> Undone:
    """Take back the way out that is planned for a case; what has begun stays as it is."""
    live = [OrderedWay(**row) for row in session.connection().execute(LIVE_OF_CASE, {"case": case_id}).mappings()]
    found = {way.id: undo_way_out(session, way.id, now=now) for way in live}
    return Undone(
        undone=tuple(way for way in live if found[way.id]), too_late=tuple(way for way in live if not found[way.id])
    )


def _ways(session: Session, order_id: int) -> tuple[OrderedWay, ...]:
    rows = session.connection().execute(WAYS, {"id": order_id}).mappings()
    return tuple(OrderedWay(**row) for row in rows)


def _advance(session: Session, order: Any, *, now: datetime) -> bool:
    if order.status == "running":
        return _keep_pace(session, order.id, now=now)
    sent = session.connection().execute(SENT_CANARY, {"way": order.canary_id}).one() if order.canary == "done" else None
    if why := _why_stop(order, sent):
        _stop(session, order.id, why, now=now)
        return True
    if sent is None or not _did_well(sent, now=now, wait=order.canary_wait):
        return False
    _set_status(session, order.id, "running", None)
    # The rest was planned from the end of the undo window on; a canary that took longer moves all of it.
    _keep_pace(session, order.id, now=now)
    return True


def _why_stop(order: Any, sent: Any | None) -> str | None:
    if order.canary is None:
        return "it has no canary"
    canary = f"its canary, case {order.case_id},"
    if order.canary == "undone":
        return f"{canary} was taken back"
    if order.canary in {"refused", "skipped"}:
        return f"{canary} was {order.canary}: {order.outcome or 'no reason given'}"
    if sent is not None and (sent.taken_again or sent.state in FAILED):
        return f"{canary} failed again"
    return None


def _did_well(sent: Any, *, now: datetime, wait: timedelta) -> bool:
    if sent.state == State.DELIVERED:
        return True
    # What still waits to be sent has proved nothing, however long it waits.
    return bool(sent.state == State.ACCEPTED and now >= sent.settled_at + wait)


def _stop(session: Session, order_id: int, why: str, *, now: datetime) -> None:
    _set_status(session, order_id, "stopped", why)
    told = f"order-{order_id} was stopped: {why}"
    session.connection().execute(SKIP_REST, {"id": order_id, "why": told, "now": now})


def _keep_pace(session: Session, order_id: int, *, now: datetime) -> bool:
    connection = session.connection()
    planned = connection.execute(NEXT_PLANNED, {"id": order_id}).all()
    if not planned and not connection.execute(ANY_LIVE, {"id": order_id}).scalar_one():
        _set_status(session, order_id, "done", None)
        return True
    behind = [each for each in planned if now - each.next_at > BEHIND]
    for each in behind:
        connection.execute(DELAY, {"id": order_id, "company": each.company_id, "delay": now - each.next_at})
    return bool(behind)


def _set_status(session: Session, order_id: int, status: str, why: str | None) -> None:
    session.connection().execute(SET_STATUS, {"id": order_id, "status": status, "why": why})

"""What looks told, written for a whole call at once: states, events, cases, alarms and the operator's actions.

Everything is compared with the state the look was taken in; what moved meanwhile is left as it is. Knows no HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, TextClause, text
from sqlmodel import Session

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.state import OperatorState, State
from pipeline.storage.following import Look
from pipeline.storage.following_actions import store_actions

LOST = "accepted_unknown"
REROUTED_OUTSIDE = "rerouted outside Postiljon"

LOCK = text("SELECT id, state FROM invoice_open WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
BEING_REROUTED = text("""
    SELECT DISTINCT invoice_id FROM way_out WHERE invoice_id = ANY(:ids) AND status IN ('begun', 'unclear')
""")
# A look_at that is no longer the one it was taken with is a hint that came while we asked: it is obeyed, not lost.
LEARN = text("""
    UPDATE invoice_open AS i SET state = t.target, reason = coalesce(t.reason, i.reason),
        operator_status = coalesce(t.status, operator_status), channel = coalesce(t.channel, i.channel),
        operator_state = coalesce(t.finer, operator_state),
        seen_at = CASE WHEN t.seen THEN CAST(:now AS timestamptz) ELSE seen_at END, looks = looks + 1,
        look_at = CASE WHEN i.look_at IS DISTINCT FROM :until THEN least(i.look_at, t.look_at) ELSE t.look_at END,
        route_at = CASE WHEN t.target = i.state THEN route_at
            WHEN t.target = 'failed' THEN CAST(:now AS timestamptz) END,
        changed_at = CASE WHEN t.target = i.state THEN changed_at ELSE :now END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:sources AS text[]), CAST(:targets AS text[]), CAST(:reasons AS text[]),
        CAST(:statuses AS text[]), CAST(:finer AS smallint[]), CAST(:channels AS text[]), CAST(:seen AS bool[]),
        CAST(:looks_at AS timestamptz[])) AS t (id, source, target, reason, status, finer, channel, seen, look_at)
    WHERE i.id = t.id AND i.state = t.source
""")
LOSE = text("""
    UPDATE invoice_open AS i
    SET state = t.target, reason = t.reason, lost = lost + 1, looks = looks + 1, look_at = NULL,
        due_at = CASE WHEN t.target = 'in_doubt' THEN CAST(:now AS timestamptz) END,
        held_for = CASE WHEN t.target = 'held' THEN 'person' END,
        lease_until = NULL, give_up_at = NULL, tries = 0, refusal = NULL, epoch = nextval('epoch'), changed_at = :now
    FROM unnest(CAST(:ids AS uuid[]), CAST(:sources AS text[]), CAST(:targets AS text[]), CAST(:reasons AS text[]))
        AS t (id, source, target, reason)
    WHERE i.id = t.id AND i.state = t.source
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:id, :now, :kind, :source, :target, :cause)
""")
NOTE_ONCE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT :id, :now, :kind, :source, :target, :cause WHERE NOT EXISTS (
        SELECT 1 FROM event WHERE invoice_id = :id AND kind = :kind AND target = :target)
""")
# In one order, as people's orders take them: many at a time in any other one is a deadlock with these.
LOCK_CASES = text("SELECT id FROM route_case WHERE invoice_id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
RESOLVE_CASES = text("""
    WITH resolved AS (
        UPDATE route_case SET status = 'resolved', plan = NULL, decide_at = NULL, changed_at = :now
        WHERE invoice_id = ANY(:ids) AND status IN ('under_way', 'open') RETURNING invoice_id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT invoice_id, :now, 'case_resolved', 'delivered', 'delivered', 'delivered after all; its case is resolved'
    FROM resolved
""")
SKIP_WAYS = text("""
    UPDATE way_out SET status = 'skipped', finished_at = :now, outcome = :why
    WHERE invoice_id = ANY(:ids) AND status = 'planned'
""")
CASES_UNDER_WAY = text("""
    UPDATE route_case SET status = 'under_way', plan = :why, decide_at = NULL, changed_at = :now
    WHERE invoice_id = ANY(:ids) AND status IN ('under_way', 'open')
""")
RAISE_ALARM = text(f"""
    INSERT INTO alarm (kind, subject, company_id, invoice_id, told, raised_at)
    VALUES ('{LOST}', CAST(CAST(:id AS uuid) AS text), :company_id, :id, :told, :now)
    ON CONFLICT (kind, subject) WHERE ended_at IS NULL DO NOTHING
""")
END_ALARMS = text(f"""
    UPDATE alarm SET ended_at = :now WHERE kind = '{LOST}' AND subject = ANY(:subjects) AND ended_at IS NULL
""")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a look found beside the state: an event that moves nothing."""

    kind: str
    cause: str
    once: bool = False
    """Whether it is told only once in this state."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a look told: a move with its reason, or none (`target` is the state), and what is to be kept beside it."""

    look: Look
    target: State
    look_at: datetime | None
    reason: str | None = None
    seen: bool = True
    """Whether the operator showed it."""
    is_lost: bool = False
    """Whether the operator does not know what it had accepted: an incident."""
    operator_status: str | None = None
    operator_state: OperatorState | None = None
    channel: str | None = None
    actions: tuple[OperatorAction, ...] | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether the state changes."""
        return self.target is not self.look.state


def record_learned(session: Session, learned: Sequence[Learned], *, until: datetime, now: datetime) -> set[UUID]:
    """Write what looks taken until an instant told; return the invoices written. The others moved meanwhile."""
    connection = session.connection()
    current = _still_as_looked_at(connection, learned)
    _write_invoices(connection, [each for each in current if not each.is_lost], LEARN, until=until, now=now)
    _write_invoices(connection, [each for each in current if each.is_lost], LOSE, until=until, now=now)
    _write_events(connection, current, now=now)
    _write_cases(connection, current, now=now)
    _write_alarms(connection, current, now=now)
    store_actions(session, {each.look.id: each.actions for each in current if each.actions}, now=now)
    return {each.look.id for each in current}


def _still_as_looked_at(connection: Connection, learned: Sequence[Learned]) -> list[Learned]:
    rows = connection.execute(LOCK, {"ids": [each.look.id for each in learned]})
    states = {row.id: row.state for row in rows}
    current = [each for each in learned if states.get(each.look.id) == each.look.state.value]
    back = [each.look.id for each in current if each.moves and each.look.state is State.FAILED]
    # A reroute of ours that began while we asked explains the answer; whether it is done is the router's to find out.
    ours = {row.invoice_id for row in connection.execute(BEING_REROUTED, {"ids": back})} if back else set()
    return [each for each in current if each.look.id not in ours]


def _write_invoices(
    connection: Connection, learned: Sequence[Learned], statement: TextClause, *, until: datetime, now: datetime
) -> None:
    if not learned:
        return
    parameters = {
        "ids": [each.look.id for each in learned],
        "sources": [each.look.state.value for each in learned],
        "targets": [each.target.value for each in learned],
        "reasons": [each.reason for each in learned],
        "now": now,
    }
    kept = {
        "statuses": [each.operator_status for each in learned],
        "finer": [each.operator_state.value if each.operator_state is not None else None for each in learned],
        "channels": [each.channel for each in learned],
        "seen": [each.seen for each in learned],
        "looks_at": [each.look_at for each in learned],
        "until": until,
    }
    connection.execute(statement, parameters | kept if statement is LEARN else parameters)


def _write_events(connection: Connection, learned: Sequence[Learned], *, now: datetime) -> None:
    moves = [
        _event(each, kind=LOST if each.is_lost else "operator_status", cause=each.reason or "", now=now)
        for each in learned
        if each.moves
    ]
    # The finding follows the move, so it stands in the new state.
    notes = [
        (finding.once, _event(each, kind=finding.kind, cause=finding.cause, now=now) | {"source": each.target.value})
        for each in learned
        for finding in each.findings
    ]
    for statement, events in (
        (NOTE, moves + [event for once, event in notes if not once]),
        (NOTE_ONCE, [event for once, event in notes if once]),
    ):
        if events:
            connection.execute(statement, events)


def _event(learned: Learned, *, kind: str, cause: str, now: datetime) -> dict[str, object]:
    return {
        "id": learned.look.id,
        "now": now,
        "kind": kind,
        "source": learned.look.state.value,
        "target": learned.target.value,
        "cause": cause,
    }


def _write_cases(connection: Connection, learned: Sequence[Learned], *, now: datetime) -> None:
    delivered = [each.look.id for each in learned if each.moves and each.target is State.DELIVERED]
    rerouted = [each.look.id for each in learned if each.moves and each.look.state is State.FAILED]
    if delivered or rerouted:
        connection.execute(LOCK_CASES, {"ids": delivered + rerouted})
    if delivered:
        connection.execute(RESOLVE_CASES, {"ids": delivered, "now": now})
    if rerouted:
        parameters = {"ids": rerouted, "why": REROUTED_OUTSIDE, "now": now}
        # Invoice, case, way out: in the order in which the router takes them.
        connection.execute(CASES_UNDER_WAY, parameters)
        connection.execute(SKIP_WAYS, parameters)


def _write_alarms(connection: Connection, learned: Sequence[Learned], *, now: datetime) -> None:
    raised = [
        {"id": each.look.id, "company_id": each.look.company_id, "told": each.reason, "now": now}
        for each in learned
        if each.is_lost
    ]
    ended = [str(each.look.id) for each in learned if each.seen and each.look.lost]
    if raised:
        connection.execute(RAISE_ALARM, raised)
    if ended:
        connection.execute(END_ALARMS, {"subjects": ended, "now": now})

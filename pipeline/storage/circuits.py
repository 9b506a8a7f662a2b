"""Circuits in the database: evidence of the whole fleet, one opening, one canary, each a compare-and-set.

Whoever made a change logs it and raises or ends the alarm: once in the fleet. The rules are domain/circuit.py's.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlmodel import Session

from pipeline.domain import circuit as rules
from pipeline.domain.circuit import Circuit, CircuitState, Window
from pipeline.settings import Settings
from pipeline.storage import alarms

CIRCUIT_OPEN = "circuit_open"
"""The alarm's kind; its subject is the scope."""

READ = text("SELECT * FROM circuit WHERE state <> 'closed'")
BEGIN = text("""
    INSERT INTO circuit (scope, state, since, window_at) VALUES (:scope, 'closed', :now, :now)
    ON CONFLICT (scope) DO NOTHING
""")
LOCK = text("SELECT * FROM circuit WHERE scope = :scope FOR UPDATE")
COUNT = text("""
    UPDATE circuit SET window_at = :window_at, answered = :answered, failed = :failed,
        answered_at = CASE WHEN :is_answered THEN greatest(answered_at, :now) ELSE answered_at END
    WHERE scope = :scope
""")
OTHERS = text("""
    SELECT * FROM circuit
    WHERE scope <> :scope AND (state <> 'closed' OR answered_at > :fresh)
""")
FAILING = text("SELECT scope FROM circuit WHERE failed > 0 AND window_at >= :since")
OPEN = text("""
    UPDATE circuit SET state = 'open', since = CASE WHEN state = 'half_open' THEN since ELSE :now END,
        retry_at = :retry_at, canary_until = NULL, trips = :trips, evidence = :evidence, window_at = :now,
        answered = 0, failed = 0
    WHERE scope = :scope RETURNING *
""")
CANARY = text("""
    UPDATE circuit SET state = 'half_open', canary_until = :until, since = least(since, CAST(:now AS timestamptz))
    WHERE scope = :scope AND ((state = 'open' AND (retry_at IS NULL OR retry_at <= :now OR since > :ahead))
        OR (state = 'half_open' AND (canary_until IS NULL OR canary_until <= :now OR since > :ahead
            OR canary_until > :furthest)))
    RETURNING *
""")
START_SLOWLY = text("""
    UPDATE circuit SET state = 'closing', since = :now, retry_at = NULL, canary_until = NULL, window_at = :now,
        answered = 0, failed = 0, answered_at = :now
    WHERE scope = :scope AND state = 'half_open' AND canary_until = :until RETURNING *
""")
RETRY_NOW = text("""
    UPDATE circuit SET state = 'open', retry_at = :now, canary_until = NULL
    WHERE scope = :scope AND state = 'half_open' AND canary_until = :until RETURNING *
""")
CLOSE = text("""
    UPDATE circuit SET state = 'closed', since = :now, trips = 0, evidence = NULL, window_at = :now, answered = 0,
        failed = 0
    WHERE scope = :scope AND state = :state AND since = :since RETURNING *
""")
# Silence of our own making is no alarm; the circuit's says what is the matter.
FORGET_SILENCE = text("""
    UPDATE company SET look_failing_since = NULL
    WHERE look_failing_since IS NOT NULL AND (CAST(:company AS uuid) IS NULL OR id = :company)
""")
COMPANY_NAME = text("SELECT name FROM company WHERE id = :id")

log = logging.getLogger(__name__)


def read_circuits(session: Session) -> dict[str, Circuit]:
    """Return the circuits that are not closed, by scope. One small read; nothing is locked.

    While a host's is not closed, those of companies say nothing and are left out: only the host's canary counts, and
    whoever it is asked for.
    """
    found = {row.scope: _circuit(row) for row in session.connection().execute(READ)}
    hosts = {scope: each for scope, each in found.items() if company_of(scope) is None}
    return hosts or found


def find_failing(session: Session, host: Circuit) -> frozenset[UUID]:
    """Return the companies whose exchanges failed since the host's circuit opened, or made it open."""
    rows = session.connection().execute(FAILING, {"since": host.since - rules.WINDOW}).scalars()
    return frozenset(company for scope in rows if (company := company_of(scope)) is not None)


def note_evidence(
    session: Session, scope: str, *, answered: int, failed: int, told: str | None, now: datetime, settings: Settings
) -> Circuit | None:
    """Count what exchanges of a scope proved, and open its circuit where that is enough; None while it is closed.

    `told` is what the last failure said, for people. Locks the scope's row until the transaction ends: note several
    scopes in one order, the companies' before the host's. While a circuit is open or half-open nothing is counted: what
    was under way before says nothing about now.
    """
    connection = session.connection()
    connection.execute(BEGIN, {"scope": scope, "now": now})
    row = connection.execute(LOCK, {"scope": scope}).one()
    circuit = _circuit(row)
    if circuit.state in {CircuitState.OPEN, CircuitState.HALF_OPEN}:
        return circuit
    if rules.is_recovered(circuit, now):
        circuit = _close(session, circuit, now=now)
    window = Window(since=row.window_at, answered=row.answered, failed=row.failed)
    window = window.plus(answered=answered, failed=failed, now=now)
    counts = {"window_at": window.since, "answered": window.answered, "failed": window.failed}
    connection.execute(COUNT, {"scope": scope, **counts, "is_answered": answered > 0, "now": now})
    if failed and _is_enough(session, circuit, window, settings=settings, now=now):
        return _open(session, circuit, evidence=rules.say_evidence(window, told), now=now, settings=settings)
    return circuit if circuit.state is CircuitState.CLOSING else None


def try_canary(session: Session, scope: str, *, until: datetime, now: datetime) -> bool:
    """Become the one canary of a circuit that is due; False when it is not due or somebody else was first.

    `until` (rules.canary_until) is when this canary counts as dead; it is its name too: give it to `end_canary`.
    """
    ahead = now + rules.CLOCKS_DIFFER
    furthest = ahead + timedelta(seconds=rules.LONGEST_CANARY_SECONDS)
    parameters = {"scope": scope, "until": until, "now": now, "ahead": ahead, "furthest": furthest}
    row = session.connection().execute(CANARY, parameters).one_or_none()
    if row is None:
        return False
    log.info("one canary goes", extra={"event": "circuit_half_open", "scope": scope, "trips": row.trips})
    return True


def end_canary(
    session: Session,
    scope: str,
    *,
    until: datetime,
    ok: bool | None,
    now: datetime,
    settings: Settings,
    told: str | None = None,
    retry_after_seconds: float | None = None,
) -> Circuit | None:
    """Tell how the canary ended: answered, failed, or None: it proved nothing, so the next one goes at once.

    Returns the circuit as it is then; None when this canary was given up for dead and another one went, or when
    somebody told its end before: nothing changes.
    """
    parameters = {"scope": scope, "until": until, "now": now}
    connection = session.connection()
    if ok is None:
        row = connection.execute(RETRY_NOW, parameters).one_or_none()
        return _circuit(row) if row is not None else None
    if ok:
        row = connection.execute(START_SLOWLY, parameters).one_or_none()
        return _started(session, _circuit(row), now=now) if row is not None else None
    row = connection.execute(LOCK, {"scope": scope}).one_or_none()
    if row is None or row.canary_until != until:
        return None
    return _open(
        session,
        _circuit(row),
        evidence=rules.say_canary(row.evidence, told, at=now),
        now=now,
        settings=settings,
        retry_after_seconds=retry_after_seconds,
    )


def settle_circuits(session: Session, *, host: str, now: datetime) -> None:
    """Close the circuits whose slow start has come to its end: where nothing goes on, nobody else would.

    So are those of hosts that the installation asked before it was set to `host`: nobody will ever be their canary.
    And those of companies about which nobody has had a question for long: they keep the others' number at one.
    """
    for circuit in read_circuits(session).values():
        is_companys = company_of(circuit.scope) is not None
        is_of_nobody = rules.is_unwanted(circuit, now) if is_companys else circuit.scope != host
        if rules.is_recovered(circuit, now) or is_of_nobody:
            _close(session, circuit, now=now)


def _is_enough(session: Session, circuit: Circuit, window: Window, *, settings: Settings, now: datetime) -> bool:
    is_closing = circuit.state is CircuitState.CLOSING
    least = rules.FAILURES_WHILE_CLOSING if is_closing else settings.circuit_failures
    if not window.opens(least_failures=least):
        return False
    rows = session.connection().execute(OTHERS, {"scope": circuit.scope, "fresh": now - rules.FRESH}).all()
    others = [(company_of(row.scope) is not None, _circuit(row), _window(row)) for row in rows]
    healthy = [
        (other, counts)
        for is_company, other, counts in others
        if is_company and other.state is CircuitState.CLOSED and not counts.opens(least_failures=least)
    ]
    if company_of(circuit.scope) is None:
        # A company that fails while others are answered has a circuit of its own.
        return not _answers([counts for _, counts in healthy])
    if any(not is_company and other.state is not CircuitState.CLOSED for is_company, other, _ in others):
        return False
    after = window.since + rules.NOTED_WITHIN
    return is_closing or _answers(
        [counts for other, counts in healthy if other.answered_at and other.answered_at >= after]
    )


def _answers(windows: Sequence[Window]) -> bool:
    """Tell whether these companies, taken together, are answered."""
    answered, failed = sum(each.answered for each in windows), sum(each.failed for each in windows)
    return bool(windows) and (failed == 0 or rules.is_answered(answered=answered, failed=failed))


def company_of(scope: str) -> UUID | None:
    """Return the company whose circuit it is; None where it is a host's."""
    try:
        return UUID(scope)
    except ValueError:
        return None


def _open(
    session: Session,
    circuit: Circuit,
    *,
    evidence: str,
    now: datetime,
    settings: Settings,
    retry_after_seconds: float | None = None,
) -> Circuit:
    trips = circuit.trips + 1
    pause = rules.wait(
        trips=trips,
        shortest_seconds=settings.circuit_wait_seconds,
        longest_seconds=settings.circuit_longest_wait_seconds,
        retry_after_seconds=retry_after_seconds,
    )
    parameters = {"scope": circuit.scope, "now": now, "retry_at": now + pause, "trips": trips, "evidence": evidence}
    opened = _circuit(session.connection().execute(OPEN, parameters).one())
    company_id = company_of(circuit.scope)
    session.connection().execute(FORGET_SILENCE, {"company": company_id})
    told = rules.tell(opened, company_name=_name(session, company_id))
    alarms.raise_alarm(session, CIRCUIT_OPEN, circuit.scope, told=told, now=now, company_id=company_id)
    extra = {"event": "circuit_opened", "scope": circuit.scope, "trips": trips, "wait_seconds": pause.total_seconds()}
    log.warning("left alone: %s", evidence, extra=extra)
    return opened


def _started(session: Session, circuit: Circuit, *, now: datetime) -> Circuit:
    alarms.end_alarm(session, CIRCUIT_OPEN, circuit.scope, now=now)
    log.info("answered again, starting slowly", extra={"event": "circuit_closing", "scope": circuit.scope})
    return circuit


def _close(session: Session, circuit: Circuit, *, now: datetime) -> Circuit:
    parameters = {"scope": circuit.scope, "state": circuit.state.value, "since": circuit.since, "now": now}
    row = session.connection().execute(CLOSE, parameters).one_or_none()
    if row is None:
        return circuit
    alarms.end_alarm(session, CIRCUIT_OPEN, circuit.scope, now=now)
    log.info("all goes again", extra={"event": "circuit_closed", "scope": circuit.scope})
    return _circuit(row)


def _name(session: Session, company_id: UUID | None) -> str | None:
    if company_id is None:
        return None
    name = session.connection().execute(COMPANY_NAME, {"id": company_id}).scalar_one_or_none()
    return str(name) if name is not None else str(company_id)


def _window(row: Row[Any]) -> Window:
    return Window(since=row.window_at, answered=row.answered, failed=row.failed)


def _circuit(row: Row[Any]) -> Circuit:
    return Circuit(
        scope=row.scope,
        state=CircuitState(row.state),
        since=row.since,
        retry_at=row.retry_at,
        canary_until=row.canary_until,
        trips=row.trips,
        evidence=row.evidence,
        answered_at=row.answered_at,
    )

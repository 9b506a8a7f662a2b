"""The doctor's checks of whether work goes on: beat, dispatcher, oldest work, workers, circuits, pace, set aside.

Each reads the tables that the fleet itself goes by, so they hold also when nobody is alive to raise an alarm.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from pipeline.cli.finding import Finding
from pipeline.domain.circuit import CircuitState, tell
from pipeline.domain.pace import Pace
from pipeline.domain.turnstile import Lane
from pipeline.services.watch import read_missed_rings
from pipeline.services.watch_work import (
    DISPATCH,
    DISPATCHER_STUCK,
    OLDEST_AGE,
    RUNG_WITHIN,
    WORKER_DEAF,
    find_overdue,
    patience_with_dispatcher,
)
from pipeline.settings import Settings
from pipeline.storage import alarms, watching
from pipeline.storage.circuits import CIRCUIT_OPEN, company_of, read_circuits
from pipeline.storage.companies import list_companies
from pipeline.storage.pacing import read_paces

NAMED = 10
"""Of each kind; the board lists the rest."""
LONG_BLOCK = timedelta(seconds=60)
"""The operator asks for seconds now and then; a minute and more a person may want to speak about with it."""
ALARMS_TOLD_HERE = frozenset({DISPATCHER_STUCK, OLDEST_AGE, WORKER_DEAF, CIRCUIT_OPEN})
"""Kinds of alarms that these checks name; the others are listed as alarms."""
SEE_WORKERS = "start workers and beat (postiljon up, or docker compose ps); look at their logs"


def check_work(session: Session, settings: Settings, *, now: datetime) -> list[Finding]:
    """Return what there is to say about work that is due and about those who do it."""
    names = {each.id: each.name for each in list_companies(session)}
    return [
        _beat(session, settings, now=now),
        _dispatcher(session, settings, now=now),
        *_oldest(session, settings, now=now),
        *_deaf(session),
        *_circuits(session, names),
        *_paces(session, settings, names, now=now),
        _set_aside(session),
    ]


def _beat(session: Session, settings: Settings, *, now: datetime) -> Finding:
    missed = read_missed_rings(session, settings, now=now)
    if not missed:
        return Finding(check="beat", ok=True, found="no sweep is missed")
    found = f"nobody rings for {', '.join(each.name for each in missed)}"
    return Finding(check="beat", ok=False, found=found, what_to_do=SEE_WORKERS)


def _dispatcher(session: Session, settings: Settings, *, now: datetime) -> Finding:
    rounds = watching.read_rounds(session, DISPATCH)
    if rounds is None or rounds.done_at is None:
        ok, found = rounds is None or rounds.rung_at < now - RUNG_WITHIN, "no round was ever completed"
    else:
        ago = max((now - rounds.done_at).total_seconds(), 0)
        found = f"its last completed round began {ago:.0f} s ago"
        is_rung = rounds.rung_at >= now - RUNG_WITHIN
        ok = not is_rung or rounds.done_at >= now - patience_with_dispatcher(settings)
    todo = "" if ok else "it is rung and stuck: read the log of the worker for the queue dispatch, start it anew"
    return Finding(check="dispatcher", ok=ok, found=found, what_to_do=todo)


def _oldest(session: Session, settings: Settings, *, now: datetime) -> list[Finding]:
    limit = timedelta(seconds=settings.oldest_age_seconds)
    overdue = find_overdue(session, settings, before=now - limit, now=now)
    growing = {alarm.subject for alarm in alarms.list_alarms(session) if alarm.kind == OLDEST_AGE}
    findings = [
        Finding(
            check="oldest age",
            ok=False,
            found=f"work of {each.name} is due for {_minutes(now - each.due_at)}"
            + (" and grows older" if str(each.id) in growing else ""),
            what_to_do="mend what else is wrong here; where all is well, start more sending processes",
        )
        for each in overdue
    ]
    well = Finding(check="oldest age", ok=True, found=f"nothing that may go is due for over {_minutes(limit)}")
    return _first(findings, "companies") or [well]


def _deaf(session: Session) -> list[Finding]:
    told = [alarm.told.partition(" What to do: ") for alarm in alarms.list_alarms(session) if alarm.kind == WORKER_DEAF]
    findings = [Finding(check="deaf workers", ok=False, found=found, what_to_do=todo) for found, _, todo in told]
    well = Finding(check="deaf workers", ok=True, found="none ended itself within the hour without coming back")
    return _first(findings, "workers") or [well]


def _circuits(session: Session, names: dict[UUID, str]) -> list[Finding]:
    findings = []
    for circuit in read_circuits(session).values():
        company_id = company_of(circuit.scope)
        name = names.get(company_id, str(company_id)) if company_id is not None else None
        found, _, todo = tell(circuit, company_name=name).partition(" What to do: ")
        is_closing = circuit.state is CircuitState.CLOSING
        findings.append(Finding(check="circuits", ok=is_closing, found=found, what_to_do=todo))
    return _first(findings, "circuits") or [Finding(check="circuits", ok=True, found="all closed")]


def _paces(session: Session, settings: Settings, names: dict[UUID, str], *, now: datetime) -> list[Finding]:
    paces = read_paces(session, settings, now).values()
    findings = [_pace(each, each.blocked_until, names, now=now) for each in paces if each.blocked_until is not None]
    blocked = [each for each in findings if each is not None]
    limits = sum(each.limit is not None for each in paces)
    well = Finding(check="pace", ok=True, found=f"nobody has to wait; {limits} limits are set or found out")
    return _first(blocked, "waits") or [well]


def _pace(pace: Pace, until: datetime, names: dict[UUID, str], *, now: datetime) -> Finding | None:
    if until <= now:
        return None
    company_id = company_of(pace.scope)
    whom = names.get(company_id, pace.scope) if company_id is not None else pace.scope
    what = "uploads" if pace.lane is Lane.UPLOAD else "questions"
    found = f"the operator asked for no {what} of {whom} until {until:%Y-%m-%d %H:%M:%S} UTC (Retry-After)"
    ok = until - now < LONG_BLOCK
    todo = "" if ok else "nothing, they go on by themselves; if it is a mistake of the operator's, postiljon lift"
    return Finding(check="pace", ok=ok, found=found, what_to_do=todo)


def _set_aside(session: Session) -> Finding:
    ids = watching.find_set_aside(session, limit=NAMED + 1)
    if not ids:
        return Finding(check="set aside", ok=True, found="no invoice ended its workers")
    named = ", ".join(str(each) for each in ids[:NAMED]) + (" and more" if len(ids) > NAMED else "")
    todo = "postiljon show UUID tells what is known; then postiljon release"
    return Finding(check="set aside", ok=False, found=f"ended their workers again and again: {named}", what_to_do=todo)


def _first(findings: Sequence[Finding], what: str) -> list[Finding]:
    named = sorted(findings, key=lambda each: each.ok)
    if len(named) <= NAMED:
        return named
    rest = named[NAMED:]
    found = f"{len(rest)} more {what}"
    return [
        *named[:NAMED],
        Finding(check=rest[0].check, ok=rest[0].ok, found=found, what_to_do="postiljon board --json"),
    ]


def _minutes(age: timedelta) -> str:
    seconds = age.total_seconds()
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"  # noqa: PLR2004 - seconds of a minute

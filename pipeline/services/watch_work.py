"""What a person must hear of about work that is due: it grows old, no round is completed, a worker took nothing.

Raises and ends alarms; changes no invoice. What waits for a reason that has an alarm of its own is left to that one.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.circuit import CircuitState
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from pipeline.settings import Settings
from pipeline.storage import alarms, watching
from pipeline.storage.circuits import company_of, read_circuits
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database
from pipeline.storage.pacing import read_paces
from pipeline.storage.watching import Waiting

DISPATCHER_STUCK = "dispatcher_stuck"
OLDEST_AGE = "oldest_age"
WORKER_DEAF = "worker_deaf"
LONG_PAUSE = "long_pause"
LONG = timedelta(minutes=10)
"""A pause of the operator's that still lasts longer than this, somebody should know of."""
DISPATCH = "dispatch"
RUNG_WITHIN = timedelta(seconds=60)
"""Rung for longer ago, it is beat or every pump that is dead: the alarm not_rung tells that."""
LEASE_SECONDS = 8.0
"""A pump that died is replaced after its lease (pipeline.services.dispatch): once is not stuck."""
DEAF_TOLD = timedelta(hours=1)
"""A worker whose name never comes back cannot end its alarm; if work still waits, the oldest age tells it."""

log = logging.getLogger(__name__)


def look_at_dispatcher(session: Session, settings: Settings, *, now: datetime, awake_since: datetime) -> None:
    """Raise or end the alarm of a dispatcher that is rung and completes no round.

    The time counts from `awake_since` at the earliest: after a stop of everything the first round comes first.
    """
    rounds = watching.read_rounds(session, DISPATCH)
    if rounds is None or rounds.rung_at < now - RUNG_WITHIN:
        alarms.end_alarm(session, DISPATCHER_STUCK, DISPATCH, now=now)
        return
    since = max(rounds.done_at or awake_since, awake_since)
    if since + patience_with_dispatcher(settings) >= now:
        if alarms.end_alarm(session, DISPATCHER_STUCK, DISPATCH, now=now):
            log.info("rounds are completed again", extra={"event": "dispatcher_freed"})
        return
    if alarms.raise_alarm(session, DISPATCHER_STUCK, DISPATCH, told=_stuck_told(rounds.done_at), now=now):
        log.error("rung and stuck", extra={"event": DISPATCHER_STUCK})


def patience_with_dispatcher(settings: Settings) -> timedelta:
    """Return how long a dispatcher that is rung may go without a completed round."""
    return timedelta(seconds=settings.liveness_seconds + LEASE_SECONDS)


def is_dispatcher_stuck(database: Database, settings: Settings) -> bool:
    """Tell whether work is due for long and no round was completed meanwhile; for a worker that could be the cause."""
    with database.transaction() as session:
        now = read_clock(session)
        before = now - timedelta(seconds=settings.liveness_seconds)
        rounds = watching.read_rounds(session, DISPATCH)
        if rounds is None or (rounds.done_at is not None and rounds.done_at >= before):
            return False
        return bool(find_overdue(session, settings, before=before, now=now))


def find_overdue(session: Session, settings: Settings, *, before: datetime, now: datetime) -> list[Waiting]:
    """Return the companies whose oldest work is due since an instant or longer though nothing is known to keep it."""
    waiting = watching.find_waiting(session, before=before)
    if not waiting:
        return []
    kept = _kept_back(session, settings, now=now)
    return [] if host_scope(settings) in kept else [each for each in waiting if str(each.id) not in kept]


def _kept_back(session: Session, settings: Settings, *, now: datetime) -> set[str]:
    paces = read_paces(session, settings, now)
    blocked = {
        scope
        for (scope, lane), pace in paces.items()
        if lane is Lane.UPLOAD and pace.blocked_until is not None and pace.blocked_until > now
    }
    open_circuits = {each.scope for each in read_circuits(session).values() if each.state is not CircuitState.CLOSED}
    return blocked | open_circuits


class AgeWatch:
    """Remembers from look to look how old the oldest work of each company was."""

    def __init__(self) -> None:
        self._ages: Mapping[UUID, timedelta] = {}

    def look(self, session: Session, settings: Settings, *, now: datetime) -> None:
        """Raise the alarms of companies whose oldest work is too old and grew older, end those that are over."""
        before = now - timedelta(seconds=settings.oldest_age_seconds)
        overdue = find_overdue(session, settings, before=before, now=now)
        known, self._ages = self._ages, {each.id: now - each.due_at for each in overdue}
        for each in overdue:
            if each.id in known and self._ages[each.id] > known[each.id]:
                self._tell(session, each, now=now)
        still = {str(each.id) for each in overdue}
        for subject in alarms.end_alarms(session, OLDEST_AGE, still=still, now=now):
            log.info("due work is young again", extra={"event": "oldest_age_ended", "company": subject})

    def _tell(self, session: Session, waiting: Waiting, *, now: datetime) -> None:
        subject = str(waiting.id)
        if alarms.raise_alarm(session, OLDEST_AGE, subject, told=_age_told(waiting), now=now, company_id=waiting.id):
            log.error("due work grows old", extra={"event": OLDEST_AGE, "company": subject})


def look_at_pauses(session: Session, settings: Settings, *, now: datetime) -> None:
    """Raise the alarms of long pauses that the operator's Retry-After asked for, end those of pauses that are over."""
    ends: dict[str, datetime] = {}
    for (scope, _), pace in read_paces(session, settings, now).items():
        if pace.blocked_until is not None and pace.blocked_until > now:
            ends[scope] = max(pace.blocked_until, ends.get(scope, now))
    for scope, until in ends.items():
        if until - now > LONG and alarms.raise_alarm(
            session, LONG_PAUSE, scope, told=_pause_told(scope, until), now=now, company_id=company_of(scope)
        ):
            log.error("a long pause", extra={"event": LONG_PAUSE, "scope": scope})
    for scope in alarms.end_alarms(session, LONG_PAUSE, still=ends.keys(), now=now):
        log.info("the pause is over", extra={"event": "long_pause_ended", "scope": scope})


def tell_deaf(database: Database, *, worker: str, queue: str, told: str) -> None:
    """Raise the alarm of a worker that took nothing from a queue."""
    with database.transaction() as session:
        alarms.raise_alarm(session, WORKER_DEAF, _deaf_subject(worker, queue), told=told, now=read_clock(session))


def end_deaf(database: Database, *, worker: str, queue: str) -> None:
    """End it: a worker of that name takes from the queue again."""
    with database.transaction() as session:
        alarms.end_alarm(session, WORKER_DEAF, _deaf_subject(worker, queue), now=read_clock(session))


def end_old_deaf(session: Session, *, now: datetime) -> None:
    """End the alarms of workers whose name nobody has taken since."""
    raised = [each for each in alarms.list_alarms(session) if each.kind == WORKER_DEAF]
    still = [each.subject for each in raised if each.raised_at > now - DEAF_TOLD]
    alarms.end_alarms(session, WORKER_DEAF, still=still, now=now)


def _deaf_subject(worker: str, queue: str) -> str:
    return f"{worker} {queue}"


def _stuck_told(done_at: datetime | None) -> str:
    done = f"completed no round since {shown(done_at)}" if done_at else "has never completed a round"
    return (
        f"the dispatcher is rung and {done}: nothing is handed out. What to do: read the log of the worker for the "
        "queue dispatch, and start it anew (postiljon up, or docker compose restart)"
    )


def _pause_told(scope: str, until: datetime) -> str:
    whom, option = ("the company", f" --company {scope}") if company_of(scope) is not None else (scope, "")
    return (
        f"the operator asked for a pause until {shown(until)} (Retry-After): nothing of {whom} is sent or asked till "
        f"then. What to do: nothing, if the operator says the same; else postiljon lift{option}"
    )


def _age_told(waiting: Waiting) -> str:
    return (
        f"work of {waiting.name} is due since {shown(waiting.due_at)} and grows older. What to do: postiljon doctor; "
        "where everything is well, start more sending processes"
    )


def shown(at: datetime) -> str:
    """Return an instant as alarms show it."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

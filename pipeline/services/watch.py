"""What a person must hear of although nothing failed: invoices pending for long, silence, dead beats.

Raises and ends alarms and folds the counters; changes no invoice. Knows nothing of Celery or SQL. Work that waits is
looked at in pipeline.services.watch_work.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from sqlmodel import Session

from pipeline.services.alone import Alone
from pipeline.services.arming import why_disarmed
from pipeline.services.ports import Clock
from pipeline.services.watch_batches import CutOffWatch, tend_batches
from pipeline.services.watch_work import AgeWatch, end_old_deaf, look_at_dispatcher, look_at_pauses, shown
from pipeline.settings import Settings
from pipeline.storage import alarms, companies, tallies, watching
from pipeline.storage.alarms import Alarm
from pipeline.storage.database import Database
from pipeline.storage.watching import Allowed, Pending, Silent

LEASE_NAME = "watch"
FOLD_PIECE = 50_000
PENDING_PIECE = 1000
DISPATCH = "dispatch"
OPTIONAL = frozenset({"backup", "partner_errors"})
"""Missed only after they were rung for once: an installation may do without them."""
OPTIONAL_SECONDS = 900.0
CHANNELS = (None, "EINVOICE", "EMAIL", "PRINT")

RINGS_TURN = "rings"
RINGS_EVERY = timedelta(seconds=15)
SHORTEST_SILENCE_SECONDS = 60.0
INTERVALS_MISSED = 5
LONGEST_EXTRA_SECONDS = 3600.0
"""Sweeps that come once a day are missed within the hour, not after five days."""

PENDING_LONG = "pending_long"
POLL_SILENT = "poll_silent"
NOT_RUNG = "not_rung"
DISARMED = "disarmed"
"""Never stored: a copy of a disarmed database, and this one once armed, must not show it."""

log = logging.getLogger(__name__)


class CompanyRouting(Protocol):
    """What is asked of the routing of one company."""

    def pending_after(self, channel: str | None, /) -> timedelta:
        """Return how long an invoice may be pending by a channel."""


class PendingRules(Protocol):
    """What is asked of the routing."""

    def for_company(self, company_id: UUID, name: str, /) -> CompanyRouting:
        """Return the routing of a company."""


@dataclass(frozen=True, kw_only=True)
class MissedRing:
    """A sweep for which nobody rings."""

    name: str
    rung_at: datetime
    late_since: datetime

    @property
    def told(self) -> str:
        """The alarm's words."""
        return (
            f"nobody has rung for the sweep {self.name} since {shown(self.rung_at)}: look after beat and its workers "
            "(postiljon up, or docker compose ps)"
        )


def watched_sweeps(settings: Settings) -> dict[str, float]:
    """Return the sweeps that beat must ring for, and their intervals in seconds."""
    return {
        DISPATCH: settings.dispatch_interval_seconds,
        "follow": settings.follow_interval_seconds,
        "check_holds": settings.hold_check_seconds,
        "route": settings.route_interval_seconds,
        LEASE_NAME: settings.watch_interval_seconds,
        "backup": min(settings.backup_look_seconds, OPTIONAL_SECONDS),
        "partner_errors": OPTIONAL_SECONDS,
    }


def find_missed_rings(
    rung_at: Mapping[str, datetime],
    *,
    intervals: Mapping[str, float],
    now: datetime,
    awake_since: datetime | None = None,
) -> list[MissedRing]:
    """Return the sweeps not rung for too long, and so a dead beat; those never rung for are not known to be due.

    Silence counts from `awake_since` where somebody looks all the time: after a stop of everything, beat comes first.
    """
    missed = []
    for name, seconds in intervals.items():
        if name not in rung_at:
            continue
        patience = max(SHORTEST_SILENCE_SECONDS, min(INTERVALS_MISSED * seconds, seconds + LONGEST_EXTRA_SECONDS))
        heard = max(rung_at[name], awake_since) if awake_since else rung_at[name]
        late_since = heard + timedelta(seconds=patience)
        if late_since < now:
            missed.append(MissedRing(name=name, rung_at=rung_at[name], late_since=late_since))
    return missed


def read_missed_rings(session: Session, settings: Settings, *, now: datetime) -> list[MissedRing]:
    """Return the sweeps not rung for too long, for somebody who only reads: also when nothing runs at all."""
    intervals = watched_sweeps(settings)
    return find_missed_rings(watching.read_rings(session, intervals), intervals=intervals, now=now)


def read_alarms(session: Session, settings: Settings, *, now: datetime, limit: int = 1000) -> list[Alarm]:
    """Return the alarms that are on, the oldest first, and before them what nobody was there to tell.

    That is a disarmed installation, and dead beats when nobody was alive.
    """
    on = alarms.list_alarms(session, limit=limit)
    known = {alarm.subject for alarm in on if alarm.kind == NOT_RUNG}
    silent = [(each.name, each.told, each.late_since) for each in read_missed_rings(session, settings, now=now)]
    if not watching.read_rings(session, [DISPATCH]):
        silent.append((DISPATCH, "nobody has ever rung for the dispatcher: start workers and beat (postiljon up)", now))
    return (
        _disarmed(session, settings, now=now)
        + [
            Alarm(kind=NOT_RUNG, subject=name, company_id=None, invoice_id=None, told=told, raised_at=since)
            for name, told, since in silent
            if name not in known
        ]
        + on
    )


def _disarmed(session: Session, settings: Settings, *, now: datetime) -> list[Alarm]:
    why = why_disarmed(session, settings)
    told = [why] if why is not None else []
    return [
        Alarm(kind=DISARMED, subject="installation", company_id=None, invoice_id=None, told=each, raised_at=now)
        for each in told
    ]


def look_at_rings(session: Session, settings: Settings, *, now: datetime) -> bool:
    """Raise and end the alarms of dead beats and of a stuck dispatcher; False when somebody has looked moments ago."""
    intervals = watched_sweeps(settings)
    awake_since = watching.take_turn(
        session,
        RINGS_TURN,
        every=RINGS_EVERY,
        awake=timedelta(seconds=SHORTEST_SILENCE_SECONDS),
        # The dispatcher is rung by bells too, so its rings prove no beat.
        others=intervals.keys() - {DISPATCH},
        now=now,
    )
    if awake_since is None:
        return False
    watching.expect_rings(session, intervals.keys() - OPTIONAL, now=now)
    rung_at = watching.read_rings(session, intervals)
    missed = find_missed_rings(rung_at, intervals=intervals, now=now, awake_since=awake_since)
    for each in missed:
        if alarms.raise_alarm(session, NOT_RUNG, each.name, told=each.told, now=now):
            log.error("nobody rings", extra={"event": NOT_RUNG, "sweep": each.name})
    for name in alarms.end_alarms(session, NOT_RUNG, still=[each.name for each in missed], now=now):
        log.info("rung again", extra={"event": "rung_again", "sweep": name})
    look_at_dispatcher(session, settings, now=now, awake_since=awake_since)
    return True


class Watch:
    """Looks for what is alarming. Rung by beat, one at a time in the fleet."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        clock: Clock,
        routing: Callable[[], PendingRules],
        pending_piece: int = PENDING_PIECE,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._routing = routing
        self._pending_piece = pending_piece
        self._ages = AgeWatch()
        self._cut_offs = CutOffWatch()

    async def run(self, holder: UUID) -> int:
        """Fold the counters, raise and end alarms; return how many full pieces needed another round.

        Raises: what reading the rules raises, after everything else was looked at.
        """
        alone = Alone(database=self._database, clock=self._clock, name=LEASE_NAME)
        return await alone.run(holder, lambda: asyncio.to_thread(self._round))

    def _round(self) -> int:
        now = self._clock()
        with self._database.transaction() as session:
            folded = tallies.fold(session, limit=FOLD_PIECE)
        of_batches = tend_batches(self._database, now=now, limit=FOLD_PIECE)
        with self._database.transaction() as session:
            look_at_rings(session, self._settings, now=now)
            self._tell_silence(session, now=now)
            self._ages.look(session, self._settings, now=now)
            self._cut_offs.look(session, self._settings, now=now)
            look_at_pauses(session, self._settings, now=now)
            end_old_deaf(session, now=now)
            for invoice_id in watching.end_pending(session, now=now):
                log.info("pending no longer", extra={"event": "pending_ended", "invoice": str(invoice_id)})
            for invoice_id in watching.end_lost(session, now=now):
                log.info("lost for good", extra={"event": "lost_ended", "invoice": str(invoice_id)})
        found = self._tell_pending(now=now)
        return int(folded == FOLD_PIECE) + int(of_batches == FOLD_PIECE) + int(found == self._pending_piece)

    def _tell_silence(self, session: Session, *, now: datetime) -> None:
        before = now - timedelta(seconds=self._settings.poll_silence_seconds)
        silent = watching.find_silent(session, before=before)
        for each in silent:
            if alarms.raise_alarm(
                session, POLL_SILENT, str(each.id), told=_silence_told(each), now=now, company_id=each.id
            ):
                log.error("nothing is learned", extra={"event": POLL_SILENT, "company": str(each.id)})
        for subject in alarms.end_alarms(session, POLL_SILENT, still={str(each.id) for each in silent}, now=now):
            log.info("learning again", extra={"event": "poll_heard", "company": subject})

    def _tell_pending(self, *, now: datetime) -> int:
        routing = self._routing()
        with self._database.transaction() as session:
            names = {each.id: each.name for each in companies.list_companies(session)}
            allowed = [
                Allowed(company_id=company, channel=channel, before=now - rules.pending_after(channel))
                for company, rules in ((id_, routing.for_company(id_, name)) for id_, name in names.items())
                for channel in CHANNELS
            ]
            found = watching.find_pending(session, allowed, limit=self._pending_piece)
            for each in found:
                self._tell_one(session, each, names[each.company_id], now=now)
        return len(found)

    def _tell_one(self, session: Session, pending: Pending, company: str, *, now: datetime) -> None:
        told = _pending_told(pending, company)
        if alarms.raise_alarm(
            session,
            PENDING_LONG,
            str(pending.id),
            told=told,
            now=now,
            company_id=pending.company_id,
            invoice_id=pending.id,
        ):
            watching.note_pending(session, pending.id, told=told, now=now)
            log.error("pending for long", extra={"event": PENDING_LONG, "invoice": str(pending.id)})


def _pending_told(pending: Pending, company: str) -> str:
    seen = shown(pending.seen_at) if pending.seen_at else "never"
    channel = f" by {pending.channel}" if pending.channel else ""
    return (
        f"invoice {pending.number or pending.id} of {company} is pending{channel} since {shown(pending.since)}, "
        f"longer than set; last seen at the operator: {seen}. What to do: ask the operator where it is"
    )


def _silence_told(silent: Silent) -> str:
    looked = shown(silent.looked_at) if silent.looked_at else "never"
    return (
        f"nothing could be learned about the invoices of {silent.name} since {shown(silent.since)}; last successful "
        f"look: {looked}. What to do: see the operator and the company's keys (postiljon doctor)"
    )

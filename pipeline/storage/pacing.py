"""The table of paces: who may go how fast, the turns that are taken, and what the answers taught.

Rows are always locked in one order (the host first, then by scope and lane), so that no two processes wait for each
other. Decides nothing by itself: turns and rates are worked out by pipeline.domain.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.pace import NotYet, Pace, Row, Turns, believe_pause, believe_turn, plan_turns
from pipeline.domain.pace_learning import Learned, Window, count
from pipeline.domain.turnstile import Lane
from pipeline.settings import Settings

READ = text("""
    SELECT coalesce(p.scope, c.id::text) AS scope, coalesce(p.lane, l.lane) AS lane, p.blocked_until, p.rate,
        p.next_at, p.speed, p.speed_at, c.id IS NOT NULL AS is_company,
        CASE coalesce(p.lane, l.lane) WHEN 'upload' THEN c.uploads_per_second ELSE c.reads_per_second END AS own_limit
    FROM company AS c CROSS JOIN (VALUES ('upload'), ('read')) AS l(lane)
    FULL JOIN pace AS p ON p.scope = c.id::text AND p.lane = l.lane
    WHERE NOT :binding OR c.id IS NULL OR p.rate IS NOT NULL OR p.blocked_until > :now OR p.next_at > :now
        OR CASE l.lane WHEN 'upload' THEN c.uploads_per_second ELSE c.reads_per_second END IS NOT NULL
""")
SEAT = text("""
    INSERT INTO pace (scope, lane) SELECT * FROM unnest(CAST(:scopes AS text[]), CAST(:lanes AS text[]))
    ON CONFLICT DO NOTHING
""")
# What is lost with a crashed server are turns of the last moment, and it takes longer than that to come back.
HURRY = text("SET LOCAL synchronous_commit = off")
LOCK = text("""
    SELECT * FROM pace WHERE (scope, lane) IN (SELECT * FROM unnest(CAST(:scopes AS text[]), CAST(:lanes AS text[])))
    ORDER BY scope <> :host, scope, lane FOR UPDATE
""")
OWN = text("""
    SELECT id::text AS scope, uploads_per_second, reads_per_second FROM company
    WHERE id = ANY(CAST(:scopes AS uuid[])) AND (uploads_per_second IS NOT NULL OR reads_per_second IS NOT NULL)
""")
TAKE = text("UPDATE pace SET next_at = :next_at WHERE scope = :scope AND lane = :lane")
NOTE = text("""
    UPDATE pace SET blocked_until = :blocked_until, rate = :rate, noise = :noise, refused_rate = :refused_rate,
        refused_at = :refused_at, window_at = :window_at, answered = :answered, throttled = :throttled,
        speed = :speed, speed_at = :speed_at
    WHERE scope = :scope AND lane = :lane
""")
LIFT = text("UPDATE pace SET blocked_until = NULL WHERE scope = :scope AND blocked_until > :now RETURNING lane")
SPEED_SECONDS = 10.0
"""Answers older than this hardly count for the speed: long enough for chunks, short enough for a forecast."""


Key = tuple[str, Lane]


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What happened in one scope and lane since it was last written down."""

    taken: int = 0
    """Answers of the operator that were no refusal of pace."""
    throttled: int = 0
    """Refusals of pace that speak of this scope's limit."""
    blocked_until: datetime | None = None

    def plus(self, other: "Noted") -> "Noted":
        """Return both together; of two blocks the longer one."""
        blocks = [each for each in (self.blocked_until, other.blocked_until) if each is not None]
        return Noted(
            taken=self.taken + other.taken,
            throttled=self.throttled + other.throttled,
            blocked_until=max(blocks, default=None),
        )


def read_paces(
    session: Session, settings: Settings, now: datetime, *, host: str | None = None, binding_only: bool = False
) -> dict[Key, Pace]:
    """Return what is known of every company and host, both lanes of each; one statement.

    The `host` named is there even before anything was ever noted of it. With `binding_only`, companies that nothing
    but the settings' common limit binds may be left out.
    """
    rows = session.connection().execute(READ, {"now": now, "binding": binding_only})
    paces = {(host, lane): common_pace(settings, host, lane, is_host=True) for lane in Lane} if host else {}
    for row in rows:
        lane = Lane(row.lane)
        fixed = row.own_limit if row.own_limit is not None else common_limit(settings, lane, is_host=not row.is_company)
        pace = Pace(
            scope=row.scope,
            lane=lane,
            limit=fixed if fixed is not None else row.rate,
            is_adaptive=fixed is None and row.rate is not None,
            blocked_until=believe_pause(row.blocked_until, now),
            speed=decayed(row.speed or 0.0, row.speed_at, now),
        )
        turn = believe_turn(Row(next_at=row.next_at, spacing=pace.spacing), now)
        paces[row.scope, lane] = replace(pace, next_at=turn)
    return paces


def common_pace(settings: Settings, scope: str, lane: Lane, *, is_host: bool) -> Pace:
    """Return the pace of a scope of which the table says nothing."""
    return Pace(scope=scope, lane=lane, limit=common_limit(settings, lane, is_host=is_host))


def common_limit(settings: Settings, lane: Lane, *, is_host: bool) -> float | None:
    """Return the limit that the settings set for the host, or for each company that has none of its own."""
    if is_host:
        return settings.uploads_per_second if lane is Lane.UPLOAD else settings.reads_per_second
    return settings.company_uploads_per_second if lane is Lane.UPLOAD else settings.company_reads_per_second


def decayed(speed: float, speed_at: datetime | None, now: datetime) -> float:
    """Return what a speed noted at an instant is worth now."""
    if speed_at is None:
        return 0.0
    return speed * math.exp(-max((now - speed_at).total_seconds(), 0.0) / SPEED_SECONDS)


def lift(session: Session, scope: str, *, now: datetime) -> bool:
    """End the pause that the operator's Retry-After asked of a scope; False when there is none.

    Every process sees it at its next look, a quarter of a second later at most.
    """
    return bool(session.connection().execute(LIFT, {"scope": scope, "now": now}).all())


def seat(session: Session, keys: Iterable[Key]) -> None:
    """Make sure that the rows are there. In a transaction of its own: it must not wait while it holds other rows."""
    ordered = sorted(keys)
    session.connection().execute(SEAT, _names(ordered))


def reserve(
    session: Session, *, host: Pace, company: Pace | None, wanted: int, clock: Callable[[], datetime]
) -> Turns | NotYet | None:
    """Take turns for one company in one lane, or say when to ask again; None where a row is not there (`seat`).

    The clock is read once the rows are ours: what came before us in the queue for them has taken its time.
    """
    connection = session.connection()
    connection.execute(HURRY)
    asked = [(each.scope, each.lane) for each in (host, company) if each is not None]
    rows = {row.scope: row for row in connection.execute(LOCK, {**_names(asked), "host": host.scope})}
    if len(rows) < len(asked):
        return None
    now = clock()
    theirs = _standing(session, rows[host.scope], host, now)
    ours = _standing(session, rows[company.scope], company, now) if company is not None else Row()
    plan = plan_turns(host=theirs, company=ours, wanted=wanted, now=now)
    if isinstance(plan, Turns):
        for pace, next_at in ((host, plan.host_next_at), (company, plan.company_next_at)):
            if pace is not None and next_at is not None:
                _take(session, pace, next_at)
    return plan


def note(session: Session, noted: Mapping[Key, Noted], *, host: str, settings: Settings, now: datetime) -> bool:
    """Count what happened, learn from it where no limit is set, and let blocks only grow.

    False where a row was not there (`seat`); the others are counted all the same.
    """
    if not noted:
        return True
    connection = session.connection()
    connection.execute(HURRY)
    rows = connection.execute(LOCK, {**_names(noted), "host": host}).all()
    fixed = _fixed(session, noted, host=host, settings=settings)
    keyed = [((row.scope, Lane(row.lane)), row) for row in rows]
    if keyed:
        connection.execute(NOTE, [_noted(row, noted[key], is_set=key in fixed, now=now) for key, row in keyed])
    return len(keyed) == len(noted)


def _fixed(session: Session, keys: Iterable[Key], *, host: str, settings: Settings) -> set[Key]:
    """Return the keys whose limit a person set: nothing is to be found out there."""
    companies = [scope for scope, _ in keys if scope != host]
    own = {row.scope: row for row in session.connection().execute(OWN, {"scopes": companies})} if companies else {}
    found = {key for key in keys if common_limit(settings, key[1], is_host=key[0] == host) is not None}
    for scope, lane in keys:
        row = own.get(scope)
        if row is not None and (row.uploads_per_second if lane is Lane.UPLOAD else row.reads_per_second) is not None:
            found.add((scope, lane))
    return found


def _noted(row: SqlRow[Any], more: Noted, *, is_set: bool, now: datetime) -> dict[str, object]:
    known = Learned(rate=row.rate, noise=row.noise, refused_rate=row.refused_rate, refused_at=row.refused_at)
    window = Window(since=row.window_at, answered=row.answered, throttled=row.throttled)
    if is_set:
        known, window = Learned(), Window()
    else:
        answered = more.taken + more.throttled
        known, window = count(
            known,
            window,
            answered=answered,
            throttled=more.throttled,
            now=now,
            last_at=row.speed_at,
            was_told_to_pause=_ends_after(row.blocked_until, row.speed_at),
        )
    noted = (believe_pause(row.blocked_until, now), more.blocked_until)
    blocks = [each for each in noted if each is not None]
    # A little later is another process's clock; much later is from before the clock jumped back.
    is_near = row.speed_at is not None and row.speed_at <= now + timedelta(seconds=SPEED_SECONDS)
    speed_at = max(now, row.speed_at) if is_near else now
    speed = decayed(row.speed, row.speed_at, now) + more.taken / SPEED_SECONDS
    return {
        "scope": row.scope,
        "lane": row.lane,
        "blocked_until": max(blocks, default=None),
        "rate": known.rate,
        "noise": known.noise,
        "refused_rate": known.refused_rate,
        "refused_at": known.refused_at,
        "window_at": window.since,
        "answered": window.answered,
        "throttled": window.throttled,
        "speed": speed,
        "speed_at": speed_at,
    }


def _standing(session: Session, row: SqlRow[Any], pace: Pace, now: datetime) -> Row:
    # Limits are as the process last read them, at most a moment ago; turns and blocks as they are now.
    blocked_until = believe_pause(row.blocked_until, now)
    standing = Row(next_at=row.next_at, blocked_until=blocked_until, spacing=pace.spacing)
    next_at = believe_turn(standing, now)
    if next_at is None or next_at == row.next_at:
        return standing
    # Written down, or whoever asks again would see it as far off as before.
    _take(session, pace, next_at)
    return replace(standing, next_at=next_at)


def _take(session: Session, pace: Pace, next_at: datetime) -> None:
    session.connection().execute(TAKE, {"scope": pace.scope, "lane": pace.lane.value, "next_at": next_at})


def _ends_after(pause: datetime | None, last_at: datetime | None) -> bool:
    return pause is not None and last_at is not None and pause > last_at


def _names(keys: Iterable[Key]) -> dict[str, list[str]]:
    named = list(keys)
    return {"scopes": [scope for scope, _ in named], "lanes": [lane.value for _, lane in named]}

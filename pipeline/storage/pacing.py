"""The table of paces: who may go how fast, the turns that are taken, and what the answers taught.

Rows are always locked in one order (the host first, then by scope and lane), so that no two processes wait for each
other. Decides nothing by itself: turns and rates are worked out by pipeline.domain.
"""

import math
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.pace import Pace
from pipeline.domain.turnstile import Lane
from pipeline.settings import Settings

READ = text("""
    SELECT coalesce(p.scope, c.id::text) AS scope, coalesce(p.lane, l.lane) AS lane, p.blocked_until, p.rate,
        p.speed, p.speed_at, c.id IS NOT NULL AS is_company,
        CASE coalesce(p.lane, l.lane) WHEN 'upload' THEN c.uploads_per_second ELSE c.reads_per_second END AS own_limit
    FROM company AS c CROSS JOIN (VALUES ('upload'), ('read')) AS l(lane)
    FULL JOIN pace AS p ON p.scope = c.id::text AND p.lane = l.lane
    WHERE NOT :binding OR c.id IS NULL OR p.rate IS NOT NULL OR p.blocked_until > :now
        OR CASE l.lane WHEN 'upload' THEN c.uploads_per_second ELSE c.reads_per_second END IS NOT NULL
""")
SPEED_SECONDS = 10.0
"""Answers older than this hardly count for the speed: long enough for chunks, short enough for a forecast."""


def read_paces(
    session: Session, settings: Settings, now: datetime, *, binding_only: bool = False
) -> dict[tuple[str, Lane], Pace]:
    """Return what is known of every company and host, both lanes of each; one statement.

    With `binding_only`, companies that nothing but the settings' common limit binds may be left out.
    """
    rows = session.connection().execute(READ, {"now": now, "binding": binding_only})
    paces: dict[tuple[str, Lane], Pace] = {}
    for row in rows:
        lane = Lane(row.lane)
        fixed = row.own_limit if row.own_limit is not None else common_limit(settings, lane, is_host=not row.is_company)
        paces[row.scope, lane] = Pace(
            scope=row.scope,
            lane=lane,
            limit=fixed if fixed is not None else row.rate,
            is_adaptive=fixed is None and row.rate is not None,
            blocked_until=row.blocked_until,
            speed=decayed(row.speed or 0.0, row.speed_at, now),
        )
    return paces


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

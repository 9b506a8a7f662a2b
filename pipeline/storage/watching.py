"""What a watch looks at: rings of sweeps, invoices pending for long, companies nobody learns of, work that waits.

Open work only, by its indexes; decides nothing of what is too long.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

RINGS = text("SELECT name, rung_at FROM lease WHERE name = ANY(:names) AND rung_at IS NOT NULL")
EXPECT = text("""
    INSERT INTO lease (name, rung, rung_at) SELECT name, 0, :now FROM unnest(CAST(:names AS text[])) AS n(name)
    ON CONFLICT (name) DO NOTHING
""")
# `until` of this row is since when somebody looks without a long break. A break in which nobody was rung for at all
# is none: bells alone, with a dead beat, must not put the alarm off each time.
TAKE_TURN = text("""
    INSERT INTO lease AS l (name, rung, rung_at, until) VALUES (:name, 1, :now, :now)
    ON CONFLICT (name) DO UPDATE SET rung = l.rung + 1, rung_at = :now, until = CASE
        WHEN l.rung_at < :break_before
            AND EXISTS (SELECT 1 FROM lease AS o WHERE o.name = ANY(:others) AND o.rung_at > l.until)
        THEN CAST(:now AS timestamptz) ELSE l.until END
    WHERE l.rung_at <= :turn_before
    RETURNING until
""")
PENDING = text("""
    SELECT i.id, i.company_id, i.number, i.channel, i.seen_at, p.since FROM invoice_open AS i
    JOIN unnest(CAST(:companies AS uuid[]), CAST(:channels AS text[]), CAST(:befores AS timestamptz[]))
        AS a (company_id, channel, before) ON a.company_id = i.company_id AND a.channel = coalesce(i.channel, '')
    CROSS JOIN LATERAL (
        SELECT greatest(i.accepted_at, (SELECT max(finished_at) FROM way_out
            WHERE invoice_id = i.id AND status = 'done')) AS since) AS p
    WHERE i.state = 'accepted' AND i.submitted_at <= :latest AND i.accepted_at <= a.before AND p.since <= a.before
        AND NOT EXISTS (SELECT 1 FROM alarm
            WHERE kind = 'pending_long' AND subject = CAST(i.id AS text) AND ended_at IS NULL)
    ORDER BY i.submitted_at LIMIT :limit
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:id, :now, 'pending_long', 'accepted', 'accepted', :told)
""")
END_PENDING = text("""
    UPDATE alarm SET ended_at = :now FROM invoice AS i
    WHERE alarm.kind = 'pending_long' AND alarm.ended_at IS NULL AND i.id = alarm.invoice_id AND (i.state <> 'accepted'
        OR EXISTS (SELECT 1 FROM way_out WHERE invoice_id = i.id AND status = 'done' AND finished_at > alarm.raised_at))
    RETURNING alarm.invoice_id
""")
# What the operator lost is found, or ends otherwise: then its case, or its successor, tells more than the alarm.
END_LOST = text("""
    UPDATE alarm SET ended_at = :now FROM invoice AS i
    WHERE alarm.kind = 'accepted_unknown' AND alarm.ended_at IS NULL AND i.id = alarm.invoice_id
        AND i.state IN ('refused', 'superseded', 'cancelled')
    RETURNING alarm.invoice_id
""")
# Where nothing is left to be asked about, nobody will ever answer.
SILENT = text("""
    SELECT id, name, look_failing_since, looked_at FROM company WHERE look_failing_since <= :before
        AND EXISTS (SELECT 1 FROM invoice_open WHERE company_id = company.id AND look_at IS NOT NULL)
""")
# The words of both ways to be set aside (domain/decision.py, storage/claim_statements.py).
SET_ASIDE = text("""
    SELECT id FROM invoice_open
    WHERE state = 'held' AND held_for = 'person' AND reason LIKE '%ended the worker %set aside%'
    ORDER BY changed_at LIMIT :limit
""")
ROUNDS = text("SELECT rung_at, done_at FROM lease WHERE name = :name AND rung_at IS NOT NULL")
# What was handed out and never taken is due anew after each lease; a queued invoice waits since it became one.
OLDEST_DUE = text("""
    SELECT c.id, c.name, least(d.due_at, s.since) AS due_at FROM company AS c
    LEFT JOIN LATERAL (
        SELECT due_at FROM invoice_open WHERE company_id = c.id AND state IN ('queued', 'waiting', 'in_doubt')
        ORDER BY due_at LIMIT 1) AS d ON true
    LEFT JOIN (SELECT company_id, min(changed_at) AS since FROM invoice_open
        WHERE lease_until IS NOT NULL AND state = 'queued' GROUP BY company_id) AS s ON s.company_id = c.id
    WHERE c.hold_reason IS NULL AND least(d.due_at, s.since) <= :before ORDER BY 3
""")


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """How long invoices of a company may be pending by a channel."""

    company_id: UUID
    channel: str | None
    before: datetime
    """Accepted, or rerouted last, at or before this is too long ago."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """An accepted invoice nobody has delivered for longer than allowed."""

    id: UUID
    company_id: UUID
    number: str | None
    channel: str | None
    seen_at: datetime | None
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A company about whose invoices the operator tells nothing."""

    id: UUID
    name: str
    since: datetime
    looked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """When a sweep was last rung for, and when its last completed round began."""

    rung_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A company with due work, and since when the oldest of it is due."""

    id: UUID
    name: str
    due_at: datetime


def read_rounds(session: Session, name: str) -> Rounds | None:
    """Return how a sweep is rung for and gets on; None when nobody ever rang for it."""
    row = session.connection().execute(ROUNDS, {"name": name}).one_or_none()
    return Rounds(rung_at=row.rung_at, done_at=row.done_at) if row is not None else None


def read_rings(session: Session, names: Collection[str]) -> dict[str, datetime]:
    """Return when each of these sweeps was last rung for; those never rung for are left out."""
    return {row.name: row.rung_at for row in session.connection().execute(RINGS, {"names": list(names)})}


def expect_rings(session: Session, names: Collection[str], *, now: datetime) -> None:
    """Count the silence of sweeps that were never rung for from now on."""
    session.connection().execute(EXPECT, {"names": sorted(names), "now": now})


def take_turn(
    session: Session, name: str, *, every: timedelta, awake: timedelta, others: Collection[str], now: datetime
) -> datetime | None:
    """Take a turn that the fleet has at most once in `every`; None when it is not due.

    Returns since when turns have come without a break longer than `awake`; a break through which none of the others
    was rung for does not count.
    """
    parameters = {"name": name, "now": now, "turn_before": now - every, "break_before": now - awake}
    row = session.connection().execute(TAKE_TURN, {**parameters, "others": list(others)}).one_or_none()
    return row.until if row is not None else None


def find_pending(session: Session, allowed: Iterable[Allowed], *, limit: int) -> list[Pending]:
    """Return accepted invoices pending for longer than allowed that have no alarm yet, the oldest first."""
    rows = tuple(allowed)
    if not rows:
        return []
    parameters = {
        "companies": [each.company_id for each in rows],
        "channels": [each.channel or "" for each in rows],
        "befores": [each.before for each in rows],
        # Submitted before accepted: what was submitted later than this is not too old for anybody.
        "latest": max(each.before for each in rows),
        "limit": limit,
    }
    found = session.connection().execute(PENDING, parameters)
    return [
        Pending(
            id=row.id,
            company_id=row.company_id,
            number=row.number,
            channel=row.channel,
            seen_at=row.seen_at,
            since=row.since,
        )
        for row in found
    ]


def note_pending(session: Session, invoice_id: UUID, *, told: str, now: datetime) -> None:
    """Add the event to the invoice's story."""
    session.connection().execute(NOTE, {"id": invoice_id, "told": told, "now": now})


def end_pending(session: Session, *, now: datetime) -> list[UUID]:
    """End the alarms of invoices that are no longer pending, or were rerouted since; return these."""
    return list(session.connection().execute(END_PENDING, {"now": now}).scalars())


def end_lost(session: Session, *, now: datetime) -> list[UUID]:
    """End the alarms of lost invoices that nobody will see at the operator any more; return these."""
    return list(session.connection().execute(END_LOST, {"now": now}).scalars())


def find_silent(session: Session, *, before: datetime) -> list[Silent]:
    """Return the companies of which nothing could be learned since an instant or longer."""
    rows = session.connection().execute(SILENT, {"before": before})
    return [Silent(id=r.id, name=r.name, since=r.look_failing_since, looked_at=r.looked_at) for r in rows]


def find_waiting(session: Session, *, before: datetime) -> list[Waiting]:
    """Return the companies not on hold whose oldest work is due since an instant or longer, that one first."""
    rows = session.connection().execute(OLDEST_DUE, {"before": before})
    return [Waiting(id=row.id, name=row.name, due_at=row.due_at) for row in rows]


def find_set_aside(session: Session, *, limit: int) -> list[UUID]:
    """Return held invoices whose processing ended its worker too often, the oldest first."""
    return list(session.connection().execute(SET_ASIDE, {"limit": limit}).scalars())

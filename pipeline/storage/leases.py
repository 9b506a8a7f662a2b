"""Leases for tasks of which only one may run in the fleet, and the bell that is never lost while one runs."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.storage.fleet_tables import LeaseRow

PUT_BACK = timedelta(seconds=30)
"""A lease that ends so much later than one taken now was taken before the clock was put back."""

RING = text("""
    INSERT INTO lease AS l (name, rung, rung_at) VALUES (:name, 1, :now)
    ON CONFLICT (name) DO UPDATE SET rung = l.rung + 1, rung_at = :now
""")
FREE = "l.holder IS NULL OR l.until < :now OR l.until > :furthest OR l.holder = :holder"
# Its transaction does not wait for the disk: what a crashed server forgets is a ring of the last moment (beat rings
# again) and who held the lease (rows that two pumps meet at are locked by one and passed over by the other).
RING_AND_TAKE = text(f"""
    INSERT INTO lease AS l (name, rung, rung_at, holder, until, taken_at)
    VALUES (:name, 1, :now, :holder, :until, :now)
    ON CONFLICT (name) DO UPDATE SET rung = l.rung + 1, rung_at = :now,
        holder = CASE WHEN {FREE} THEN CAST(:holder AS uuid) ELSE l.holder END,
        until = CASE WHEN {FREE} THEN CAST(:until AS timestamptz) ELSE l.until END,
        taken_at = CASE WHEN {FREE} THEN CAST(:now AS timestamptz) ELSE l.taken_at END,
        done_at = CASE WHEN l.holder = :holder THEN l.taken_at ELSE l.done_at END
    RETURNING CASE WHEN l.holder = :holder THEN l.rung END, set_config('synchronous_commit', 'off', true)
""")
# Whoever takes it again has completed a round meanwhile, whoever leaves after looking has completed the last one. Of a
# holder that died, or gave it back because it could not go on, nothing is known.
TAKE = text(f"""
    UPDATE lease AS l SET holder = :holder, until = :until, taken_at = :now,
        done_at = CASE WHEN holder = :holder THEN taken_at ELSE done_at END
    WHERE name = :name AND ({FREE})
    RETURNING rung
""")
RENEW = text("UPDATE lease SET until = :until WHERE name = :name AND holder = :holder RETURNING name")
LEAVE = text("""
    UPDATE lease SET holder = NULL, until = NULL,
        done_at = CASE WHEN CAST(:seen AS bigint) IS NULL THEN done_at ELSE taken_at END
    WHERE name = :name AND holder = :holder AND rung = coalesce(CAST(:seen AS bigint), rung)
    RETURNING name
""")


def ring(session: Session, name: str, *, now: datetime) -> None:
    """Note that the task is wanted, whether or not somebody is at it now."""
    session.connection().execute(RING, {"name": name, "now": now})


def last_rung_at(session: Session, name: str) -> datetime | None:
    """Return when the task was last rung for, None if never: beat and a worker were alive then."""
    row = session.get(LeaseRow, name)
    return row.rung_at if row is not None else None


def ring_and_take(session: Session, name: str, *, holder: UUID, now: datetime, seconds: float) -> int | None:
    """Do what `ring` and then `take` do, in one statement. For a transaction that keeps nothing else worth keeping."""
    return session.connection().execute(RING_AND_TAKE, _taking(name, holder, now, seconds)).scalar_one_or_none()


def take(session: Session, name: str, *, holder: UUID, now: datetime, seconds: float) -> int | None:
    """Become or stay the holder; return how often it was rung for by now, None when somebody else holds it."""
    return session.connection().execute(TAKE, _taking(name, holder, now, seconds)).scalar_one_or_none()


def renew(session: Session, name: str, *, holder: UUID, now: datetime, seconds: float) -> bool:
    """Keep the lease during a long round; False when somebody else has it, because it was over meanwhile."""
    parameters = {"name": name, "holder": holder, "until": now + timedelta(seconds=seconds)}
    return session.connection().execute(RENEW, parameters).scalar_one_or_none() is not None


def leave(session: Session, name: str, *, holder: UUID, seen: int | None) -> bool:
    """Give the lease back; False when it was rung for since `seen`, so that the holder must look again.

    None gives it back in any case.
    """
    left = session.connection().execute(LEAVE, {"name": name, "holder": holder, "seen": seen})
    return left.scalar_one_or_none() is not None


def _taking(name: str, holder: UUID, now: datetime, seconds: float) -> dict[str, object]:
    until = now + timedelta(seconds=seconds)
    return {"name": name, "holder": holder, "now": now, "until": until, "furthest": until + PUT_BACK}

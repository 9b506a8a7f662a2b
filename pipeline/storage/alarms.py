"""Alarms: raised once while their cause lasts, ended when it is over. Knows nothing of what is alarming."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

RAISE = text("""
    INSERT INTO alarm AS a (kind, subject, company_id, invoice_id, told, raised_at)
    VALUES (:kind, :subject, :company, :invoice, :told, :now)
    ON CONFLICT (kind, subject) WHERE ended_at IS NULL DO UPDATE SET told = excluded.told WHERE a.told <> excluded.told
    RETURNING (xmax = 0) AS is_new
""")
END = text("""
    UPDATE alarm SET ended_at = :now WHERE kind = :kind AND subject = :subject AND ended_at IS NULL RETURNING id
""")
END_OTHERS = text("""
    UPDATE alarm SET ended_at = :now
    WHERE kind = :kind AND ended_at IS NULL AND NOT subject = ANY(CAST(:still AS text[])) RETURNING subject
""")
LIST = text("""
    SELECT kind, subject, company_id, invoice_id, told, raised_at FROM alarm
    WHERE ended_at IS NULL ORDER BY raised_at, id LIMIT :limit
""")
COUNT = text("SELECT kind, count(*) AS n FROM alarm WHERE ended_at IS NULL GROUP BY kind ORDER BY kind")


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something a person must hear of, as long as it lasts."""

    kind: str
    subject: str
    company_id: UUID | None
    invoice_id: UUID | None
    told: str
    raised_at: datetime


def raise_alarm(
    session: Session,
    kind: str,
    subject: str,
    *,
    told: str,
    now: datetime,
    company_id: UUID | None = None,
    invoice_id: UUID | None = None,
) -> bool:
    """Raise an alarm; False when it is on already (its words are brought up to date then)."""
    parameters: dict[str, Any] = {"kind": kind, "subject": subject, "told": told, "now": now}
    row = session.connection().execute(RAISE, {**parameters, "company": company_id, "invoice": invoice_id})
    return bool(row.scalar_one_or_none())


def end_alarm(session: Session, kind: str, subject: str, *, now: datetime) -> bool:
    """End an alarm; False when it was not on."""
    ended = session.connection().execute(END, {"kind": kind, "subject": subject, "now": now})
    return ended.scalar_one_or_none() is not None


def end_alarms(session: Session, kind: str, *, still: Collection[str], now: datetime) -> list[str]:
    """End all alarms of a kind but those about subjects that are still so; return what they were about."""
    ended = session.connection().execute(END_OTHERS, {"kind": kind, "still": list(still), "now": now})
    return [row.subject for row in ended]


def list_alarms(session: Session, *, limit: int = 1000) -> list[Alarm]:
    """Return the alarms that are on, the oldest first."""
    rows = session.connection().execute(LIST, {"limit": limit})
    return [Alarm(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping


def count_alarms(session: Session) -> dict[str, int]:
    """Count the alarms that are on, by kind."""
    return {row.kind: row.n for row in session.connection().execute(COUNT)}

"""Cases in which the rules have a say now, and what they said. Chooses nothing."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.cause import Cause, Owner
from pipeline.domain.routing_verdicts import Verdict
from pipeline.domain.way import Way

# Nothing that is to be decided about is put away (storage/shelving.py).
TAKE = text("""
    WITH due AS (
        SELECT id FROM route_case WHERE decide_at <= :now AND status = 'open'
        ORDER BY decide_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE route_case SET decide_at = :until FROM due WHERE route_case.id = due.id RETURNING route_case.*
    )
    SELECT taken.*, company.name AS company_name, i.total, i.document_sha256, latest.channel,
        ARRAY(SELECT kind FROM way_out WHERE case_id = taken.id AND status = 'done' ORDER BY id) AS tried
    FROM taken JOIN company ON company.id = taken.company_id JOIN invoice_open AS i ON i.id = taken.invoice_id
    LEFT JOIN LATERAL (
        SELECT channel FROM failure WHERE case_id = taken.id ORDER BY id DESC LIMIT 1) AS latest ON true
    ORDER BY taken.id
""")
CONTENT = text("SELECT content FROM document WHERE sha256 = :sha256 LIMIT 1")
HOLD = text("""
    SELECT id FROM route_case WHERE id = :id AND status = 'open' AND decide_at = :until FOR NO KEY UPDATE
""")
SAY = text("UPDATE route_case SET decide_at = :at, plan = :plan, changed_at = :now WHERE id = :id")


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """An open case whose rules are to be asked, ours until an instant."""

    id: int
    company_id: UUID
    company_name: str
    verdict: Verdict
    failed_at: datetime
    channel: str | None
    """By which it failed last."""
    total: Decimal | None
    document_sha256: bytes
    tried: tuple[Way, ...]
    """Ways out carried out in this case, in order."""
    until: datetime


def take_undecided(session: Session, *, now: datetime, until: datetime, limit: int) -> list[Undecided]:
    """Take cases whose rules are to be asked; those of which nothing is recorded come again at `until`."""
    rows = session.connection().execute(TAKE, {"now": now, "until": until, "limit": limit})
    return [
        Undecided(
            id=row.id,
            company_id=row.company_id,
            company_name=row.company_name,
            verdict=Verdict(
                row=row.verdict,
                cause=Cause(row.cause),
                owner=Owner(row.owner),
                ways=frozenset(Way(way) for way in row.ways),
                words=row.words,
                advice=row.advice,
            ),
            failed_at=row.failed_at,
            channel=row.channel,
            total=row.total,
            document_sha256=row.document_sha256,
            tried=tuple(Way(kind) for kind in row.tried),
            until=until,
        )
        for row in rows
    ]


def read_content(session: Session, sha256: bytes) -> bytes:
    """Return the bytes of a stored document; none when it was dropped or expunged."""
    return bytes(session.connection().execute(CONTENT, {"sha256": sha256}).scalar_one_or_none() or b"")


def hold_undecided(session: Session, case: Undecided) -> bool:
    """Hold the row of the case; False when a person, or another router, was faster."""
    return session.connection().execute(HOLD, {"id": case.id, "until": case.until}).one_or_none() is not None


def leave_open(session: Session, case: Undecided, *, plan: str, ask_again_at: datetime | None, now: datetime) -> None:
    """Say what happens next to a case that stays open: the rules at an instant, or a person."""
    session.connection().execute(SAY, {"id": case.id, "at": ask_again_at, "plan": plan, "now": now})

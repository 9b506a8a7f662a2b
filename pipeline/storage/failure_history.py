"""Failures of the past with what was done about them, page by page. Reads only, and the database sees to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

READ_ONLY = text("SET TRANSACTION READ ONLY")
PAGE = text("""
    SELECT f.id, f.case_id, f.invoice_id, f.at, f.refused, f.told, f.key, f.channel, f.code, f.verdict,
        i.company_id, company.name AS company_name, i.total, i.document_sha256,
        later.at AS failed_again_at, took.kind AS took, took.chosen_by, took.planned_at AS took_at,
        coalesce(tried.kinds, ARRAY[]::text[]) AS tried,
        CASE WHEN later.at IS NULL AND c.status = 'closed' THEN c.changed_at END AS closed_at,
        later.at IS NULL AND coalesce(carrier.state, i.state) = 'delivered' AS delivered,
        NOT EXISTS (SELECT 1 FROM failure AS p WHERE p.case_id = f.case_id AND p.id < f.id AND p.at >= :since)
            AS is_first
    FROM failure AS f
    JOIN route_case AS c ON c.id = f.case_id
    JOIN invoice AS i ON i.id = f.invoice_id
    JOIN company ON company.id = i.company_id
    LEFT JOIN LATERAL (
        SELECT n.at FROM failure AS n WHERE n.case_id = f.case_id AND n.id > f.id ORDER BY n.id LIMIT 1
    ) AS later ON true
    LEFT JOIN LATERAL (
        SELECT w.kind, w.chosen_by, w.planned_at, coalesce(w.successor_id, w.invoice_id) AS carrier_id
        FROM way_out AS w
        WHERE w.case_id = f.case_id AND w.status NOT IN ('undone', 'skipped')
            AND w.planned_at >= f.at AND (later.at IS NULL OR w.planned_at < later.at)
        ORDER BY w.id LIMIT 1
    ) AS took ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(w.kind ORDER BY w.id) AS kinds FROM way_out AS w
        WHERE w.case_id = f.case_id AND w.status NOT IN ('undone', 'skipped') AND w.planned_at < f.at
    ) AS tried ON true
    LEFT JOIN invoice AS carrier ON carrier.id = took.carrier_id
    WHERE f.at >= :since AND (f.at, f.id) > (:after_at, :after_id)
        AND (CAST(:company AS uuid) IS NULL OR c.company_id = :company)
    ORDER BY f.at, f.id LIMIT :limit
""")
CONTENT = text("SELECT content FROM document WHERE sha256 = :sha256 LIMIT 1")


@dataclass(frozen=True, kw_only=True)
class PastFailure:
    """One failure as it was told then, and what became of it."""

    id: int
    case_id: int
    invoice_id: UUID
    at: datetime
    refused: bool
    told: str | None
    key: str | None
    channel: str | None
    code: str | None
    verdict: str
    """The row that judged it then."""
    company_id: UUID
    company_name: str
    total: Decimal | None
    document_sha256: bytes
    tried: tuple[str, ...]
    """Ways out taken in the same case before it failed this time."""
    took: str | None
    """The way out that was taken then."""
    chosen_by: str | None
    took_at: datetime | None
    failed_again_at: datetime | None
    closed_at: datetime | None
    delivered: bool
    """Whether it never failed again and was delivered."""
    is_first: bool
    """Whether it is the first of its case within the time looked at."""


def promise_to_read_only(session: Session) -> None:
    """Have the database refuse every change in this transaction; call it first."""
    session.connection().execute(READ_ONLY)


def read_past_failures(
    session: Session, *, since: datetime, company_id: UUID | None, after: tuple[datetime, int], limit: int
) -> Sequence[PastFailure]:
    """Return the next failures in order of time; `after` is the instant and id of the last one seen."""
    rows = session.connection().execute(
        PAGE,
        {"since": since, "company": company_id, "after_at": after[0], "after_id": after[1], "limit": limit},
    )
    return [PastFailure(**{**row, "tried": tuple(row["tried"])}) for row in rows.mappings()]


def read_content(session: Session, sha256: bytes) -> bytes:
    """Return a document's bytes; none when it was dropped or expunged."""
    return bytes(session.connection().execute(CONTENT, {"sha256": sha256}).scalar_one_or_none() or b"")

"""What makes a look come early: the daily pass over everything open, and failures that somebody else tells of.

A hint changes nothing but when the operator is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.storage.shelving import bring_back

RING_UNSEEN = text("""
    WITH piece AS (
        SELECT i.id FROM invoice_open AS i
        WHERE i.id > :after AND coalesce(i.seen_at, i.accepted_at) < :before AND (i.look_at IS NULL OR i.look_at > :now)
            AND (i.state = 'accepted' OR i.state = 'delivered' AND i.accepted_at > :accepted_after OR i.state = 'failed'
                AND NOT EXISTS (SELECT 1 FROM route_case WHERE invoice_id = i.id AND status = 'closed'))
        ORDER BY i.id LIMIT :limit FOR NO KEY UPDATE OF i
    )
    UPDATE invoice_open AS invoice SET look_at = :now FROM piece WHERE invoice.id = piece.id RETURNING invoice.id
""")
PARTNERS = text("""
    SELECT id, errors_read_until FROM company
    WHERE hold_reason IS NULL AND :scope = ANY(string_to_array(scopes, ' ')) ORDER BY id
""")
HINT = text("""
    WITH hinted AS (
        SELECT i.id FROM invoice_open AS i JOIN unnest(CAST(:ids AS uuid[]), CAST(:companies AS uuid[]))
            AS hint (id, company_id) ON i.id = hint.id AND i.company_id = hint.company_id
        WHERE i.state IN ('accepted', 'delivered') ORDER BY i.id FOR NO KEY UPDATE OF i
    )
    UPDATE invoice_open AS invoice
    SET look_at = least(look_at, :now) FROM hinted WHERE invoice.id = hinted.id RETURNING invoice.id
""")
READ_UNTIL = text("UPDATE company SET errors_read_until = :until WHERE id = :id")


@dataclass(frozen=True, kw_only=True)
class Partner:
    """A company whose keys may read the failures across a partner's companies."""

    id: UUID
    errors_read_until: datetime | None


def ring_unseen(
    session: Session, *, after: UUID, before: datetime, accepted_after: datetime, now: datetime, limit: int
) -> list[UUID]:
    """Make open invoices with an id beyond `after` due that the operator has not shown since `before`.

    Open is what is accepted, delivered (accepted since `accepted_after`), or failed with no closed case.
    """
    parameters = {"after": after, "before": before, "accepted_after": accepted_after, "now": now, "limit": limit}
    return sorted(row.id for row in session.connection().execute(RING_UNSEEN, parameters))


def list_partners(session: Session, *, scope: str) -> list[Partner]:
    """Return the companies that have a scope and are not held."""
    rows = session.connection().execute(PARTNERS, {"scope": scope})
    return [Partner(id=row.id, errors_read_until=row.errors_read_until) for row in rows]


def hint_failures(session: Session, failures: Sequence[tuple[UUID, UUID]], *, now: datetime) -> int:
    """Make invoices due that are said to have failed, given as (company, invoice); return how many are open."""
    parameters = {"ids": [uuid for _, uuid in failures], "companies": [one for one, _ in failures], "now": now}
    bring_back(session, [uuid for _, uuid in failures])
    return len(session.connection().execute(HINT, parameters).all())


def save_errors_read(session: Session, company_id: UUID, *, until: datetime) -> None:
    """Keep how far the partner error list was read with a company's keys."""
    session.connection().execute(READ_UNTIL, {"id": company_id, "until": until})

"""Putting finished invoices away, out of the table that open work is found in, and bringing them back.

A shelf is a part of the invoice table: 0 for what may change soon, and one for each month. What is put away is put on
the shelf of the month in which that is done, so that only the newest ones are written to.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.storage.tables import RESTING_SQL

# What the daily pass still asks about stays, and so does what somebody may decide about: a failure rests once a person
# closed its case. What the router takes it looks for among the open ones alone. Whoever holds a row is about to change
# it.
SHELVE = text(f"""
    WITH resting AS (
        SELECT id FROM invoice_open AS i
        WHERE {RESTING_SQL} AND changed_at <= :rested_since AND (
            state IN ('superseded', 'cancelled') OR state = 'delivered' AND accepted_at <= :accepted_before
            OR EXISTS (SELECT 1 FROM route_case AS c WHERE c.invoice_id = i.id AND c.status = 'closed'))
            AND NOT EXISTS (SELECT 1 FROM route_case AS c WHERE c.invoice_id = i.id AND c.decide_at IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM way_out AS w WHERE w.invoice_id = i.id
                AND w.status IN ('planned', 'begun', 'unclear'))
            AND NOT EXISTS (SELECT 1 FROM alarm AS a WHERE a.invoice_id = i.id AND a.ended_at IS NULL)
        ORDER BY changed_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE invoice SET shelf = :shelf FROM resting WHERE invoice.id = resting.id AND shelf = 0 RETURNING invoice.id
""")
# What was put away before there were shelves does not know where its document is, nor how many attempts it had.
BRING_BACK = text("""
    UPDATE invoice SET shelf = 0,
        attempts = greatest(attempts, (SELECT max(number) FROM attempt AS a WHERE a.invoice_id = invoice.id)),
        document_at = coalesce(document_at, (
            SELECT max(d.created_at) FROM document AS d WHERE d.sha256 = document_sha256), submitted_at)
    WHERE id = ANY(:ids) AND shelf <> 0 RETURNING id
""")


def shelve(session: Session, *, rested_since: datetime, accepted_before: datetime, now: datetime, limit: int) -> int:
    """Put up to `limit` finished invoices on the shelf of this month; return how many.

    Finished is what nothing is due for and nobody decides about, unchanged since `rested_since`; the delivered not
    before the daily pass leaves them alone: accepted at or before `accepted_before`.
    """
    parameters = {
        "rested_since": rested_since,
        "accepted_before": accepted_before,
        "shelf": now.year * 100 + now.month,
        "limit": limit,
    }
    return len(session.connection().execute(SHELVE, parameters).all())


def bring_back(session: Session, ids: Sequence[UUID]) -> list[UUID]:
    """Put invoices back among the open ones, because something is to happen to them; return those that were away."""
    return list(session.connection().execute(BRING_BACK, {"ids": list(ids)}).scalars())

"""Looking without touching: one invoice with its story, and counts. For people's commands only; lists: listing.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from pipeline.domain.errors import UnknownInvoiceError
from pipeline.domain.state import State
from pipeline.storage.batch_tables import BatchRow
from pipeline.storage.case_tables import CaseRow, FailureRow, OperatorActionRow, WayOutRow
from pipeline.storage.tables import AttemptRow, CompanyRow, EventRow, InvoiceKeyRow, InvoiceRow

PROGRESS = text("""
    SELECT state, count(*) AS invoices, count(*) FILTER (WHERE accepted_at IS NOT NULL) AS accepted
    FROM invoice GROUP BY state
""")
TIMEOUTS_SURVIVED = text("""
    SELECT count(*) FROM attempt JOIN invoice ON invoice.id = attempt.invoice_id
    WHERE attempt.kind = 'upload' AND invoice.accepted_at IS NOT NULL
        AND (attempt.outcome = 'in_doubt' OR attempt.outcome IS NULL)
""")

# Company by company, each in its index, and no further than a number: beside a backlog of a million it is as cheap.
OVERDUE = text("""
    SELECT count(*) FROM (
        SELECT 1 FROM company CROSS JOIN LATERAL (
            SELECT 1 FROM invoice_open WHERE company_id = company.id AND state IN ('queued', 'waiting', 'in_doubt')
                AND due_at < :before LIMIT :at_most) AS own
        WHERE hold_reason IS NULL LIMIT :at_most) AS first
""")


CHAIN = text("""
    WITH RECURSIVE earlier AS (
        SELECT id, supersedes, 0 AS place FROM invoice WHERE id = :id
        UNION ALL
        SELECT i.id, i.supersedes, e.place - 1 FROM invoice AS i JOIN earlier AS e ON i.id = e.supersedes
        WHERE e.place > -:most
    ), later AS (
        SELECT id, 0 AS place FROM invoice WHERE id = :id
        UNION ALL
        SELECT i.id, l.place + 1 FROM invoice AS i
        JOIN later AS l ON i.supersedes = l.id AND i.state <> 'cancelled' WHERE l.place < :most
    )
    SELECT id FROM (SELECT id, place FROM earlier UNION SELECT id, place FROM later) AS chain ORDER BY place
""")
"""Every invoice that took another's place, from the first to the last; a cancelled one took nobody's."""
LONGEST_CHAIN = 100
CLOCK_JUMP = timedelta(days=1)
"""Nothing happens to an invoice before it is submitted, but on a clock that is put back: older months are left out."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One invoice of a chain in which each took the place of the one before."""

    invoice_id: UUID
    number: str | None
    state: State
    submitted_at: datetime
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Story:
    """An invoice with everything that happened to it, in order."""

    invoice: InvoiceRow
    company: CompanyRow
    batch: str | None
    attempts: Sequence[AttemptRow]
    events: Sequence[EventRow]
    case: CaseRow | None
    """The case it is in, or was in before another invoice took its place."""
    failures: Sequence[FailureRow]
    """Of the whole case, those of earlier and later invoices too."""
    ways_out: Sequence[WayOutRow]
    """As failures."""
    actions: Sequence[OperatorActionRow]
    chain: tuple[Link, ...]
    """From the first invoice to the last; only this one when nothing was resent."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Counts over all invoices of the installation."""

    by_state: dict[State, int]
    accepted: int
    """All that the operator ever took, whatever became of them."""


def read_story(session: Session, invoice_id: UUID) -> Story:
    """Return an invoice with its attempts and events. Raises: UnknownInvoiceError."""
    invoice = _find_invoice(session, invoice_id)
    if invoice is None and session.get(InvoiceKeyRow, invoice_id) is not None:
        raise UnknownInvoiceError(
            f"invoice {invoice_id} was here and its record was dropped (docs/history.md); its UUID is never used again"
        )
    if invoice is None:
        raise UnknownInvoiceError(f"unknown invoice {invoice_id}: `postiljon list` shows what there is")
    company = session.get_one(CompanyRow, invoice.company_id)
    batch = session.get(BatchRow, invoice.batch_id) if invoice.batch_id is not None else None
    since = invoice.submitted_at - CLOCK_JUMP
    attempts = session.exec(
        select(AttemptRow)
        .where(AttemptRow.invoice_id == invoice_id, AttemptRow.started_at >= since)
        .order_by(col(AttemptRow.number))
    ).all()
    events = session.exec(
        select(EventRow).where(EventRow.invoice_id == invoice_id, EventRow.at >= since).order_by(col(EventRow.id))
    ).all()
    actions = session.exec(
        select(OperatorActionRow)
        .where(OperatorActionRow.invoice_id == invoice_id)
        .order_by(func.coalesce(OperatorActionRow.happened_at, OperatorActionRow.read_at), col(OperatorActionRow.id))
    ).all()
    case = _find_case(session, invoice_id)
    failures, ways_out = _read_history(session, case.id) if case else ((), ())
    return Story(
        invoice=invoice,
        company=company,
        batch=batch.name if batch else None,
        attempts=attempts,
        events=events,
        case=case,
        failures=failures,
        ways_out=ways_out,
        actions=actions,
        chain=read_chain(session, invoice_id),
    )


def _find_invoice(session: Session, invoice_id: UUID) -> InvoiceRow | None:
    # One question about both would be planned with every month there is; people mostly ask about what is open.
    wanted = select(InvoiceRow).where(col(InvoiceRow.id) == invoice_id)
    return session.exec(wanted.where(InvoiceRow.shelf == 0)).one_or_none() or session.exec(wanted).one_or_none()


def _find_case(session: Session, invoice_id: UUID) -> CaseRow | None:
    case = session.exec(select(CaseRow).where(CaseRow.invoice_id == invoice_id)).one_or_none()
    if case is not None:
        return case
    # A case goes over to the successor; the failures stay with the invoice that failed.
    failed = select(FailureRow.case_id).where(FailureRow.invoice_id == invoice_id).limit(1)
    return session.exec(select(CaseRow).where(col(CaseRow.id).in_(failed))).one_or_none()


def _read_history(session: Session, case_id: int) -> tuple[Sequence[FailureRow], Sequence[WayOutRow]]:
    failures = session.exec(select(FailureRow).where(FailureRow.case_id == case_id).order_by(col(FailureRow.id)))
    ways = session.exec(select(WayOutRow).where(WayOutRow.case_id == case_id).order_by(col(WayOutRow.id)))
    return failures.all(), ways.all()


def read_chain(session: Session, invoice_id: UUID) -> tuple[Link, ...]:
    """Return every invoice that took another's place around one, from the first to the last."""
    invoice = _find_invoice(session, invoice_id)
    if invoice is None:
        return ()
    # Whoever takes its place makes it superseded in the same transaction, and that is for ever.
    if invoice.supersedes is None and invoice.state != State.SUPERSEDED:
        return (_link(invoice),)
    # By name and in a statement of their own: the planner expects many from a recursion, and would read every invoice.
    ids = session.connection().execute(CHAIN, {"id": invoice_id, "most": LONGEST_CHAIN}).scalars().all()
    rows = session.exec(select(InvoiceRow).where(col(InvoiceRow.id).in_(ids))).all()
    return tuple(_link(row) for row in sorted(rows, key=lambda row: ids.index(row.id)))


def _link(row: InvoiceRow) -> Link:
    return Link(
        invoice_id=row.id,
        number=row.number,
        state=State(row.state),
        submitted_at=row.submitted_at,
        changed_at=row.changed_at,
    )


def read_progress(session: Session) -> Progress:
    """Count the invoices by state."""
    rows: Sequence[Any] = session.connection().execute(PROGRESS).all()
    return Progress(
        by_state={State(row.state): row.invoices for row in rows}, accepted=sum(row.accepted for row in rows)
    )


def read_states(session: Session) -> dict[UUID, State]:
    """Return the state of every invoice; for installations as small as a demo."""
    rows = session.exec(select(InvoiceRow.id, InvoiceRow.state)).all()
    return {invoice_id: State(state) for invoice_id, state in rows}


def count_timeouts_survived(session: Session) -> int:
    """Count uploads that ended without a clear answer and whose invoice the operator holds all the same."""
    return int(session.connection().execute(TIMEOUTS_SURVIVED).scalar_one())


def count_companies(session: Session) -> int:
    """Count the companies."""
    return session.exec(select(func.count()).select_from(CompanyRow)).one()


def count_overdue(session: Session, *, before: datetime, at_most: int) -> int:
    """Count invoices, up to a number, of companies not on hold that have been due since before an instant."""
    return int(session.connection().execute(OVERDUE, {"before": before, "at_most": at_most}).scalar_one())

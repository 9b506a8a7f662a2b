"""Which invoices a list shows: newest first, page by page, each filter served by an index that has this order.

A page costs the same at the end of a list as at its beginning, beside ten million invoices as beside ten. Counts come
from the maintained counters alone. Used by people's commands only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, lateral, select, text, true, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from pipeline.domain.errors import UnknownInvoiceError
from pipeline.domain.state import State
from pipeline.storage.batch_tables import BatchRow
from pipeline.storage.tables import CompanyRow, InvoiceRow

COUNT = text("""
    SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM (
        SELECT subject, company_id, name, n FROM tally UNION ALL SELECT subject, company_id, name, n FROM tally_delta
    ) AS counted
    WHERE subject = 'invoice' AND (CAST(:company AS uuid) IS NULL OR company_id = :company)
        AND (CAST(:state AS text) IS NULL OR name = :state)
""")


@dataclass(frozen=True, kw_only=True)
class InvoiceFilter:
    """Which invoices a list shows; None means any."""

    state: State | None = None
    company_id: UUID | None = None
    batch: str | None = None
    number: str | None = None
    since: datetime | None = None
    before: UUID | None = None
    """Only what stands below this invoice in the list: the next page."""
    limit: int = 50


def list_invoices(session: Session, wanted: InvoiceFilter) -> Sequence[tuple[InvoiceRow, str]]:
    """Return invoices with their company's name, the newest first. Raises: UnknownInvoiceError for `before`."""
    conditions = _conditions(wanted)
    if wanted.before is not None:
        conditions.append(_below(session, wanted.before))
    page = _page_of_batches(wanted, conditions) if wanted.batch is not None else _page(conditions, wanted.limit)
    # The page first, the companies then: joined before, they would be joined to all that is passed over. And the rows
    # whole: looked up by id once more, each would be looked for on every shelf.
    listed = aliased(InvoiceRow, page.subquery())
    query = (
        select(listed, CompanyRow.name)  # type: ignore[call-overload] # a class of SQLModel is an entity
        .join(CompanyRow, col(CompanyRow.id) == col(listed.company_id))
        .order_by(*_newest_first(listed))
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def count_listed(session: Session, wanted: InvoiceFilter) -> int | None:
    """Return how many invoices a list has on all its pages together, None where no counter tells it."""
    if any(each is not None for each in (wanted.batch, wanted.number, wanted.since)):
        return None
    parameters = {"company": wanted.company_id, "state": wanted.state.value if wanted.state else None}
    return int(session.connection().execute(COUNT, parameters).scalar_one())


def _conditions(wanted: InvoiceFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        # Written out as a constant: only so does the planner see that a partial index serves.
        conditions.append(col(InvoiceRow.state) == bindparam(None, wanted.state.value, literal_execute=True))
    if wanted.company_id is not None:
        conditions.append(col(InvoiceRow.company_id) == wanted.company_id)
    if wanted.number is not None:
        conditions.append(col(InvoiceRow.number) == wanted.number)
    if wanted.since is not None:
        conditions.append(col(InvoiceRow.submitted_at) >= wanted.since)
    return conditions


def _below(session: Session, invoice_id: UUID) -> ColumnElement[bool]:
    submitted_at = session.execute(
        select(col(InvoiceRow.submitted_at)).where(col(InvoiceRow.id) == invoice_id)
    ).scalar_one_or_none()
    if submitted_at is None:
        raise UnknownInvoiceError(f"unknown invoice {invoice_id}: give --before a UUID that a list has shown")
    return tuple_(col(InvoiceRow.submitted_at), col(InvoiceRow.id)) < (submitted_at, invoice_id)


def _page(conditions: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    chosen: Select[Any] = select(InvoiceRow)
    return chosen.where(*conditions).order_by(*_newest_first(InvoiceRow)).limit(limit)


def _page_of_batches(wanted: InvoiceFilter, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    # Several companies may have a batch of the same name. Each in the order of its index, then the newest of all.
    batches: Select[Any] = select(col(BatchRow.id).label("named_id")).where(col(BatchRow.name) == wanted.batch)
    if wanted.company_id is not None:
        batches = batches.where(col(BatchRow.company_id) == wanted.company_id)
    named = batches.subquery()
    own = lateral(_page([*conditions, col(InvoiceRow.batch_id) == named.c.named_id], wanted.limit))
    newest: Select[Any] = select(own).select_from(named).join(own, true())
    return newest.order_by(own.c.submitted_at.desc(), own.c.id.desc()).limit(wanted.limit)


def _newest_first(listed: type[InvoiceRow]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return col(listed.submitted_at).desc(), col(listed.id).desc()

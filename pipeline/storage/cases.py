"""Reading cases for people: one with its whole history, or many by filter. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session, col, select

from pipeline.domain.errors import InvalidInputError
from pipeline.domain.state import State
from pipeline.storage.case_tables import FailureRow, WayOutRow

VIEW = """
    SELECT c.id, c.company_id, company.name AS company_name, c.invoice_id, c.status, c.round, c.cause, c.owner,
        c.verdict, c.verdict_version, c.words, c.advice, c.ways, c.failed_at, c.decide_at, c.plan, c.opened_at,
        c.changed_at, c.closed_reason, i.number, i.buyer_name AS buyer, i.total, i.currency, i.state,
        batch.name AS batch
    FROM route_case AS c JOIN invoice AS i ON i.id = c.invoice_id JOIN company ON company.id = c.company_id
    LEFT JOIN batch ON batch.id = i.batch_id
"""
LIST = text(f"""{VIEW}
    WHERE (CAST(:status AS text) IS NULL OR c.status = :status)
        AND (CAST(:cause AS text) IS NULL OR c.cause = :cause)
        AND (CAST(:owner AS text) IS NULL OR c.owner = :owner)
        AND (CAST(:company AS uuid) IS NULL OR c.company_id = :company)
        AND (CAST(:since AS timestamptz) IS NULL OR c.failed_at >= :since)
        AND (CAST(:batch AS text) IS NULL OR batch.name = :batch)
        AND (CAST(:verdict AS text) IS NULL OR c.verdict = :verdict)
    ORDER BY c.opened_at, c.id LIMIT :limit
""")
BY_ID = text(f"{VIEW} WHERE c.id = :id")
BY_INVOICE = text("""
    SELECT id FROM route_case WHERE invoice_id = :invoice
    UNION SELECT case_id FROM failure WHERE invoice_id = :invoice LIMIT 1
""")


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """A case with what people know its invoice by."""

    id: int
    company_id: UUID
    company_name: str
    invoice_id: UUID
    """The invoice it is about now: the latest successor."""
    status: str
    """open, under_way, resolved or closed."""
    round: int
    """How often it has failed, the first time included."""
    cause: str
    owner: str
    verdict: str
    verdict_version: str
    words: str
    advice: str
    ways: tuple[str, ...]
    failed_at: datetime
    decide_at: datetime | None
    plan: str | None
    opened_at: datetime
    changed_at: datetime
    closed_reason: str | None
    number: str | None
    buyer: str | None
    total: Decimal | None
    currency: str | None
    state: State
    batch: str | None


@dataclass(frozen=True, kw_only=True)
class CaseFilter:
    """Which cases are meant; what is None does not matter."""

    cause: str | None = None
    owner: str | None = None
    company_id: UUID | None = None
    since: datetime | None = None
    """Those that failed last at this instant or later."""
    batch: str | None = None
    """The batch's name; give the company too, for names are a company's own."""
    status: str | None = None
    verdict: str | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class CaseHistory:
    """A case with everything that led to where it stands, through all invoices that took another's place."""

    case: CaseView
    failures: Sequence[FailureRow]
    """In the order they were found."""
    ways_out: Sequence[WayOutRow]
    """In the order they were planned."""
    invoices: tuple[UUID, ...]
    """The invoices of the case, the first one first."""


def list_cases(session: Session, wanted: CaseFilter) -> list[CaseView]:
    """Return the cases that fit, the oldest first."""
    parameters = {
        "status": wanted.status,
        "cause": wanted.cause,
        "owner": wanted.owner,
        "company": wanted.company_id,
        "since": wanted.since,
        "batch": wanted.batch,
        "verdict": wanted.verdict,
        "limit": wanted.limit,
    }
    return [_view(row) for row in session.connection().execute(LIST, parameters).mappings()]


def read_case(session: Session, named: int | UUID) -> CaseHistory:
    """Return a case by its id, or by the UUID of any invoice that was in it.

    Raises: InvalidInputError when there is none.
    """
    case_id = _case_of(session, named) if isinstance(named, UUID) else named
    row = session.connection().execute(BY_ID, {"id": case_id}).mappings().one_or_none()
    if row is None:
        raise InvalidInputError(f"there is no case {named}: list them with `postiljon cases list`")
    case = _view(row)
    failures = session.exec(select(FailureRow).where(FailureRow.case_id == case.id).order_by(col(FailureRow.id))).all()
    ways = session.exec(select(WayOutRow).where(WayOutRow.case_id == case.id).order_by(col(WayOutRow.id))).all()
    invoices = dict.fromkeys([each.invoice_id for each in failures] + [each.invoice_id for each in ways])
    return CaseHistory(
        case=case, failures=failures, ways_out=ways, invoices=tuple(dict.fromkeys([*invoices, case.invoice_id]))
    )


def _case_of(session: Session, invoice_id: UUID) -> int | None:
    found: int | None = session.connection().execute(BY_INVOICE, {"invoice": invoice_id}).scalar_one_or_none()
    return found


def _view(row: Any) -> CaseView:
    return CaseView(**{**row, "ways": tuple(row["ways"]), "state": State(row["state"])})

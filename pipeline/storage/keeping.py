"""For how many months a company keeps what is finished, where it has months of its own."""

from uuid import UUID

from sqlmodel import Session

from pipeline.domain.retention import Keep
from pipeline.storage.tables import CompanyRow


def read_keep(session: Session, company_id: UUID) -> Keep:
    """Return a company's own months; the company exists."""
    row = session.get_one(CompanyRow, company_id)
    return Keep(delivered=row.keep_delivered_months, failed=row.keep_failed_months, documents=row.keep_documents_months)


def save_keep(session: Session, company_id: UUID, keep: Keep) -> None:
    """Set a company's own months; the company exists. They count from the next night on."""
    row = session.get_one(CompanyRow, company_id)
    row.keep_delivered_months, row.keep_failed_months = keep.delivered, keep.failed
    row.keep_documents_months = keep.documents
    session.add(row)
    session.flush()

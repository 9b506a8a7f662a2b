"""Writing new invoices inside the caller's transaction. Decides nothing but whether a UUID is taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State
from pipeline.storage.tables import InvoiceRow

KEEP_DOCUMENT = text("""
    INSERT INTO document (sha256, content, size, kind, created_at) VALUES (:sha256, :content, :size, :kind, :now)
    ON CONFLICT (sha256) DO NOTHING
""")
MAKE_BATCH = text("""
    INSERT INTO batch (company_id, name, created_at) VALUES (:company, :name, :now) ON CONFLICT DO NOTHING
""")
FIND_BATCH = text("SELECT id FROM batch WHERE company_id = :company AND name = :name")
INSERT = text("""
    INSERT INTO invoice (id, company_id, batch_id, document_sha256, size, filename, reference, options, state, epoch,
        due_at, uploads, tries, looks, number, format, issue_date, total, currency, seller_name, buyer_name,
        deadline, submitted_at, changed_at)
    VALUES (:id, :company, :batch, :sha256, :size, :filename, :reference, CAST(:options AS jsonb), 'queued', 0,
        :now, 0, 0, 0, :number, :format, :issue_date, :total, :currency, :seller_name, :buyer_name,
        :deadline, :now, :now)
    ON CONFLICT (id) DO NOTHING RETURNING id
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:id, :now, 'submitted', NULL, 'queued', :cause)
""")


@dataclass(frozen=True, kw_only=True)
class NewInvoice:
    """What is stored of a submitted invoice. `options` is plain JSON; the header fields are for people and search."""

    id: UUID
    company_id: UUID
    content: bytes = field(repr=False)
    sha256: bytes
    kind: str
    filename: str
    reference: str | None
    batch: str | None
    options_json: str
    format: str
    number: str | None
    issue_date: date | None
    total: Decimal | None
    currency: str | None
    seller_name: str | None
    buyer_name: str | None
    deadline: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What stands under a UUID."""

    company_id: UUID
    sha256: bytes
    options: Mapping[str, Any]
    state: State


def insert_invoice(session: Session, new: NewInvoice, *, now: datetime) -> bool:
    """Write document, invoice and event; False when the UUID is taken and nothing of the invoice was written."""
    connection = session.connection()
    batch = open_batch(session, new.company_id, new.batch, now=now) if new.batch else None
    size = len(new.content)
    document = {"sha256": new.sha256, "content": new.content, "size": size, "kind": new.kind, "now": now}
    connection.execute(KEEP_DOCUMENT, document)
    invoice = {
        "id": new.id,
        "company": new.company_id,
        "batch": batch,
        "sha256": new.sha256,
        "size": size,
        "filename": new.filename,
        "reference": new.reference,
        "options": new.options_json,
        "format": new.format,
        "number": new.number,
        "issue_date": new.issue_date,
        "total": new.total,
        "currency": new.currency,
        "seller_name": new.seller_name,
        "buyer_name": new.buyer_name,
        "deadline": new.deadline,
        "now": now,
    }
    if connection.execute(INSERT, invoice).one_or_none() is None:
        return False
    cause = f"submitted as {new.filename}" + (f" in batch {new.batch}" if new.batch else "")
    connection.execute(NOTE, {"id": new.id, "now": now, "cause": cause})
    return True


def open_batch(session: Session, company_id: UUID, name: str, *, now: datetime) -> int:
    """Return the id of the company's batch of that name, made if it is not there."""
    connection, key = session.connection(), {"company": company_id, "name": name}
    # Found first and never locked: two producers of one batch must not wait for each other's whole transaction.
    found = connection.execute(FIND_BATCH, key).scalar_one_or_none()
    if found is None:
        connection.execute(MAKE_BATCH, {**key, "now": now})
        found = connection.execute(FIND_BATCH, key).scalar_one()
    return int(found)


def find_stored(session: Session, invoice_id: UUID) -> Stored | None:
    """Return what stands under a UUID, None if nothing does."""
    row = session.get(InvoiceRow, invoice_id)
    if row is None:
        return None
    return Stored(company_id=row.company_id, sha256=row.document_sha256, options=row.options, state=State(row.state))

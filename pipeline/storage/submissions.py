"""Writing new invoices inside the caller's transaction. Decides nothing but whether a UUID is taken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg import errors as pg
from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import State

KEEP_DOCUMENT = text("""
    INSERT INTO document (sha256, content, size, kind, created_at) VALUES (:sha256, :content, :size, :kind, :now)
    ON CONFLICT (sha256, created_at) DO NOTHING
""")
MAKE_BATCH = text("""
    INSERT INTO batch (company_id, name, created_at) VALUES (:company, :name, :now) ON CONFLICT DO NOTHING
""")
FIND_BATCH = text("SELECT id FROM batch WHERE company_id = :company AND name = :name")
INSERT = text("""
    INSERT INTO invoice_open (id, company_id, batch_id, document_sha256, document_at, size, filename, reference,
        options, state, epoch, due_at, uploads, tries, looks, number, format, issue_date, total, currency, seller_name,
        buyer_name, deadline, not_before, priority, submitted_at, changed_at)
    SELECT :id, :company, :batch, :sha256, :now, :size, :filename, :reference, CAST(:options AS jsonb), 'queued', 0,
        :now, 0, 0, 0, :number, :format, :issue_date, :total, :currency, :seller_name, :buyer_name,
        :deadline, :not_before, :priority, :now, :now
    WHERE NOT EXISTS (SELECT 1 FROM invoice_key WHERE id = :id)
    ON CONFLICT (id, shelf) DO NOTHING RETURNING id
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:id, :now, 'submitted', NULL, 'queued', :cause)
""")


KNOWN_DOCUMENTS = text("""
    SELECT sha256 FROM document WHERE sha256 = ANY(CAST(:hashes AS bytea[])) AND created_at = :now
""")
COPY_DOCUMENTS = "COPY document (sha256, content, size, kind, created_at) FROM STDIN (FORMAT BINARY)"
DOCUMENT_TYPES = ("bytea", "bytea", "int8", "text", "timestamptz")
COLUMNS = {
    "id": "uuid",
    "company_id": "uuid",
    "batch_id": "bigint",
    "document_sha256": "bytea",
    "size": "bigint",
    "filename": "text",
    "reference": "text",
    "options": "text",
    "number": "text",
    "format": "text",
    "issue_date": "date",
    "total": "numeric",
    "currency": "text",
    "seller_name": "text",
    "buyer_name": "text",
    "deadline": "timestamptz",
    "not_before": "timestamptz",
    "priority": "smallint",
    "cause": "text",
}
"""What a bulk statement is given of each invoice, one array a column. No temporary table: those change the catalog with
every group, need a right of their own, and would write each document twice."""
# OFFSET 0: each UUID is looked up by its index. As a join, every UUID there ever was would be read for a group of 500.
INSERT_MANY = text(f"""
    WITH given AS (
        SELECT * FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in COLUMNS.items())})
            AS given ({", ".join(COLUMNS)})
    ), made AS (
        INSERT INTO invoice_open (id, company_id, batch_id, document_sha256, document_at, size, filename, reference,
            options, state, epoch, due_at, uploads, tries, looks, number, format, issue_date, total, currency,
            seller_name, buyer_name, deadline, not_before, priority, submitted_at, changed_at)
        SELECT id, company_id, batch_id, document_sha256, :now, size, filename, reference, CAST(options AS jsonb),
            'queued', 0, :now, 0, 0, 0, number, format, issue_date, total, currency, seller_name, buyer_name,
            deadline, not_before, priority, :now, :now
        FROM given WHERE NOT EXISTS (SELECT 1 FROM invoice_key AS k WHERE k.id = given.id OFFSET 0) ORDER BY id
        ON CONFLICT (id, shelf) DO NOTHING RETURNING id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'submitted', NULL, 'queued', cause FROM made JOIN given USING (id)
    RETURNING invoice_id
""")
FIND_STORED = text("""
    SELECT id, company_id, document_sha256, options, state, number, format, issue_date, total, currency, seller_name,
        buyer_name
    FROM invoice WHERE id = ANY(CAST(:ids AS uuid[]))
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
    not_before: datetime | None = None
    """The guard of the table makes it due no earlier."""
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What stands under a UUID."""

    company_id: UUID
    sha256: bytes
    options: Mapping[str, Any]
    state: State
    format: str
    number: str | None = None
    issue_date: date | None = None
    total: Decimal | None = None
    currency: str | None = None
    seller_name: str | None = None
    buyer_name: str | None = None


def insert_invoice(session: Session, new: NewInvoice, *, now: datetime) -> bool:
    """Write document, invoice and event; False when the UUID is taken and nothing of the invoice was written."""
    connection = session.connection()
    batch = open_batch(session, new.company_id, new.batch, now=now) if new.batch else None
    size = len(new.content)
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
        "not_before": new.not_before,
        "priority": new.priority,
        "now": now,
    }
    if connection.execute(INSERT, invoice).one_or_none() is None:
        return False
    connection.execute(KEEP_DOCUMENT, _document(new, now=now))
    connection.execute(NOTE, {"id": new.id, "now": now, "cause": _cause(new)})
    return True


def insert_invoices(session: Session, news: Sequence[NewInvoice], *, now: datetime) -> set[UUID]:
    """Write documents, invoices and events of many at once; return the UUIDs that were not taken before.

    Of two with one UUID the first counts. Everything is written in the order of its keys, so that two groups of the
    same files, written at the same time in whatever order, wait for each other and never in a circle.
    """
    first = {new.id: new for new in reversed(news)}
    if not first:
        return set()
    batches = _open_batches(session, first.values(), now=now)
    rows = [_columns(new, batches) for new in first.values()]
    arrays = {name: [row[name] for row in rows] for name in COLUMNS}
    made = set(session.connection().execute(INSERT_MANY, {**arrays, "now": now}).scalars())
    _keep_documents(session, {new.sha256: new for new in first.values() if new.id in made}, now=now)
    return made


def _open_batches(session: Session, news: Iterable[NewInvoice], *, now: datetime) -> dict[tuple[UUID, str], int]:
    wanted = sorted({(new.company_id, new.batch) for new in news if new.batch})
    return {(company, name): open_batch(session, company, name, now=now) for company, name in wanted}


def _keep_documents(session: Session, news: Mapping[bytes, NewInvoice], *, now: datetime) -> None:
    if not news:
        return
    connection = session.connection()
    known = set(connection.execute(KNOWN_DOCUMENTS, {"hashes": list(news), "now": now}).scalars())
    missing = [news[sha256] for sha256 in sorted(news) if sha256 not in known]
    if not missing:
        return
    raw = connection.connection.driver_connection
    if not isinstance(raw, Connection):
        raise TypeError("documents are copied by psycopg alone")
    try:
        with connection.begin_nested():
            _copy_documents(raw, missing, now=now)
    except pg.UniqueViolation:
        # Somebody else wrote one of them between the question and the copy: now each by itself, and slower.
        connection.execute(KEEP_DOCUMENT, [_document(new, now=now) for new in missing])


def _copy_documents(raw: "Connection[Any]", news: Iterable[NewInvoice], *, now: datetime) -> None:
    with raw.cursor() as cursor, cursor.copy(COPY_DOCUMENTS) as copy:
        copy.set_types(DOCUMENT_TYPES)
        for new in news:
            copy.write_row((new.sha256, new.content, len(new.content), new.kind, now))


def _document(new: NewInvoice, *, now: datetime) -> dict[str, object]:
    return {"sha256": new.sha256, "content": new.content, "size": len(new.content), "kind": new.kind, "now": now}


def _columns(new: NewInvoice, batches: Mapping[tuple[UUID, str], int]) -> dict[str, object]:
    return {
        "id": new.id,
        "company_id": new.company_id,
        "batch_id": batches[new.company_id, new.batch] if new.batch else None,
        "document_sha256": new.sha256,
        "size": len(new.content),
        "filename": new.filename,
        "reference": new.reference,
        "options": new.options_json,
        "number": new.number,
        "format": new.format,
        "issue_date": new.issue_date,
        "total": new.total,
        "currency": new.currency,
        "seller_name": new.seller_name,
        "buyer_name": new.buyer_name,
        "deadline": new.deadline,
        "not_before": new.not_before,
        "priority": new.priority,
        "cause": _cause(new),
    }


def _cause(new: NewInvoice) -> str:
    return f"submitted as {new.filename}" + (f" in batch {new.batch}" if new.batch else "")


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
    return find_many_stored(session, [invoice_id]).get(invoice_id)


def find_many_stored(session: Session, invoice_ids: Sequence[UUID]) -> dict[UUID, Stored]:
    """Return what stands under each UUID; those that nothing stands under are left out."""
    rows = session.connection().execute(FIND_STORED, {"ids": list(invoice_ids)})
    return {
        row.id: Stored(
            company_id=row.company_id,
            sha256=bytes(row.document_sha256),
            options=row.options,
            state=State(row.state),
            format=row.format,
            number=row.number,
            issue_date=row.issue_date,
            total=row.total,
            currency=row.currency,
            seller_name=row.seller_name,
            buyer_name=row.buyer_name,
        )
        for row in rows
    }

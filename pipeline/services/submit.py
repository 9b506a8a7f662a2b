"""Submitting: one document becomes one queued invoice inside the caller's own transaction.

Safe to call twice with the same document: the same invoice comes back. Knows nothing of files or the network.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from uuid import UUID, uuid5

from sqlmodel import Session

from pipeline.domain.document import DEFAULT_LIMITS, Document, DocumentLimits, InvoiceHeader, inspect
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import InvalidInputError, UuidConflictError
from pipeline.domain.state import State
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.ports import Bell
from pipeline.services.ringing import ring_after_commit
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import find_company
from pipeline.storage.database import is_storable
from pipeline.storage.submissions import NewInvoice, Stored, find_stored, insert_invoice

NAMESPACE = UUID("5c1d3f0e-7a52-5b0f-9a3d-6f0f3c1f8f11")
"""Of the UUIDs we derive. Never change it: the same command run twice would send twice."""

REFERENCE_LIMIT = 255
NAME_LIMIT = 100
SUFFIX_LIMIT = 10
HIGHEST_PRIORITY = 9


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The invoice that stands under the UUID now."""

    uuid: UUID
    state: State
    created: bool
    """False when the same document was submitted before; nothing was added."""
    sha256: str
    header: InvoiceHeader


def submit(
    session: Session,
    *,
    company: UUID | str,
    content: bytes,
    filename: str,
    uuid: UUID | None = None,
    reference: str | None = None,
    batch: str | None = None,
    options: UploadOptions | None = None,
    deadline: datetime | None = None,
    not_before: datetime | None = None,
    priority: int = 0,
    limits: DocumentLimits = DEFAULT_LIMITS,
    bell: Bell | None = None,
    now: datetime | None = None,
) -> Submitted:
    """Queue one document for sending; joins the session's transaction and never commits it.

    `company` is the operator's company UUID or our name for it. Without `uuid` one is derived from the company and
    `reference`, or the document's SHA-256, so that running twice sends once. `bell` is rung after the commit.

    `deadline`, an aware instant, is by when it should be accepted: the earliest go first inside the company's share.
    One that is over refuses nothing, the invoice is merely among the first; whatever misses its deadline is still sent.
    Nothing of it leaves `not_before`, an aware instant. A higher `priority` (0 to 9) goes first inside the company's
    share, before any deadline. What was submitted before keeps the deadline, earliest moment and priority it had.

    Raises: UnknownCompanyError; DocumentError (the file, with what to do); UuidConflictError (the UUID is taken by
    other bytes, options or company); InvalidInputError (reference, batch name, priority, or an instant without time
    zone). Nothing was written then.
    """
    owner = find_company(session, company)
    shown = stored_name(filename)
    reference, batch = _named("reference", reference, shown), _named("batch", batch, shown)
    check_order(shown, deadline=deadline, not_before=not_before, priority=priority)
    document = inspect(content, filename=filename, limits=limits)
    chosen = options or UploadOptions()
    key = uuid or derive_uuid(owner.id, reference=reference, sha256=document.sha256)
    new = _new_invoice(
        document,
        key,
        owner.id,
        filename=shown,
        reference=reference,
        batch=batch,
        options=chosen,
        deadline=deadline,
        not_before=not_before,
        priority=priority,
    )
    with session.begin_nested():
        # A savepoint, so that a refused invoice leaves nothing behind in a transaction that goes on.
        created = insert_invoice(session, new, now=now or read_clock(session))
        state = State.QUEUED if created else _same_or_refuse(find_stored(session, key), new, options=chosen)
    if created and bell is not None:
        ring_after_commit(session, bell)
    return Submitted(uuid=key, state=state, created=created, sha256=document.sha256.hex(), header=document.header)


def _named(what: str, value: str | None, filename: str) -> str | None:
    if value is None:
        return None
    # Blanks around a reference would derive another UUID, and so send the same invoice twice.
    stripped = value.strip()
    if not 0 < len(stripped) <= REFERENCE_LIMIT:
        raise InvalidInputError(f"{filename}: the {what} must have 1 to {REFERENCE_LIMIT} characters")
    if not is_storable(stripped):
        raise InvalidInputError(f"{filename}: the {what} has characters that cannot be stored; choose another")
    return stripped


def _new_invoice(
    document: Document,
    key: UUID,
    company_id: UUID,
    *,
    filename: str,
    reference: str | None,
    batch: str | None,
    options: UploadOptions,
    deadline: datetime | None,
    not_before: datetime | None,
    priority: int,
) -> NewInvoice:
    header = document.header
    return NewInvoice(
        id=key,
        company_id=company_id,
        content=document.content,
        sha256=document.sha256,
        kind=document.kind.value,
        filename=filename,
        reference=reference,
        batch=batch,
        options_json=json.dumps(options.to_json()),
        format=header.format.value,
        number=header.number,
        issue_date=header.issue_date,
        total=header.total,
        currency=header.currency,
        seller_name=header.seller_name,
        buyer_name=header.buyer_name,
        deadline=deadline,
        not_before=not_before,
        priority=priority,
    )


def check_order(filename: str, *, deadline: datetime | None, not_before: datetime | None, priority: int) -> None:
    """Refuse a deadline or an earliest moment without time zone, and a priority that is none.

    Raises: InvalidInputError.
    """
    for what, instant in (("deadline", deadline), ("earliest moment", not_before)):
        if instant is not None and instant.utcoffset() is None:
            raise InvalidInputError(f"{filename}: the {what} {instant.isoformat()} has no time zone; give it one")
    if not 0 <= priority <= HIGHEST_PRIORITY:
        raise InvalidInputError(f"{filename}: the priority {priority} is not between 0 and {HIGHEST_PRIORITY}")


def stored_name(filename: str) -> str:
    """Return the name a file goes out under: safe everywhere, short, with its ending."""
    name = shown_name(PurePath(filename).name)
    path = PurePath(filename)
    cut = shown_name(path.stem[:NAME_LIMIT]) + shown_name(path.suffix[:SUFFIX_LIMIT]) if path.suffix else name
    return cut if len(path.name) > NAME_LIMIT else name


def derive_uuid(company_id: UUID, *, reference: str | None, sha256: bytes) -> UUID:
    """Return the UUIDv5 of a company's document: of its reference where there is one, else of its bytes."""
    kind, value = ("reference", reference) if reference is not None else ("sha256", sha256.hex())
    return uuid5(NAMESPACE, f"{company_id}/{kind}/{value}")


def _same_or_refuse(stored: Stored | None, new: NewInvoice, *, options: UploadOptions) -> State:
    if stored is None:
        raise InvalidInputError(f"{new.filename}: UUID {new.id} was just removed; try again")
    if stored.company_id != new.company_id:
        raise UuidConflictError(f"{new.filename}: UUID {new.id} belongs to another company; choose another UUID")
    if stored.sha256 != new.sha256:
        raise UuidConflictError(
            f"{new.filename}: UUID {new.id} was submitted with other bytes (SHA-256 {stored.sha256.hex()}, now "
            f"{new.sha256.hex()}); the first submission stands, a corrected document needs a new UUID or reference"
        )
    if UploadOptions.from_json(stored.options) != options:
        raise UuidConflictError(
            f"{new.filename}: UUID {new.id} was submitted with other routing options; the first submission stands"
        )
    return stored.state

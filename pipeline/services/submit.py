"""Submitting: one document becomes one queued invoice inside the caller's own transaction.

Safe to call twice with the same document: the same invoice comes back. Knows nothing of files or the network.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.document import DEFAULT_LIMITS, DocumentLimits, InvoiceHeader, inspect
from pipeline.domain.state import State
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.ports import Bell
from pipeline.services.ringing import ring_after_commit
from pipeline.services.wanted import (
    HIGHEST_PRIORITY,
    Terms,
    derive_uuid,
    new_invoice,
    same_or_refuse,
    stored_name,
    want,
)
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import find_company
from pipeline.storage.submissions import find_stored, insert_invoice

__all__ = ["HIGHEST_PRIORITY", "Submitted", "derive_uuid", "stored_name", "submit"]


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
    asked = Terms(
        uuid=uuid,
        reference=reference,
        batch=batch,
        options=options or UploadOptions(),
        deadline=deadline,
        not_before=not_before,
        priority=priority,
    )
    terms = asked.checked(shown)
    document = inspect(content, filename=filename, limits=limits)
    wanted = want(terms, company_id=owner.id, sha256=document.sha256, filename=shown)
    with session.begin_nested():
        # A savepoint, so that a refused invoice leaves nothing behind in a transaction that goes on.
        created = insert_invoice(session, new_invoice(document, wanted), now=now or read_clock(session))
        state = State.QUEUED if created else same_or_refuse(find_stored(session, wanted.key), wanted).state
    if created and bell is not None:
        ring_after_commit(session, bell)
    return Submitted(
        uuid=wanted.key, state=state, created=created, sha256=document.sha256.hex(), header=document.header
    )

"""What a submit wants: terms checked, UUID derived, and whether what stands under it is the same. Stores nothing."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from uuid import UUID, uuid5

from pipeline.domain.document import Document
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import InvalidInputError, UuidConflictError
from pipeline.maventa.schemas import UploadOptions
from pipeline.storage.database import is_storable
from pipeline.storage.submissions import NewInvoice, Stored

NAMESPACE = UUID("5c1d3f0e-7a52-5b0f-9a3d-6f0f3c1f8f11")
"""Of the UUIDs we derive. Never change it: the same command run twice would send twice."""

REFERENCE_LIMIT = 255
NAME_LIMIT = 100
SUFFIX_LIMIT = 10
HIGHEST_PRIORITY = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked for a document beside its bytes."""

    uuid: UUID | None = None
    reference: str | None = None
    batch: str | None = None
    options: UploadOptions = field(default_factory=UploadOptions)
    deadline: datetime | None = None
    not_before: datetime | None = None
    priority: int = 0

    def checked(self, filename: str) -> "Terms":
        """Return the terms as they are stored.

        Raises: InvalidInputError (reference, batch name, an option that cannot be stored, an instant without its zone,
        a priority that is none).
        """
        _refuse_without_zone("deadline", self.deadline, filename)
        _refuse_without_zone("earliest moment", self.not_before, filename)
        if not 0 <= self.priority <= HIGHEST_PRIORITY:
            raise InvalidInputError(f"{filename}: the priority {self.priority} is not between 0 and {HIGHEST_PRIORITY}")
        if not all(is_storable(words) for words in _words(self.options.to_json())):
            raise InvalidInputError(f"{filename}: an option has characters that cannot be stored; choose another")
        return Terms(
            uuid=self.uuid,
            reference=_named("reference", self.reference, filename),
            batch=_named("batch", self.batch, filename),
            options=self.options,
            deadline=self.deadline,
            not_before=self.not_before,
            priority=self.priority,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One invoice as it is asked for, all but its bytes."""

    key: UUID
    company_id: UUID
    sha256: bytes
    filename: str
    terms: Terms


def want(terms: Terms, *, company_id: UUID, sha256: bytes, filename: str) -> Wanted:
    """Return what checked terms ask for a document, with the UUID given or derived."""
    key = terms.uuid or derive_uuid(company_id, reference=terms.reference, sha256=sha256)
    return Wanted(key=key, company_id=company_id, sha256=sha256, filename=filename, terms=terms)


def new_invoice(document: Document, wanted: Wanted) -> NewInvoice:
    """Return what is stored of an inspected document that is wanted."""
    header, terms = document.header, wanted.terms
    return NewInvoice(
        id=wanted.key,
        company_id=wanted.company_id,
        content=document.content,
        sha256=document.sha256,
        kind=document.kind.value,
        filename=wanted.filename,
        reference=terms.reference,
        batch=terms.batch,
        options_json=json.dumps(terms.options.to_json()),
        format=header.format.value,
        number=header.number,
        issue_date=header.issue_date,
        total=header.total,
        currency=header.currency,
        seller_name=header.seller_name,
        buyer_name=header.buyer_name,
        deadline=terms.deadline,
        not_before=terms.not_before,
        priority=terms.priority,
    )


def same_or_refuse(stored: Stored | None, wanted: Wanted) -> Stored:
    """Return what stands under a UUID if it is what is wanted.

    Raises: UuidConflictError (other bytes, options or company, both hashes are named; or used, and the record is gone).
    """
    who = f"{wanted.filename}: UUID {wanted.key}"
    if stored is None:
        raise UuidConflictError(f"{who} was used before and its record is gone; it is never sent again: choose another")
    if stored.company_id != wanted.company_id:
        raise UuidConflictError(f"{who} belongs to another company; choose another UUID")
    if stored.sha256 != wanted.sha256:
        raise UuidConflictError(
            f"{who} was submitted with other bytes (SHA-256 {stored.sha256.hex()}, now "
            f"{wanted.sha256.hex()}); the first submission stands, a corrected document needs a new UUID or reference"
        )
    # Compared as they are stored first: reading options back is the slowest part of knowing an invoice again.
    options = wanted.terms.options
    if stored.options != options.to_json() and UploadOptions.from_json(stored.options) != options:
        raise UuidConflictError(f"{who} was submitted with other routing options; the first submission stands")
    return stored


def stored_name(filename: str) -> str:
    """Return the name a file goes out under: safe everywhere, short, with its ending."""
    last = filename.rpartition("/")[2]
    if len(last) <= NAME_LIMIT and last not in {"", "."}:
        # Nearly all; a path of pathlib's costs ten times as much.
        return shown_name(last)
    path = PurePath(filename)
    name = shown_name(path.name)
    cut = shown_name(path.stem[:NAME_LIMIT]) + shown_name(path.suffix[:SUFFIX_LIMIT]) if path.suffix else name
    return cut if len(path.name) > NAME_LIMIT else name


def derive_uuid(company_id: UUID, *, reference: str | None, sha256: bytes) -> UUID:
    """Return the UUIDv5 of a company's document: of its reference where there is one, else of its bytes."""
    kind, value = ("reference", reference) if reference is not None else ("sha256", sha256.hex())
    return uuid5(NAMESPACE, f"{company_id}/{kind}/{value}")


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


def _refuse_without_zone(what: str, instant: datetime | None, filename: str) -> None:
    if instant is not None and instant.utcoffset() is None:
        raise InvalidInputError(f"{filename}: the {what} {instant.isoformat()} has no time zone; give it one")


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [words for part in parts for words in _words(part)]

"""Preparing lines: read, hashed, asked for in one question, and inspected where new. Writes nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pipeline.domain.document import DocumentLimits, inspect
from pipeline.domain.errors import InvalidInputError
from pipeline.services.gather import read_file
from pipeline.services.lines import Line
from pipeline.services.wanted import Terms, Wanted, new_invoice, same_or_refuse, stored_name, want
from pipeline.storage.database import Database
from pipeline.storage.submissions import NewInvoice, Stored, find_many_stored


@dataclass(frozen=True, slots=True)
class Standing:
    """A line whose invoice stands already, submitted with the same bytes and options."""

    id: UUID
    stored: Stored


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that cannot be submitted, with what to do."""

    message: str
    id: UUID | None = None
    sha256: bytes | None = None


Prepared = NewInvoice | Standing | Refused


@dataclass(frozen=True, slots=True)
class _Draft:
    line: Line
    wanted: Wanted
    content: bytes


def prepare(database: Database, lines: Sequence[Line], *, company_id: UUID, limits: DocumentLimits) -> list[Prepared]:
    """Return for each line what is to be stored, what stands already, or why not; in order.

    What is known by its UUID and SHA-256 was inspected when it was stored, and is not inspected again.
    Raises: ServiceUnavailableError.
    """
    checked = _Checked()
    drafts = [_draft(line, company_id, limits, checked) for line in lines]
    keys = [draft.wanted.key for draft in drafts if isinstance(draft, _Draft)]
    known = find_known(database, keys)
    return [
        draft if isinstance(draft, Refused) else _judge(draft, known.get(draft.wanted.key), limits) for draft in drafts
    ]


def find_known(database: Database, keys: Sequence[UUID]) -> dict[UUID, Stored]:
    """Return what stands under the UUIDs, in one question. Raises: ServiceUnavailableError."""
    if not keys:
        return {}
    with database.transaction() as session:
        return find_many_stored(session, keys)


def settle(wanted: Wanted, stored: Stored | None) -> Standing | Refused:
    """Say what a line comes to whose UUID is taken."""
    try:
        return Standing(wanted.key, same_or_refuse(stored, wanted))
    except InvalidInputError as exc:
        return Refused(str(exc), wanted.key, wanted.sha256)


class _Checked:
    """The terms of the line before, which in a folder are those of the next: checked once."""

    def __init__(self) -> None:
        self._given: Terms | None = None
        self._checked = Terms()

    def terms(self, given: Terms, filename: str) -> Terms:
        if given is not self._given:
            self._checked = given.checked(filename)
            self._given = given
        return self._checked


def _draft(line: Line, company_id: UUID, limits: DocumentLimits, checked: _Checked) -> _Draft | Refused:
    filename = stored_name(line.name)
    try:
        terms = checked.terms(line.terms, filename)
        content = line.content if line.file is None else read_file(line.file, limits=limits)
    except InvalidInputError as exc:
        return Refused(str(exc))
    content = content or b""
    sha256 = hashlib.sha256(content).digest()
    return _Draft(line, want(terms, company_id=company_id, sha256=sha256, filename=filename), content)


def _judge(draft: _Draft, stored: Stored | None, limits: DocumentLimits) -> Prepared:
    if stored is not None:
        return settle(draft.wanted, stored)
    try:
        document = inspect(draft.content, filename=draft.line.name, limits=limits, sha256=draft.wanted.sha256)
    except InvalidInputError as exc:
        return Refused(str(exc), draft.wanted.key, draft.wanted.sha256)
    return new_invoice(document, draft.wanted)

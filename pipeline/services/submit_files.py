"""Submitting files from disk: each in a transaction of its own, so that a bad one stops no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO
from uuid import UUID

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import InvalidInputError
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.gather import Found, Skipped, Unreadable, gather
from pipeline.services.ports import Bell
from pipeline.services.submit import Submitted, submit
from pipeline.storage.companies import find_company
from pipeline.storage.database import Database


class Verdict(StrEnum):
    """What became of one file."""

    QUEUED = "queued"
    KNOWN = "known"
    """The same document was submitted before; it is not sent again."""
    REFUSED = "refused"
    SKIPPED = "skipped"
    """Found in a folder and no invoice."""


@dataclass(frozen=True, kw_only=True)
class FileVerdict:
    """One file and what became of it."""

    path: str
    verdict: Verdict
    submitted: Submitted | None = None
    message: str | None = None


def submit_files(
    database: Database,
    paths: Sequence[str],
    *,
    company: UUID | str,
    stdin: BinaryIO,
    limits: DocumentLimits,
    uuid: UUID | None = None,
    reference: str | None = None,
    batch: str | None = None,
    options: UploadOptions | None = None,
    deadline: datetime | None = None,
    not_before: datetime | None = None,
    priority: int = 0,
    bell: Bell | None = None,
) -> Iterator[FileVerdict]:
    """Submit files, folders, patterns and `-`, one after the other; yields a verdict for each.

    Raises: ServiceUnavailableError, ConfigurationError, UnknownCompanyError: these concern every file.
    """
    with database.transaction() as session:
        company = find_company(session, company).id
    for found in gather(paths, limits=limits, stdin=stdin):
        if isinstance(found, Skipped):
            yield FileVerdict(path=found.path, verdict=Verdict.SKIPPED, message=found.reason)
            continue
        if isinstance(found, Unreadable):
            yield FileVerdict(path=found.path, verdict=Verdict.REFUSED, message=str(found.error))
            continue
        yield _submit_one(
            database,
            found,
            company=company,
            limits=limits,
            uuid=uuid,
            reference=reference,
            batch=batch,
            options=options,
            deadline=deadline,
            not_before=not_before,
            priority=priority,
            bell=bell,
        )


def _submit_one(
    database: Database,
    found: Found,
    *,
    company: UUID | str,
    limits: DocumentLimits,
    uuid: UUID | None,
    reference: str | None,
    batch: str | None,
    options: UploadOptions | None,
    deadline: datetime | None,
    not_before: datetime | None,
    priority: int,
    bell: Bell | None,
) -> FileVerdict:
    try:
        with database.transaction() as session:
            submitted = submit(
                session,
                company=company,
                content=found.read(),
                filename=found.name,
                uuid=uuid,
                reference=reference,
                batch=batch,
                options=options,
                deadline=deadline,
                not_before=not_before,
                priority=priority,
                limits=limits,
                bell=bell,
            )
    except InvalidInputError as exc:
        return FileVerdict(path=found.path, verdict=Verdict.REFUSED, message=str(exc))
    verdict = Verdict.QUEUED if submitted.created else Verdict.KNOWN
    return FileVerdict(path=found.path, verdict=verdict, submitted=submitted)

"""Submitting files from disk: what the paths stand for, all under the same terms."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO
from uuid import UUID

from pipeline.domain.document import DocumentLimits
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.gather import gather
from pipeline.services.lines import lines_of
from pipeline.services.ports import Bell
from pipeline.services.submit_lines import Bulk, FileVerdict, Verdict, submit_lines
from pipeline.services.wanted import Terms
from pipeline.storage.companies import find_company
from pipeline.storage.database import Database

__all__ = ["FileVerdict", "Verdict", "submit_files"]


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
    """Submit files, folders, patterns and `-`; yields a verdict for each once it is stored, in order.

    Raises: ServiceUnavailableError, ConfigurationError, UnknownCompanyError: these concern every file.
    """
    with database.transaction() as session:
        company_id = find_company(session, company).id
    terms = Terms(
        uuid=uuid,
        reference=reference,
        batch=batch,
        options=options or UploadOptions(),
        deadline=deadline,
        not_before=not_before,
        priority=priority,
    )
    lines = lines_of(gather(paths, limits=limits, stdin=stdin), terms)
    for verdicts in submit_lines(database, lines, Bulk(company_id=company_id, limits=limits, bell=bell)):
        yield from verdicts

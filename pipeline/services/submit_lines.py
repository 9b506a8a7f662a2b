"""Submitting any number of documents: group by group, a transaction each, a verdict for every line, in order.

Holds a few groups and nothing else, however many lines come.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final
from uuid import UUID

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.invoice_header import InvoiceFormat, InvoiceHeader
from pipeline.domain.state import State
from pipeline.services.beside import Beside
from pipeline.services.lines import AnyLine, Line, NoLine
from pipeline.services.ports import Bell
from pipeline.services.prepare import Prepared, Refused, Standing, settle
from pipeline.services.preparers import INSPECTED_ALONE, Group, Preparers, usual_processes
from pipeline.services.submit import Submitted
from pipeline.services.wanted import Wanted
from pipeline.storage.clock import read_clock
from pipeline.storage.database import UNSTORABLE, Database, was_ended
from pipeline.storage.submissions import NewInvoice, Stored, find_many_stored, insert_invoices

GROUP_LINES: Final = 500
"""Measured: a transaction's own cost is no longer seen above a few hundred."""
GROUP_BYTES: Final = 16_000_000
"""What a few groups in memory, and one transaction, may be made of; a larger document is a group of its own."""
RING_SECONDS: Final = 1.0
"""The dispatcher goes on by itself while work is due; more bells than this would only be work for it."""
TRIES: Final = 3
"""Of a group whose transaction the database ended because it met another's."""


class Verdict(StrEnum):
    """What became of one document."""

    QUEUED = "queued"
    KNOWN = "known"
    """The same document was submitted before; it is not sent again."""
    REFUSED = "refused"
    SKIPPED = "skipped"
    """Found in a folder and no invoice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """One document and what became of it."""

    path: str
    verdict: Verdict
    submitted: Submitted | None = None
    message: str | None = None
    line: int | None = None
    """Of the manifest."""
    uuid: UUID | None = None
    """Of a refused one too, as far as it is known."""
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """How documents are submitted; the same for all of them."""

    company_id: UUID
    limits: DocumentLimits
    bell: Bell | None = None
    stop: Callable[[], bool] = bool
    """Asked before each group; once it says yes, what is in hand is finished and nothing more is taken."""
    seconds: Callable[[], float] = time.monotonic
    processes: int | None = None
    """Beside this one, for more than a few groups; None for what this machine can use."""
    group_lines: int = GROUP_LINES
    inspected_alone: int = INSPECTED_ALONE


def submit_lines(database: Database, lines: Iterable[AnyLine], bulk: Bulk) -> Iterator[list[FileVerdict]]:
    """Submit documents; yield the verdicts of each group once its transaction is committed.

    One bad document refuses itself alone. Of two with one UUID the first stands.
    Raises: ServiceUnavailableError, ConfigurationError: what was yielded is stored; all of it may be done again.
    """
    processes = usual_processes() if bulk.processes is None else bulk.processes
    preparers = Preparers(
        database,
        company_id=bulk.company_id,
        limits=bulk.limits,
        processes=processes,
        inspected_alone=bulk.inspected_alone,
    )
    ringer = _Ringer(bulk.bell, bulk.seconds)
    with preparers:
        try:
            for verdicts, created in _store_all(database, preparers, _groups(lines, bulk)):
                if created:
                    ringer.ring_soon()
                yield verdicts
        finally:
            ringer.end()


_Stored = tuple[list[FileVerdict], int]
"""The verdicts of a group, and how many of them are new."""


class _Ringer:
    """Rings at once, then not more often than is of use, and for the last ones at the end."""

    def __init__(self, bell: Bell | None, seconds: Callable[[], float]) -> None:
        self._bell, self._seconds = bell, seconds
        self._next_at: float | None = None
        self._owed = False

    def ring_soon(self) -> None:
        self._owed = True
        if self._next_at is None or self._seconds() >= self._next_at:
            self.end()

    def end(self) -> None:
        if self._owed and self._bell is not None:
            self._bell()
            self._next_at = self._seconds() + RING_SECONDS
        self._owed = False


def _groups(lines: Iterable[AnyLine], bulk: Bulk) -> Iterator[Group]:
    group: list[AnyLine] = []
    size = 0
    for line in lines:
        length = line.size if isinstance(line, Line) else 0
        if group and (len(group) == bulk.group_lines or size + length > GROUP_BYTES):
            yield group
            group, size = [], 0
        if bulk.stop():
            return
        group.append(line)
        size += length
    if group:
        yield group


def _store_all(database: Database, preparers: Preparers, groups: Iterable[Group]) -> Iterator[_Stored]:
    """Store each group; once they are many, while the next one is being prepared."""
    beside: Beside[_Stored] = Beside()
    try:
        for group, prepared in preparers.prepare_all(groups):
            before = list(beside.end())
            if preparers.is_long:
                beside.begin(partial(_store, database, group, prepared))
                yield from before
            else:
                yield _store(database, group, prepared)
    except Exception:
        # What could not be prepared is no reason to keep silent of what is stored.
        yield from beside.end()
        raise
    else:
        yield from beside.end()
    finally:
        beside.leave()


def _store(database: Database, group: Group, prepared: Sequence[Prepared]) -> _Stored:
    news = [each for each in prepared if isinstance(each, NewInvoice)]
    try:
        created, standing = _insert(database, news)
    except UNSTORABLE as exc:
        return _store_each(database, group, prepared, exc)
    answers = iter(prepared)
    verdicts = []
    for line in group:
        if isinstance(line, NoLine):
            verdict = Verdict.SKIPPED if line.skipped else Verdict.REFUSED
            verdicts.append(FileVerdict(path=line.path, verdict=verdict, message=line.message, line=line.number))
            continue
        answer = next(answers)
        if isinstance(answer, NewInvoice) and answer.id in created:
            # Another line of the same UUID finds it gone from here, and its invoice standing.
            created.remove(answer.id)
            verdicts.append(_queued(line, answer))
        else:
            verdicts.append(_other(line, answer, standing))
    return verdicts, sum(verdict.verdict is Verdict.QUEUED for verdict in verdicts)


def _store_each(database: Database, group: Group, prepared: Sequence[Prepared], error: Exception) -> _Stored:
    # No document is known that does this; if one comes, it is refused by itself, and the others of its group are not.
    if len(prepared) == 1:
        return _store(
            database, group, [Refused(f"the database cannot store it ({type(error).__name__}); export it anew")]
        )
    answers = iter(prepared)
    parts = [_store(database, [line], [next(answers)] if isinstance(line, Line) else []) for line in group]
    return [verdict for verdicts, _ in parts for verdict in verdicts], sum(created for _, created in parts)


def _insert(database: Database, news: Sequence[NewInvoice]) -> tuple[set[UUID], dict[UUID, Stored]]:
    if not news:
        return set(), {}
    for number in range(1, TRIES + 1):
        try:
            with database.transaction() as session:
                created = insert_invoices(session, news, now=read_clock(session))
                others = [new.id for new in news if new.id not in created]
                doubled = [new.id for new in news] if len({new.id for new in news}) < len(news) else others
                return created, find_many_stored(session, doubled) if doubled else {}
        except ServiceUnavailableError as exc:
            if number == TRIES or not was_ended(exc):
                raise
    raise AssertionError("the last try returned or raised")


def _queued(line: Line, new: NewInvoice) -> FileVerdict:
    header = InvoiceHeader(
        format=InvoiceFormat(new.format),
        number=new.number,
        issue_date=new.issue_date,
        total=new.total,
        currency=new.currency,
        seller_name=new.seller_name,
        buyer_name=new.buyer_name,
    )
    submitted = Submitted(uuid=new.id, state=State.QUEUED, created=True, sha256=new.sha256.hex(), header=header)
    return _submitted(line, Verdict.QUEUED, submitted)


def _other(line: Line, answer: Prepared, standing: Mapping[UUID, Stored]) -> FileVerdict:
    if isinstance(answer, NewInvoice):
        answer = settle(_wanted(line, answer), standing.get(answer.id))
    if isinstance(answer, Standing):
        return _known(line, answer)
    sha256 = answer.sha256.hex() if answer.sha256 else None
    return FileVerdict(
        path=line.path,
        verdict=Verdict.REFUSED,
        message=answer.message,
        line=line.number,
        uuid=answer.id,
        sha256=sha256,
    )


def _known(line: Line, answer: Standing) -> FileVerdict:
    stored = answer.stored
    header = InvoiceHeader(
        format=InvoiceFormat(stored.format),
        number=stored.number,
        issue_date=stored.issue_date,
        total=stored.total,
        currency=stored.currency,
        seller_name=stored.seller_name,
        buyer_name=stored.buyer_name,
    )
    sha256 = stored.sha256.hex()
    submitted = Submitted(uuid=answer.id, state=stored.state, created=False, sha256=sha256, header=header)
    return _submitted(line, Verdict.KNOWN, submitted)


def _submitted(line: Line, verdict: Verdict, submitted: Submitted) -> FileVerdict:
    return FileVerdict(
        path=line.path,
        verdict=verdict,
        submitted=submitted,
        line=line.number,
        uuid=submitted.uuid,
        sha256=submitted.sha256,
    )


def _wanted(line: Line, new: NewInvoice) -> Wanted:
    return Wanted(key=new.id, company_id=new.company_id, sha256=new.sha256, filename=new.filename, terms=line.terms)

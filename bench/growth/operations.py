"""The parts of the line that are measured beside a history, each through the product's own code.

The open work is the same beside every history; what is found there is compared, never judged here.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlmodel import Session

from bench.growth.meter import Meter
from pipeline.bootstrap import utc_now
from pipeline.cli.board import read_board
from pipeline.cli.doctor import MOST_COUNTED
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.routing import default_routing
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.state import State
from pipeline.services.dispatch import Dispatcher
from pipeline.services.follow import Follower
from pipeline.services.ports import Chunk, Sighting
from pipeline.services.route import Router
from pipeline.services.send import Sender
from pipeline.services.submit import submit
from pipeline.services.watch import Watch
from pipeline.settings import Settings
from pipeline.storage import claims, following
from pipeline.storage.cases import CaseFilter, list_cases
from pipeline.storage.listing import InvoiceFilter, count_listed, list_invoices
from pipeline.storage.reading import count_overdue, read_story
from pipeline.storage.vault import Vault

BACKLOG = 2400
"""Invoices that wait while the dispatcher is measured: three windows."""
SUBMITTED_AT_ONCE = 100
COMPANIES_SENDING = 12
LOOKS_EACH = 50
LIST_LIMIT = 51
"""What `postiljon list` asks for."""

Action = Callable[[], object]


class InstantOperator:
    """Takes and delivers everything at once: what is measured is ours."""

    async def upload(self, _credentials: CompanyCredentials, **_: object) -> Outcome:
        """See pipeline.services.ports.Operator."""
        return Outcome(kind=OutcomeKind.ACCEPTED, http_status=201, operator_status="PENDING")

    async def probe(self, _credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """See Operator."""
        return {uuid: Outcome(kind=OutcomeKind.ALREADY_THERE) for uuid in uuids}

    async def statuses(self, _credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting]:
        """See Operator."""
        return {uuid: Sighting(status="DELIVERED", number=None, total=None) for uuid in uuids}

    async def actions(self, _credentials: CompanyCredentials, _uuid: UUID) -> tuple[()]:
        """See Operator."""
        return ()

    async def why_closed(self, _credentials: CompanyCredentials) -> None:
        """See Operator."""


@dataclass
class Kept:
    """A ChunkPublisher without a broker."""

    chunks: list[Chunk] = field(default_factory=list)

    def publish(self, chunk: Chunk) -> None:
        """See pipeline.services.ports.ChunkPublisher."""
        self.chunks.append(chunk)


class Line:
    """The services on the measured database."""

    def __init__(self, meter: Meter, settings: Settings, vault: Vault, companies: Sequence[UUID]) -> None:
        self.meter, self.database = meter, meter.database
        self.settings, self.vault, self.companies = settings, vault, companies
        self.kept, self._numbers = Kept(), itertools.count()
        parts: Any = {"database": self.database, "settings": settings, "clock": utc_now}
        operator: Any = InstantOperator()
        self.dispatcher = Dispatcher(**parts, publisher=self.kept)
        self.sender = Sender(**parts, vault=vault, operator=operator, chance=random.random)
        later: Any = parts | {"clock": lambda: utc_now() + timedelta(hours=1)}
        self.follower = Follower(**later, vault=vault, operator=operator)
        self.router = Router(**parts, vault=vault, operator=operator, routing=lambda: default_routing(builtin_table()))
        self.watch = Watch(**parts, routing=lambda: default_routing(builtin_table()))

    def submit(self) -> None:
        """Submit some invoices in a transaction, as a caller with its own would."""
        company = self.companies[next(self._numbers) % COMPANIES_SENDING]
        with self.database.transaction() as session:
            for _ in range(SUBMITTED_AT_ONCE):
                content = f"<Finvoice Version='3.0'><InvoiceNumber>{uuid4()}</InvoiceNumber></Finvoice>".encode()
                submit(session, company=company, content=content, filename="invoice.xml", now=utc_now())

    def tick(self) -> None:
        """Let the dispatcher run until the window is full, or nothing is due."""
        self.dispatcher.run(uuid4())

    def claim(self, chunk: Chunk) -> None:
        """Claim a chunk and take it back."""
        with Session(self.database.engine) as session:
            now = utc_now()
            claimed = claims.claim_uploads(
                session,
                chunk.invoice_ids,
                epoch=chunk.epoch,
                now=now,
                lease=timedelta(seconds=30),
                give_up_at=now + timedelta(days=7),
            )
            if len(claimed) != len(chunk.invoice_ids):
                raise RuntimeError(f"{len(claimed)} of {len(chunk.invoice_ids)} invoices could be claimed")
            session.rollback()

    def send(self, chunk: Chunk) -> None:
        """Claim, upload to an operator that answers at once, record."""
        asyncio.run(self._send(chunk))

    async def _send(self, chunk: Chunk) -> None:
        sender = Sender(
            database=self.database,
            settings=self.settings,
            clock=utc_now,
            vault=self.vault,
            operator=InstantOperator(),  # type: ignore[arg-type] # what sending needs of it
            chance=random.random,
        )
        await (sender.probe if chunk.is_probe else sender.send)(chunk.company_id, chunk.invoice_ids, epoch=chunk.epoch)

    def choose_looks(self) -> None:
        """Choose whom to ask about an hour from now, when all that was sent is due, and take it back."""
        now = utc_now() + timedelta(hours=1)
        with Session(self.database.engine) as session:
            due = following.count_due(session, now=now, at_most=4000)
            wanted = [(company_id, min(n, LOOKS_EACH)) for company_id, n in due[:COMPANIES_SENDING]]
            until = now + timedelta(seconds=120)
            following.take_looks(session, wanted, now=now, soon=now + timedelta(seconds=60), until=until)
            session.rollback()

    def query(self, statement: str) -> list[Any]:
        """Ask something that is not measured."""
        with self.database.transaction() as session:
            return list(session.connection().execute(text(statement)))


def measure_all(line: Line, *, runs: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Measure every part; the first ones make the open work that the others meet."""
    meter = line.meter
    line.submit()
    yield "submit 100", meter.measure(line.submit, runs=BACKLOG // SUBMITTED_AT_ONCE).as_object()
    yield "dispatch tick", meter.measure(line.tick, runs=1).as_object()
    yield "dispatch tick, window full", meter.measure(line.tick, runs=runs).as_object()
    chunks, line.kept.chunks = line.kept.chunks, []
    full = iter(chunks * 3)
    yield "claim a chunk", meter.measure(lambda: line.claim(next(full)), runs=2 * len(chunks)).as_object()
    each = iter(chunks)
    yield "send a chunk", meter.measure(lambda: line.send(next(each)), runs=len(chunks)).as_object()
    yield "follow: choosing", meter.measure(line.choose_looks, runs=runs).as_object()
    yield "follow a window", meter.measure(lambda: asyncio.run(line.follower.run(uuid4())), runs=1).as_object()
    for name, action in _looking(line).items():
        yield name, meter.measure(action, runs=runs).as_object()
    for name, action in _reading(line).items():
        yield name, meter.measure(action, runs=runs).as_object()
    _send_all(line)


def _send_all(line: Line) -> None:
    # The next size meets the same open work: none but what was delivered today.
    while True:
        line.tick()
        chunks, line.kept.chunks = line.kept.chunks, []
        if not chunks:
            asyncio.run(line.follower.run(uuid4()))
            return
        for chunk in chunks:
            line.send(chunk)


def _looking(line: Line) -> dict[str, Action]:
    return {
        "follow: the daily pass": lambda: asyncio.run(line.follower.backup(uuid4())),
        "route": lambda: asyncio.run(line.router.run(uuid4())),
        "watch": lambda: asyncio.run(line.watch.run(uuid4())),
        "board": lambda: read_board(line.database, line.settings),
    }


def _reading(line: Line) -> dict[str, Action]:
    found = line.query(
        "SELECT DISTINCT ON (state) state, id, number FROM invoice "
        "WHERE state IN ('failed', 'superseded', 'refused', 'cancelled') ORDER BY state, submitted_at LIMIT 4"
    )
    old = next(row for row in found if row.state == State.FAILED.value)
    batch = line.query("SELECT name FROM batch ORDER BY id OFFSET 150 LIMIT 1")[0].name
    large, small = line.companies[0], line.companies[-1]
    lists: dict[str, InvoiceFilter] = {
        "no filter": InvoiceFilter(limit=LIST_LIMIT),
        **{f"state {state.value}": InvoiceFilter(state=state, limit=LIST_LIMIT) for state in State},
        "large company": InvoiceFilter(company_id=large, limit=LIST_LIMIT),
        "small company": InvoiceFilter(company_id=small, limit=LIST_LIMIT),
        "large company, refused": InvoiceFilter(company_id=large, state=State.REFUSED, limit=LIST_LIMIT),
        "small company, refused": InvoiceFilter(company_id=small, state=State.REFUSED, limit=LIST_LIMIT),
        "small company, queued": InvoiceFilter(company_id=small, state=State.QUEUED, limit=LIST_LIMIT),
        "batch": InvoiceFilter(batch=batch, limit=LIST_LIMIT),
        "batch of a large company": InvoiceFilter(batch=batch, company_id=large, limit=LIST_LIMIT),
        "number": InvoiceFilter(number=old.number, limit=LIST_LIMIT),
        "unknown number": InvoiceFilter(number="no such number", limit=LIST_LIMIT),
        "a page in the middle": InvoiceFilter(before=old.id, limit=LIST_LIMIT),
        "small company, a page in the middle": InvoiceFilter(before=old.id, company_id=small, limit=LIST_LIMIT),
        "since an hour": InvoiceFilter(since=utc_now() - timedelta(hours=1), limit=LIST_LIMIT),
    }
    return {
        **{f"list: {name}": _list(line, wanted) for name, wanted in lists.items()},
        **{f"show: {row.state}": _show(line, row.id) for row in found},
        "cases list: open": _cases(line, "open"),
        "doctor: overdue": lambda: _read(
            line, lambda session: count_overdue(session, before=utc_now(), at_most=10_000)
        ),
    }


def _list(line: Line, wanted: InvoiceFilter) -> Action:
    return lambda: _read(line, lambda session: (list_invoices(session, wanted), count_listed(session, wanted)))


def _show(line: Line, invoice_id: UUID) -> Action:
    return lambda: _read(line, lambda session: read_story(session, invoice_id))


def _cases(line: Line, status: str) -> Action:
    return lambda: _read(line, lambda session: list_cases(session, CaseFilter(status=status, limit=LIST_LIMIT)))


def _overdue(line: Line) -> Action:
    return lambda: _read(line, lambda session: count_overdue(session, before=utc_now(), at_most=MOST_COUNTED))


def _read(line: Line, action: Callable[[Session], object]) -> None:
    with line.database.transaction() as session:
        action(session)

"""The line on a real database with a clock that tests move and an operator that answers by script."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.routing import default_routing
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.way import Way
from pipeline.services.dispatch import Dispatcher
from pipeline.services.follow import Follower
from pipeline.services.hold import HoldKeeper
from pipeline.services.ports import FailedSomewhere, Sighting
from pipeline.services.route import Router
from pipeline.services.send import Sender
from pipeline.services.submit import submit
from pipeline.settings import settings_from
from pipeline.storage.companies import save_company
from tests.arming import INSTANCE_KEY, arm_here

START = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
K = OutcomeKind


class FixedClock:
    """Stands still until told."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def pass_seconds(self, seconds):
        self.now += timedelta(seconds=seconds)


RerouteAnswer = Callable[[UUID, Way, dict[str, str]], Awaitable[Outcome | None]]
Answer = Outcome | Callable[[], Awaitable[Outcome]]


@dataclass
class FakeOperator:
    """Implements pipeline.services.ports.Operator: scripted answers first, else it holds what it was sent."""

    held: dict[UUID, bytes] = field(default_factory=dict)
    uploads: list[UUID] = field(default_factory=list)
    probes: list[tuple[UUID, ...]] = field(default_factory=list)
    questions: list[tuple[UUID, ...]] = field(default_factory=list)
    on_upload: dict[UUID, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    on_probe: dict[UUID, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    every_upload: Outcome | None = None
    statuses_of: dict[UUID, str] = field(default_factory=dict)
    status_failure: Outcome | Exception | None = None
    actions_of: dict[UUID, list[OperatorAction]] = field(default_factory=lambda: defaultdict(list))
    actions_asked: list[UUID] = field(default_factory=list)
    on_actions: list[Outcome | Exception] = field(default_factory=list)
    actions_in_list: bool = False
    rerouted: list[tuple[UUID, Way, dict[str, str]]] = field(default_factory=list)
    on_reroute: list[RerouteAnswer] = field(default_factory=list)
    errors: list[FailedSomewhere] | Outcome = field(default_factory=list)
    error_spans: list[tuple[datetime, datetime]] = field(default_factory=list)
    closed: dict[UUID, str] = field(default_factory=dict)
    unverified: set[UUID] = field(default_factory=set)

    async def upload(self, credentials, *, uuid, content, **_):
        assert isinstance(credentials, CompanyCredentials)
        self.uploads.append(uuid)
        if self.on_upload[uuid]:
            answer = self.on_upload[uuid].pop(0)
            return answer if isinstance(answer, Outcome) else await answer()
        if credentials.company_id in self.unverified:
            return Outcome(kind=K.UNAUTHORIZED, http_status=401, error_code="auth_unauthorized", message="Unauthorized")
        if self.every_upload is not None:
            return self.every_upload
        self.held[uuid] = content if isinstance(content, bytes) else b"".join([each async for each in content.read()])
        return Outcome(kind=K.ACCEPTED, http_status=201, operator_status="PENDING")

    async def probe(self, credentials, uuids):
        assert isinstance(credentials, CompanyCredentials)
        if len(uuids) > 100:
            raise ValueError("at most 100 ids a call")
        self.probes.append(tuple(uuids))
        return {uuid: self._find(uuid) for uuid in uuids}

    def _find(self, uuid):
        if self.on_probe[uuid]:
            return self.on_probe[uuid].pop(0)
        return Outcome(kind=K.ALREADY_THERE if uuid in self.held else K.ABSENT)

    async def statuses(self, credentials, uuids):
        assert isinstance(credentials, CompanyCredentials)
        assert len(uuids) <= 100
        self.questions.append(tuple(uuids))
        await asyncio.sleep(0)
        if isinstance(self.status_failure, Exception):
            raise self.status_failure
        if self.status_failure is not None:
            return self.status_failure
        return {
            uuid: Sighting(
                status=self.statuses_of[uuid],
                number=None,
                total=None,
                actions=tuple(self.actions_of[uuid]) if self.actions_in_list else None,
            )
            for uuid in uuids
            if uuid in self.statuses_of
        }

    async def actions(self, _credentials, uuid):
        self.actions_asked.append(uuid)
        if self.on_actions:
            answer = self.on_actions.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return tuple(self.actions_of[uuid])

    async def reroute(self, _credentials, uuid, *, way, fields):
        """Scripted answers first; else it is done and the invoice is PENDING again."""
        if self.on_reroute:
            return await self.on_reroute.pop(0)(uuid, way, dict(fields))
        return self.do_reroute(uuid, way, dict(fields))

    def do_reroute(self, uuid, way, fields):
        self.rerouted.append((uuid, way, fields))
        self.statuses_of[uuid] = "PENDING"
        self.note(uuid, "INFO", message=f"rerouted by {way.value}")

    async def outbound_errors(self, _credentials, *, after, before):
        self.error_spans.append((after, before))
        return self.errors if isinstance(self.errors, Outcome) else tuple(self.errors)

    def note(self, uuid, kind, *, key=None, message=None, channel=None, at=None):
        """Add an action to an invoice."""
        at = at or START + timedelta(seconds=len(self.actions_of[uuid]))
        action = OperatorAction(type=kind, key=key, message=message, channel=channel, happened_at=at)
        self.actions_of[uuid].append(action)

    def fail(self, uuid, message, *, key="action_route_failed", channel="EINVOICE"):
        """Make an invoice FAILED for a reason."""
        self.statuses_of[uuid] = "FAILED"
        self.note(uuid, "ERROR", key=key, message=message, channel=channel)

    async def why_closed(self, credentials):
        if credentials.company_id in self.unverified:
            return "the operator does not let this company in (the company is not verified at the operator)"
        return self.closed.get(credentials.company_id)

    def accept_then_say(self, uuid, content, outcome):
        """Take the upload and answer something else: what a lost answer looks like."""

        async def lose():
            self.held[uuid] = (
                content if isinstance(content, bytes) else b"".join([each async for each in content.read()])
            )
            return outcome

        self.on_upload[uuid].append(lose)


@dataclass
class FakePublisher:
    """Implements ChunkPublisher; `look` is called at each publication, before the chunk is kept."""

    chunks: list = field(default_factory=list)
    fails: bool = False
    look: Callable[[object], None] = lambda _: None

    def publish(self, chunk):
        if self.fails:
            raise ServiceUnavailableError("the broker cannot be reached")
        self.look(chunk)
        self.chunks.append(chunk)

    def take(self):
        chunks, self.chunks = self.chunks, []
        return chunks


class Line:
    """Submit, dispatch, send, probe and follow on one database."""

    def __init__(self, database, vault, **variables):
        self.database, self.vault = database, vault
        given = {
            "POSTILJON_RETRY_WAITS_SECONDS": "0,2,10",
            "POSTILJON_INSTANCE_KEY": INSTANCE_KEY,
            **{f"POSTILJON_{k.upper()}": str(v) for k, v in variables.items()},
        }
        self.settings = settings_from(given)
        arm_here(database, self.settings)
        self.clock, self.operator, self.publisher = FixedClock(), FakeOperator(), FakePublisher()
        self.routing = default_routing(builtin_table())
        self.company = self.add_company("Acme")

    def add_company(self, name):
        company_id = uuid4()
        credentials = CompanyCredentials(company_id=company_id, user_api_key="u", vendor_api_key="v")
        with self.database.transaction() as session:
            save_company(session, credentials, name=name, vault=self.vault, now=self.clock())
        return company_id

    @property
    def dispatcher(self):
        return Dispatcher(database=self.database, publisher=self.publisher, settings=self.settings, clock=self.clock)

    @property
    def sender(self):
        parts = {"database": self.database, "vault": self.vault, "operator": self.operator, "settings": self.settings}
        return Sender(**parts, clock=self.clock, chance=lambda: 0.0)

    @property
    def follower(self):
        parts = {"database": self.database, "vault": self.vault, "operator": self.operator, "settings": self.settings}
        return Follower(**parts, clock=self.clock)

    @property
    def hold_keeper(self):
        parts = {"database": self.database, "vault": self.vault, "operator": self.operator, "settings": self.settings}
        return HoldKeeper(**parts, clock=self.clock)

    @property
    def router(self):
        parts = {"database": self.database, "vault": self.vault, "operator": self.operator, "settings": self.settings}
        return Router(**parts, clock=self.clock, routing=lambda: self.routing)

    def submit(self, count=1, *, company=None, size=0):
        uuids = []
        with self.database.transaction() as session:
            for _ in range(count):
                content = document(padding=size)
                result = submit(
                    session,
                    company=company or self.company,
                    content=content,
                    filename="invoice.xml",
                    now=self.clock(),
                )
                uuids.append(result.uuid)
        return uuids

    def dispatch(self):
        self.dispatcher.run(uuid4())
        return self.publisher.take()

    def work(self, chunks=None):
        """Carry out the chunks, or dispatch and carry out what is due; return the counts of outcomes."""

        async def all_of_them():
            return [
                await (self.sender.probe if chunk.is_probe else self.sender.send)(
                    chunk.company_id, chunk.invoice_ids, epoch=chunk.epoch
                )
                for chunk in (self.dispatch() if chunks is None else chunks)
            ]

        return sum(asyncio.run(all_of_them()), Counter())

    def follow(self):
        return asyncio.run(self.follower.run(uuid4()))

    def check_holds(self):
        """Ask about the held companies whose turn it is; return how many were released."""
        return asyncio.run(self.hold_keeper.run(uuid4()))

    def route(self):
        return asyncio.run(self.router.run(uuid4()))

    def query(self, statement, **parameters):
        with self.database.transaction() as session:
            return session.connection().execute(text(statement), parameters).all()

    def change(self, statement, **parameters):
        with self.database.transaction() as session:
            session.connection().execute(text(statement), parameters)

    def row(self, uuid):
        return self.query("SELECT * FROM invoice WHERE id = :id", id=uuid)[0]

    def states(self, uuids):
        return [self.row(uuid).state for uuid in uuids]

    def content(self, uuid):
        statement = "SELECT content FROM document JOIN invoice ON document_sha256 = sha256 WHERE id = :id"
        return bytes(self.query(statement, id=uuid)[0].content)

    def events(self, uuid):
        return self.query("SELECT * FROM event WHERE invoice_id = :id ORDER BY id", id=uuid)

    def attempts(self, uuid):
        return self.query("SELECT * FROM attempt WHERE invoice_id = :id ORDER BY number", id=uuid)


def document(text="", *, padding=0):
    """A small Finvoice unlike any other."""
    body = text or f"<InvoiceNumber>{uuid4()}</InvoiceNumber>"
    return f"<Finvoice Version='3.0'><InvoiceDetails>{body}</InvoiceDetails><!--{'x' * padding}--></Finvoice>".encode()

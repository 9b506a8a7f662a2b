"""One whole installation on this machine, shared by all tests, and how a test submits to it and waits for it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import text

from pipeline.bootstrap import build_database, build_vault, utc_now
from pipeline.cli.stack import Stack, StackPlan
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.embedded.liveness import wait_until
from pipeline.services.submit import submit
from pipeline.settings import settings_from
from pipeline.storage.companies import list_companies, save_company
from pipeline.storage.reading import Story, read_story

from .nodes import ProcessContainer
from .operator_side import COMPANY_A, NAMES, USER_KEY, VENDOR_KEY, OperatorSide, Sent, complaints
from .papers import Paper, swagger
from .processes import processes_of

SETTINGS = {
    "POSTILJON_READ_TIMEOUT_SECONDS": "1.5",
    "POSTILJON_WRITE_TIMEOUT_SECONDS": "1.5",
    "POSTILJON_CONNECT_TIMEOUT_SECONDS": "1",
    "POSTILJON_CHUNK_INVOICES": "50",
    "POSTILJON_WINDOW_CHUNKS": "3",
    "POSTILJON_RETRY_WAITS_SECONDS": "0,0.3,0.6,1,2",
    "POSTILJON_LOOK_WAITS_SECONDS": "1,2,5",
    "POSTILJON_FOLLOW_INTERVAL_SECONDS": "1",
    "POSTILJON_HOLD_CHECK_SECONDS": "1",
    "POSTILJON_DISPATCH_LEASE_SECONDS": "4",
    "POSTILJON_CLAIM_LEASE_SECONDS": "4",
    "POSTILJON_ABSENCE_SETTLE_SECONDS": "4",
    "POSTILJON_ROUTE_INTERVAL_SECONDS": "1",
    "POSTILJON_REROUTE_SETTLE_SECONDS": "3",
    "POSTILJON_WATCH_INTERVAL_SECONDS": "2",
    "POSTILJON_DELIVERED_LOOKS_SECONDS": "2",
    "POSTILJON_CIRCUIT_WAIT_SECONDS": "1",
    "POSTILJON_CIRCUIT_LONGEST_WAIT_SECONDS": "2",
}
"""Seconds where production waits minutes. The window is what two sending processes hold, and one chunk more."""

TAKEN = ("accepted", "delivered", "failed")
STORIES_TOLD = 3
COUNT_STATES = text("SELECT state, count(*) FROM invoice WHERE id = ANY(:ids) GROUP BY state")
UNTAKEN = text("SELECT id FROM invoice WHERE id = ANY(:ids) AND state <> ALL(:taken) ORDER BY id LIMIT :limit")
EVENTS = text("SELECT invoice_id, kind FROM event WHERE invoice_id = ANY(:ids)")
ATTEMPTS = text("SELECT invoice_id, kind, outcome, http_status FROM attempt WHERE invoice_id = ANY(:ids) ORDER BY id")
FORGET = text("""
    TRUNCATE invoice, attempt, event, document, batch, route_case, failure, way_out, route_order, operator_action,
        alarm, tally, tally_delta, circuit, pace
""")
# Shorter than the second after which the server looks for deadlocks and ends one side, which may be the product's.
IMPATIENT = text("SET LOCAL lock_timeout = '500ms'")
RELEASE = text("UPDATE company SET hold_reason = NULL, held_since = NULL, check_at = NULL, holds = 0")
LATER = text("UPDATE invoice SET due_at = due_at + make_interval(secs => :seconds) WHERE id = ANY(:ids)")
SUCCESSORS = text("SELECT id, encode(document_sha256, 'hex') FROM invoice WHERE supersedes = ANY(:ids)")
REASON = text("SELECT reason FROM invoice WHERE id = :id")
CASES = text("SELECT * FROM route_case WHERE invoice_id = ANY(:ids)")


class Installation:
    """PostgreSQL, Valkey, simulator, workers, beat and Flower under the product's own supervisor."""

    def __init__(self, state_dir: Path, **other_settings: str) -> None:
        arguments = ("--validate", str(swagger()))
        self.rules_file = state_dir.parent / f"{state_dir.name}-routing.toml"
        self.rules("")
        settings = {**SETTINGS, "POSTILJON_ROUTING_FILE": str(self.rules_file), **other_settings}
        self.stack = Stack(StackPlan(state_dir=state_dir, simulator_arguments=arguments, settings=settings))
        self.stack._postgres.durable = False  # what the machine's power cut would cost is not tested here
        self.state_dir = state_dir

    def start(self) -> None:
        """Start everything and wait until it works."""
        self.supervisor = self.stack.prepare()
        self.supervisor.start()
        settings = settings_from(self.stack.environment)
        self.settings = settings
        self.database = build_database(settings)
        self.operator = OperatorSide(self.stack.urls["simulator"])
        self.worker_send = ProcessContainer(self.supervisor, "worker-send", ready_text=" ready.")
        self.worker_pump = ProcessContainer(self.supervisor, "worker-pump", ready_text=" ready.")
        self.worker_follow = ProcessContainer(self.supervisor, "worker-follow", ready_text=" ready.")
        self.beat = ProcessContainer(self.supervisor, "beat", ready_text="beat: Starting")
        self.valkey = ProcessContainer(self.supervisor, "valkey", url=settings.require_broker_url())
        self.postgres = ProcessContainer(self.supervisor, "postgres")
        self._add_companies()
        for node in self.nodes:
            node.ready()

    @contextmanager
    def running(self) -> Iterator["Installation"]:
        """Start it, and leave no process of it behind, whatever happens in between."""
        try:
            self.start()
            yield self
        finally:
            self.stop()
        left = processes_of(self.state_dir)
        assert not left, f"running although everything was stopped: {left}"

    @property
    def nodes(self) -> tuple[ProcessContainer, ...]:
        return (self.postgres, self.valkey, *self.workers, self.beat)

    @property
    def workers(self) -> tuple[ProcessContainer, ...]:
        return (self.worker_send, self.worker_pump, self.worker_follow)

    def stop(self) -> None:
        """Stop everything."""
        if hasattr(self, "operator"):
            self.operator.close()
            self.database.close()
        self.stack.stop()

    @contextmanager
    def broker(self) -> Iterator["redis.Redis"]:
        """A connection to the broker."""
        connection = redis.Redis.from_url(self.settings.require_broker_url(), socket_timeout=5)
        try:
            yield connection
        finally:
            connection.close()

    def _add_companies(self) -> None:
        vault = build_vault(self.settings)
        with self.database.transaction() as session:
            for company, name in NAMES.items():
                keys = CompanyCredentials(company_id=UUID(company), user_api_key=USER_KEY, vendor_api_key=VENDOR_KEY)
                save_company(session, keys, name=name, vault=vault, now=utc_now())

    def fresh(self) -> None:
        """Make sure that everything runs and nothing of an earlier test is left to do."""
        self.operator.calm()
        self.rules("")
        for node in self.nodes:
            node.ready()

        def forgotten() -> bool:
            try:
                with self.database.transaction() as session:
                    for statement in (IMPATIENT, FORGET, RELEASE):
                        session.connection().execute(statement)
            except ServiceUnavailableError:  # a look at an old invoice crossed our way
                return False
            return True

        assert wait_until(forgotten, seconds=60), "the tables could not be emptied"

    # What a test does.

    def rules(self, content: str) -> None:
        """Put routing rules in force; the router reads them in its next round."""
        fresh = self.rules_file.with_suffix(".new")
        fresh.write_text("version = 1\n" + content, encoding="utf-8")
        fresh.replace(self.rules_file)

    def submit(self, papers: Sequence[Paper], *, company: str = COMPANY_A, wait_seconds: float = 0) -> list[Sent]:
        """Submit documents in one transaction, as a producer does; beat rings for them, after a while if wished."""
        with self.database.transaction() as session:
            done = [submit(session, company=UUID(company), content=p.content, filename=p.filename) for p in papers]
            later = {"ids": [each.uuid for each in done], "seconds": wait_seconds}
            session.connection().execute(LATER, later)
        assert all(each.created for each in done), "a test sent the same document as another"
        return [Sent(uuid=str(each.uuid), sha256=each.sha256) for each in done]

    def states(self, sent: Sequence[Sent]) -> Counter[str]:
        """Count the invoices by state."""
        with self.database.transaction() as session:
            rows = session.connection().execute(COUNT_STATES, {"ids": ids_of(sent)}).all()
        return Counter({row[0]: row[1] for row in rows})

    def taken(self, sent: Sequence[Sent]) -> int:
        """Count the invoices that the operator is known to have."""
        states = self.states(sent)
        return sum(states[state] for state in TAKEN)

    def wait_until_taken(self, sent: Sequence[Sent], *, seconds: float) -> None:
        """Wait until all of them are known to be with the operator; tell the stories of those that are not."""
        if not wait_until(lambda: self.taken(sent) == len(sent), seconds=seconds, poll_seconds=0.1):
            raise AssertionError(f"not all accepted within {seconds:g} s: {self.tell(sent)}")

    def wait_for_state(self, sent: Sequence[Sent], state: str, *, seconds: float) -> None:
        """Wait until all of them are in one state."""
        if not wait_until(lambda: self.states(sent)[state] == len(sent), seconds=seconds, poll_seconds=0.1):
            raise AssertionError(f"not all {state} within {seconds:g} s: {self.tell(sent)}")

    def wait_for(self, condition: Callable[[], bool], what: str, sent: Sequence[Sent], *, seconds: float) -> None:
        """Wait for a condition of the test's own."""
        if not wait_until(condition, seconds=seconds, poll_seconds=0.02):
            raise AssertionError(f"{what}: not within {seconds:g} s: {self.tell(sent)}")

    def wait_for_uploads(self, more: int, sent: Sequence[Sent], *, since: int, seconds: float = 30) -> None:
        """Wait until so many more uploads than `since` have reached the operator: the middle of a run."""
        self.wait_for(lambda: self.uploads() >= since + more, f"{more} uploads", sent, seconds=seconds)

    def uploads(self) -> int:
        """How many uploads ever reached the operator."""
        return int(self.operator.totals()["uploads"])

    def lose_every_message(self, broker: "redis.Redis", sent: Sequence[Sent]) -> None:
        """FLUSHALL while the workers sleep and chunks wait in the broker, so that some are lost for sure."""
        with self.worker_send.asleep():
            self.wait_for(lambda: broker.llen("send") > 0, "a chunk that waits in the broker", sent, seconds=30)
            broker.flushall()

    def assert_once(self, sent: Sequence[Sent]) -> dict[str, dict]:
        """Hold the operator's ledger against what was submitted; give it back."""
        ledger = self.operator.ledger()
        found = complaints(ledger, list(sent))
        if found:
            wrong = [one for one in sent if any(line.startswith(one.uuid) for line in found[:STORIES_TOLD])]
            raise AssertionError(f"{len(found)} not exactly once: {found[:10]}: {self.tell(wrong, all_of_them=True)}")
        return ledger

    def events(self, sent: Sequence[Sent]) -> dict[str, Counter[str]]:
        """Count the events of each invoice by kind."""
        with self.database.transaction() as session:
            rows = session.connection().execute(EVENTS, {"ids": ids_of(sent)}).all()
        found: dict[str, Counter[str]] = {one.uuid: Counter() for one in sent}
        for invoice_id, kind in rows:
            found[str(invoice_id)][kind] += 1
        return found

    def attempts(self, sent: Sequence[Sent]) -> dict[str, list[tuple[str, str | None, int | None]]]:
        """List the attempts of each invoice: kind, outcome, HTTP status."""
        with self.database.transaction() as session:
            rows = session.connection().execute(ATTEMPTS, {"ids": ids_of(sent)}).all()
        found: dict[str, list[tuple[str, str | None, int | None]]] = {one.uuid: [] for one in sent}
        for invoice_id, kind, outcome, status in rows:
            found[str(invoice_id)].append((kind, outcome, status))
        return found

    def cases(self, sent: Sequence[Sent]) -> dict[str, Any]:
        """The cases of these invoices, by UUID."""
        with self.database.transaction() as session:
            rows = session.connection().execute(CASES, {"ids": ids_of(sent)}).all()
        return {str(row.invoice_id): row for row in rows}

    def successors(self, sent: Sequence[Sent]) -> list[Sent]:
        """What was sent anew in their place."""
        with self.database.transaction() as session:
            rows = session.connection().execute(SUCCESSORS, {"ids": ids_of(sent)}).all()
        return [Sent(uuid=str(row[0]), sha256=row[1]) for row in rows]

    def reason(self, uuid: str) -> str:
        """Why an invoice stands as it does."""
        with self.database.transaction() as session:
            return str(session.connection().execute(REASON, {"id": UUID(uuid)}).scalar_one())

    def hold_reasons(self) -> dict[str, str | None]:
        """The companies and why they are held."""
        with self.database.transaction() as session:
            return {str(each.id): each.hold_reason for each in list_companies(session)}

    def tell(self, sent: Sequence[Sent], *, all_of_them: bool = False) -> str:
        """The stories of the first few that are not with the operator, for a failure message."""
        with self.database.transaction() as session:
            taken = [] if all_of_them else list(TAKEN)
            asked = {"ids": ids_of(sent), "taken": taken, "limit": STORIES_TOLD}
            open_ids = [row[0] for row in session.connection().execute(UNTAKEN, asked)]
            stories = [_told(read_story(session, each)) for each in open_ids]
        logs = "\n".join(f"--- {node.name}: {node.state}\n{_errors(node.logs())}" for node in self.nodes)
        return f"{dict(self.states(sent))}; processes and stories:\n{logs}\n" + "\n".join(stories)


def ids_of(sent: Sequence[Sent]) -> list[UUID]:
    """The UUIDs as the database takes them."""
    return [UUID(one.uuid) for one in sent]


def _told(story: Story) -> str:
    invoice = story.invoice
    lines = [f"{invoice.id} {invoice.state} epoch {invoice.epoch} due {invoice.due_at} lease {invoice.lease_until}"]
    lines += [f"  {e.at:%H:%M:%S.%f} {e.kind}: {e.source} -> {e.target}, {e.cause}" for e in story.events]
    lines += [f"  attempt {a.number} {a.kind} {a.outcome} {a.http_status} {a.message}" for a in story.attempts]
    return "\n".join(lines)


def _errors(log: str) -> str:
    telling = [line for line in log.splitlines() if re.search(r"ERROR|CRITICAL|Error\b|FATAL", line)]
    return "\n".join(telling[-5:])

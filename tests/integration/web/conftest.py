"""The receiver as a process of its own on loopback, with a real database and two companies that have webhooks."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from pipeline.embedded.ports import free_port
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault
from pipeline.storage.webhooks import mint_webhook
from tests.conftest import TEMPLATE, execute, url_of
from tests.integration.storage.rows import add_company, events, invoice, query, queue

PROJECT = Path(__file__).resolve().parents[3]
START_SECONDS = 30
FAR = timedelta(hours=6)


@dataclass
class Receiver:
    """A running receiver."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, secret: str, content: bytes | dict[str, Any]) -> httpx.Response:
        body = json.dumps(content).encode() if isinstance(content, dict) else content
        return httpx.post(f"{self.url}/webhooks/{secret}", content=body, timeout=30, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def running(database_url: str, log: Path) -> Iterator[Receiver]:
    """Run a receiver until the end of the block."""
    port = free_port()
    environment = {**os.environ, "POSTILJON_DATABASE_URL": database_url, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "web", "--port", str(port)]
    with (
        log.open("ab") as output,
        subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        receiver = Receiver(port, process, log)
        try:
            _wait_until_open(receiver)
            yield receiver
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _wait_until_open(receiver: Receiver) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and receiver.process.poll() is None:
        try:
            receiver.connect().close()
        except OSError:
            select.select([], [], [], 0.05)
        else:
            return
    pytest.fail(f"the receiver did not start: {receiver.log.read_text()}")


@dataclass
class Side:
    """A company with a webhook and an invoice that is next looked at hours later."""

    database: Database
    company: UUID
    secret: str
    invoice_id: UUID

    def hint(self, **changes: Any) -> dict[str, Any]:
        """What the operator would post."""
        told = {
            "event": "DOCUMENTS.INVOICE.FAILED",
            "company_id": str(self.company),
            "event_timestamp": "2026-11-01T02:00:00Z",
            "event_data": {"invoice_id": str(self.invoice_id), "invoice_number": "1", "error_message": "no route"},
        }
        return {**told, **changes}

    @property
    def row(self) -> Any:
        return invoice(self.database, self.invoice_id)

    @property
    def is_due(self) -> bool:
        with self.database.transaction() as session:
            return self.row.look_at is not None and self.row.look_at <= read_clock(session)

    @property
    def heard_at(self) -> datetime | None:
        statement = "SELECT heard_at FROM webhook WHERE company_id = :id"
        return query(self.database, statement, id=self.company)[0].heard_at

    @property
    def hints(self) -> list[str]:
        return [event.cause for event in events(self.database, self.invoice_id) if event.kind == "webhook"]

    def put_off(self, state: str = "accepted", *, look: bool = True) -> None:
        """Bring the invoice into a state by the back door, next looked at hours later or never."""
        statement = """
            UPDATE invoice SET state = CAST(:state AS text), accepted_at = clock_timestamp(), lease_until = clock_timestamp(),
                look_at = CASE WHEN :look THEN clock_timestamp() + :far END, due_at = clock_timestamp(), reason = 'r'
            WHERE id = :id
        """
        with_guards_off = "SET LOCAL session_replication_role = replica"
        with self.database.transaction() as session:
            session.connection().execute(text(with_guards_off))
            session.connection().execute(
                text(statement), {"id": self.invoice_id, "state": state, "look": look, "far": FAR}
            )


def add_side(database: Database, vault: Vault, secret: str) -> Side:
    company = add_company(database, vault, secret)
    side = Side(database, company, secret, queue(database, company)[0])
    side.put_off()
    with database.transaction() as session:
        now = read_clock(session)
        mint_webhook(session, company, secret=secret, base_url="https://hooks.example", vault=vault, now=now)
    return side


@pytest.fixture(scope="module")
def shared_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """One database for all tests of a module, as one receiver serves them all."""
    name = f"web_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield url_of(postgres_server, name)
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shared(shared_url: str) -> Iterator[Database]:
    database = Database(shared_url)
    yield database
    database.close()


@pytest.fixture
def side(shared: Database, vault: Vault) -> Side:
    return add_side(shared, vault, "secret-of-one-" + uuid4().hex)


@pytest.fixture
def other(shared: Database, vault: Vault) -> Side:
    return add_side(shared, vault, "secret-of-other-" + uuid4().hex)


@pytest.fixture(scope="module")
def receiver(shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running(shared_url, tmp_path_factory.mktemp("web") / "log") as started:
        yield started

"""An installation with invoices of every kind is brought to shelves and months, and loses and changes nothing."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from pipeline.domain.state import State
from pipeline.storage import claims, schema
from pipeline.storage.database import Database
from pipeline.storage.shelving import bring_back
from pipeline.storage.submissions import insert_invoice
from tests.conftest import execute, url_of

from .rows import NOW, change, claim, new_invoice, query, stamp

LONG_AGO = NOW - timedelta(days=90)
INVOICE = """
    INSERT INTO invoice (id, company_id, batch_id, document_sha256, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, number, format, submitted_at, changed_at)
    VALUES (:id, :company, :batch, :sha256, 1, 'a.xml', '{}', 'queued', 0, :at, 0, 0, 0, :number, 'UNKNOWN', :at, :at)
"""
MOVE = """
    UPDATE invoice SET state = :state, due_at = CASE WHEN :due THEN due_at END, reason = 'as it was', held_for = 'person',
        lease_until = CASE WHEN :state = 'sending' THEN submitted_at END, look_at = CASE WHEN :looked_at THEN due_at END,
        accepted_at = CASE WHEN :state IN ('accepted', 'delivered', 'failed') THEN submitted_at END
    WHERE id = :id
"""
CASE = """
    INSERT INTO route_case (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words, advice,
        ways, failed_at, opened_at, changed_at, closed_reason)
    VALUES (:company, :id, :status, 1, 'unknown', 'accountant', 'row', '1', 'words', 'advice', '{}', :at, :at, :at, 'over')
    RETURNING id
"""
CASE_ROWS = (
    (
        "INSERT INTO failure (case_id, invoice_id, at, refused, cause, owner, verdict, verdict_version)"
        " VALUES (:case, :id, :at, false, 'unknown', 'accountant', 'row', '1')"
    ),
    (
        "INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, status, not_before, epoch, asked, planned_at,"
        " document_sha256) VALUES (:case, :id, 'email', '{}', 'rule', 'done', :at, 0, 1, :at, '\\x01')"
    ),
    "INSERT INTO operator_action (invoice_id, type, read_at) VALUES (:id, 'ERROR', :at)",
    "INSERT INTO alarm (kind, subject, invoice_id, told, raised_at) VALUES ('lost', :subject, :id, 'told', :at)",
)
TABLES = ("attempt", "event", "document", "route_case", "failure", "way_out", "operator_action", "alarm", "batch")
COUNTED = (
    "SELECT company_id, batch_id, name, sum(n) AS n FROM (SELECT company_id, batch_id, name, n FROM tally"
    " UNION ALL SELECT company_id, batch_id, name, n FROM tally_delta) AS t"
)


class Old:
    """A database as version 0006 left it, with invoices by what they are."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.company = uuid4()
        self.invoices: dict[str, UUID] = {}
        change(
            database,
            "INSERT INTO company (id, name, user_api_key, vendor_api_key, scopes, created_at)"
            " VALUES (:id, 'Acme', '', '', '', :at)",
            id=self.company,
            at=LONG_AGO,
        )
        change(database, "INSERT INTO document VALUES ('\\x01', 'one', 3, 'XML', :at)", at=LONG_AGO)
        change(
            database, "INSERT INTO batch (company_id, name, created_at) VALUES (:c, 'B', :at)", c=self.company, at=NOW
        )
        change(database, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
        for state in State:
            for at, age in ((NOW, "new"), (LONG_AGO, "old")):
                self._add(f"{age} {state}", state, at=at)
        for status in ("open", "closed"):
            self._add(f"{status} case", State.FAILED, at=LONG_AGO)
            self._add_case(self.invoices[f"{status} case"], status)
        self._add("looked at", State.DELIVERED, at=LONG_AGO, looked_at=True)
        change(
            database,
            "UPDATE invoice SET supersedes = :one WHERE id = :two",
            one=self.id("old superseded"),
            two=self.id("old delivered"),
        )
        change(database, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")

    def id(self, name: str) -> UUID:
        return self.invoices[name]

    def _add(self, name, state, *, at, looked_at=False):
        uuid = self.invoices[name] = uuid4()
        batch = query(self.database, "SELECT id FROM batch")[0].id if at == NOW else None
        row = {"id": uuid, "company": self.company, "batch": batch, "sha256": b"\x01", "at": at, "number": name}
        change(self.database, INVOICE, **row)
        due = state in {State.QUEUED, State.WAITING, State.IN_DOUBT}
        change(self.database, MOVE, id=uuid, state=state.value, due=due, looked_at=looked_at)
        for number in (1, 2):
            change(
                self.database,
                "INSERT INTO attempt (invoice_id, number, kind, epoch, started_at) VALUES (:id, :n, 'upload', 0, :at)",
                id=uuid,
                n=number,
                at=at,
            )
            change(
                self.database,
                "INSERT INTO event (invoice_id, at, kind, target, cause) VALUES (:id, :at, 'told', 'queued', :name)",
                id=uuid,
                at=at,
                name=name,
            )

    def _add_case(self, uuid, status):
        case = {"id": uuid, "company": self.company, "status": status, "at": LONG_AGO}
        with self.database.transaction() as session:
            number = session.connection().execute(text(CASE), case).scalar_one()
        for statement in CASE_ROWS:
            names = {"case": number, "id": uuid, "at": LONG_AGO, "subject": str(uuid)}
            change(self.database, statement, **{key: value for key, value in names.items() if f":{key}" in statement})

    def everything(self):
        """All rows but for what the new tables add to an invoice."""
        added = "- 'shelf' - 'attempts' - 'begun_epoch' - 'document_at'"
        found = {"invoice": query(self.database, f"SELECT to_jsonb(i) {added} AS row FROM invoice AS i ORDER BY id")}
        for table in TABLES:
            found[table] = query(self.database, f"SELECT to_jsonb(t) AS row FROM {table} AS t ORDER BY t::text")
        found["tallies"] = query(self.database, f"SELECT * FROM ({COUNTED} GROUP BY 1, 2, 3) AS t ORDER BY t::text")
        return found


@pytest.fixture
def old(postgres_server):
    name = f"old_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name}")
    database = Database(url_of(postgres_server, name))
    with database.engine.begin() as connection:
        command.upgrade(schema._config(connection), "0006")
    yield Old(database)
    database.close()
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def test_every_row_is_the_same_after_the_migration(old):
    """Invoices with their stories, cases and counters are what they were; only what rests is away from open work."""
    before = old.everything()

    assert schema.upgrade(old.database.engine) == schema.newest_revision()

    assert old.everything() == before
    assert schema.drift(old.database.engine) == []
    away = query(old.database, "SELECT number FROM invoice WHERE shelf <> 0 ORDER BY 1")
    rest = ["closed case", "old delivered", *(f"{a} {s}" for a in ("new", "old") for s in ("cancelled", "superseded"))]
    assert sorted(row.number for row in away) == sorted(rest)
    open_ones = query(old.database, "SELECT DISTINCT attempts, document_at FROM invoice_open")
    assert [tuple(row) for row in open_ones] == [(2, LONG_AGO)]
    assert query(old.database, "SELECT count(*) FROM invoice_key") == [(len(old.invoices),)]


def test_work_goes_on_after_the_migration(old):
    """What was due is claimed with its bytes and the next number; what was away comes back with all it needs."""
    schema.upgrade(old.database.engine)
    queued, delivered = old.id("new queued"), old.id("old delivered")

    epoch = stamp(old.database, [queued])
    (claimed,) = claim(old.database, [queued], epoch=epoch)
    with old.database.transaction() as session:
        assert bring_back(session, [delivered, queued]) == [delivered]
        assert not insert_invoice(session, new_invoice(old.company, uuid=old.id("old cancelled")), now=NOW)
        assert insert_invoice(session, new_invoice(old.company), now=NOW)

    with old.database.transaction() as session:
        assert claims.read_documents(session, [claimed]) == {claimed.id: b"one"}
    numbers = query(old.database, "SELECT number FROM attempt WHERE invoice_id = :id ORDER BY id", id=queued)
    assert [row.number for row in numbers] == [1, 2, 3]
    (back,) = query(old.database, "SELECT shelf, attempts, document_at FROM invoice WHERE id = :id", id=delivered)
    assert tuple(back) == (0, 2, LONG_AGO)


def test_an_interrupted_migration_leaves_the_old_tables(old):
    """One transaction: whatever stops it on the way, everything is as it was, and it can be run again."""
    before = old.everything()
    change(old.database, "CREATE TABLE invoice_other ()")

    with pytest.raises(ProgrammingError, match="already exists"):
        schema.upgrade(old.database.engine)

    assert schema.current_revision(old.database.engine) == "0006"
    assert old.everything() == before
    change(old.database, "DROP TABLE invoice_other")
    schema.upgrade(old.database.engine)
    assert old.everything() == before

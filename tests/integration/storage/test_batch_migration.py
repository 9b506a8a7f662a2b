"""An installation with invoices in batches is brought to the tables of this version."""

from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import text

from pipeline.storage import schema
from pipeline.storage.database import Database
from tests.conftest import execute, url_of

from .rows import NOW, query

INVOICE = """
    INSERT INTO invoice (id, company_id, batch_id, document_sha256, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, format, submitted_at, changed_at, deadline)
    VALUES (:id, :company, :batch, '\\x01', 1, 'a.xml', '{}', 'queued', 0, :now, 0, 0, 0, 'UNKNOWN', :now, :now, :deadline)
"""


@pytest.fixture
def old(postgres_server):
    """A database as version 0005 left it."""
    name = f"old_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name}")
    database = Database(url_of(postgres_server, name))
    with database.engine.begin() as connection:
        command.upgrade(schema._config(connection), "0005")
    yield database
    database.close()
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def test_old_batches_have_counters_after_the_migration(old):
    """What is there is counted; batches that are through are completed without an event, the others go on."""
    company = uuid4()
    with old.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO company (id, name, user_api_key, vendor_api_key, scopes, created_at) "
                "VALUES (:id, 'Acme', '', '', '', :now)"
            ),
            {"id": company, "now": NOW},
        )
        connection.execute(text("INSERT INTO document VALUES ('\\x01', '', 1, 'XML', :now)"), {"now": NOW})
        names = {}
        for name in ("through", "going"):
            insert = text("INSERT INTO batch (company_id, name, created_at) VALUES (:c, :name, :now) RETURNING id")
            names[name] = connection.execute(insert, {"c": company, "name": name, "now": NOW}).scalar_one()
        invoices = {}
        for batch, deadline in ((names["through"], None), (names["going"], NOW), (names["going"], None), (None, NOW)):
            invoices[id_ := uuid4()] = batch
            row = {"id": id_, "company": company, "batch": batch, "now": NOW, "deadline": deadline}
            connection.execute(text(INVOICE), row)
        connection.execute(
            text("UPDATE invoice SET state = 'cancelled', due_at = NULL WHERE batch_id = :id"), {"id": names["through"]}
        )

    assert schema.upgrade(old.engine) == schema.newest_revision()

    through, going = query(old, "SELECT * FROM batch ORDER BY name DESC")
    assert (through.total, through.cancelled, through.completed_at, through.completed_total) == (1, 1, NOW, 1)
    assert (going.total, going.open, going.closed_at, going.completed_at) == (2, 2, None, None)
    minute = int(NOW.timestamp()) // 60
    cutoffs = query(old, "SELECT batch_id, name, n FROM tally WHERE subject = 'deadline' ORDER BY batch_id")
    assert [tuple(row) for row in cutoffs] == [(0, f"0/{minute}", 1), (going.id, f"0/{minute}", 1)]
    assert schema.drift(old.engine) == []
    assert query(old, "SELECT DISTINCT priority, not_before FROM invoice") == [(0, None)]

"""What a person is told when the database is away, full, old or busy: one line, and nothing half-written."""

import os
import subprocess

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pipeline.domain.errors import ConfigurationError, ServiceUnavailableError
from pipeline.embedded.ports import free_port
from pipeline.storage import schema
from pipeline.storage.database import Database, translated
from pipeline.storage.partitions import part_names

from .rows import NOW, change, insert_invoice, new_invoice, query, queue


def test_a_database_that_is_down_is_one_line():
    down = Database(f"postgresql+psycopg://postiljon:secret-word@127.0.0.1:{free_port()}/postiljon")

    with pytest.raises(ServiceUnavailableError, match="cannot be reached") as caught, down.transaction() as session:
        session.connection()

    assert "\n" not in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_a_pool_without_a_free_connection_is_one_line(database_url):
    small = Database(database_url, pool_size=1)
    small.engine.pool._max_overflow, small.engine.pool._timeout = 0, 0.1

    with small.engine.connect(), pytest.raises(ServiceUnavailableError), small.transaction() as session:
        session.connection()
    small.close()


def test_connections_that_died_are_replaced(database):
    query(database, "SELECT 1")
    with psycopg.connect(database.engine.url.render_as_string(False).replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                      "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip

    assert query(database, "SELECT 1") == [(1,)]


def test_a_database_without_our_tables_says_what_to_do(postgres_server):
    empty = Database(postgres_server.url)

    with pytest.raises(ConfigurationError, match="postiljon db upgrade") as caught:
        query(empty, "SELECT * FROM invoice")
    empty.close()

    assert "\n" not in str(caught.value)


def test_a_read_only_database_says_so(database):
    with pytest.raises(ServiceUnavailableError, match="read-only"):
        change(database, "SET TRANSACTION READ ONLY; DELETE FROM event")


@pytest.mark.parametrize(
    "cause",
    [
        psycopg.errors.DiskFull(
            'could not extend file "base/1/2": No space left on device\nHINT:  Check free disk space.'
        ),
        psycopg.errors.OutOfMemory("out of memory"),
    ],
    ids=["disk", "memory"],
)
def test_a_database_without_room_says_so_in_one_line(cause):
    with (
        pytest.raises(ServiceUnavailableError, match=r"no room .*nothing was stored, free space") as caught,
        translated(),
    ):
        raise OperationalError("INSERT ...", {}, cause)

    assert "\n" not in str(caught.value)


def test_a_failure_in_the_middle_leaves_nothing(database, company):
    def interrupted():
        with database.transaction() as session:
            insert_invoice(session, new_invoice(company, batch="night"), now=NOW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    for table in ("invoice", "document", "event", "batch"):
        assert query(database, f"SELECT count(*) FROM {table}") == [(0,)]


@pytest.fixture
def small_disk(postgres_server, tmp_path):
    """A folder of 8 MB that PostgreSQL may write to."""
    place = tmp_path / "small"
    place.mkdir()
    options = f"size=8m,mode=0700,uid={postgres_server.data.stat().st_uid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine lets the present user mount no small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def documents_on_small_disk(database, small_disk):
    name = f"small_{os.getpid()}"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE TABLESPACE {name} LOCATION '{small_disk}'"))
        parts = part_names(connection, "document")
        for part in parts:
            connection.execute(text(f"ALTER TABLE {part} SET TABLESPACE {name}"))
        yield
        for part in parts:
            connection.execute(text(f"ALTER TABLE {part} SET TABLESPACE pg_default"))
        connection.execute(text(f"DROP TABLESPACE {name}"))


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(documents_on_small_disk, database, company):
    (kept,) = queue(database, company)
    large = new_invoice(company, content=os.urandom(16 * 1024 * 1024))

    with pytest.raises(ServiceUnavailableError, match="no room") as caught, database.transaction() as session:
        insert_invoice(session, large, now=NOW)

    assert "\n" not in str(caught.value)
    assert query(database, "SELECT id FROM invoice") == [(kept,)]
    assert query(database, "SELECT count(*) FROM document") == [(1,)]


def test_migrating_twice_changes_nothing(database):
    assert schema.upgrade(database.engine) == schema.newest_revision() == schema.current_revision(database.engine)


def test_two_open_submissions_share_a_batch_without_waiting(database, company):
    with database.transaction() as session:
        insert_invoice(session, new_invoice(company, batch="night"), now=NOW)

    with database.transaction() as one, database.transaction() as two:
        for session in (one, two):
            session.connection().execute(text("SET LOCAL lock_timeout = '500ms'"))
            insert_invoice(session, new_invoice(company, batch="night"), now=NOW)

    assert query(database, "SELECT count(*), count(DISTINCT batch_id) FROM invoice") == [(3, 1)]


def test_stricter_level_of_the_server_is_not_ours(postgres_server, database_url):
    """Claims lock first and look then, so every transaction is READ COMMITTED whatever the server is set to."""
    name = database_url.rpartition("/")[2]
    with psycopg.connect(postgres_server.url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'".encode())
    opened = Database(database_url)

    level = query(opened, "SHOW transaction_isolation")
    opened.close()

    assert level == [("read committed",)]

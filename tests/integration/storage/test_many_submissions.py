"""Many invoices written at once: each once, in an order that cannot deadlock, one group not in the way of another."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from threading import Barrier
from uuid import uuid4

import pytest
from psycopg.errors import DeadlockDetected, DiskFull
from sqlalchemy import event, text

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage.database import translated, was_ended
from pipeline.storage.submissions import find_many_stored, insert_invoice, insert_invoices

from .rows import NOW, change, new_invoice, query, wait_for_a_lock

FULL = {
    "filename": "1001.xml",
    "reference": "R-1",
    "options_json": '{"lang": "FI"}',
    "format": "FINVOICE",
    "number": "1001",
    "issue_date": date(2026, 11, 1),
    "total": Decimal("12.50"),
    "currency": "EUR",
    "seller_name": "Myyjä Oy",
    "buyer_name": 'Ostaja € {x}, "y" \\ NULL',
    "deadline": NOW + timedelta(hours=3),
    "not_before": NOW + timedelta(hours=1),
    "priority": 3,
}


def insert(database, news):
    with database.transaction() as session:
        return insert_invoices(session, news, now=NOW)


def test_many_are_written_as_one_is(database, company):
    one = replace(new_invoice(company, batch="night"), **FULL)
    many = [replace(one, id=uuid4()), replace(new_invoice(company), id=uuid4())]

    with database.transaction() as session:
        insert_invoice(session, one, now=NOW)
    created = insert(database, many)

    assert created == {new.id for new in many}
    columns = "to_jsonb(invoice) - 'id'"
    written = [query(database, f"SELECT {columns} FROM invoice WHERE id = '{new.id}'") for new in (one, many[0])]
    assert written[0] == written[1]
    events = [
        query(database, f"SELECT to_jsonb(event) - 'id' - 'invoice_id' FROM event WHERE invoice_id = '{new.id}'")
        for new in (one, many[0])
    ]
    assert events[0] == events[1] != []
    assert query(database, "SELECT batch_id IS NULL, number FROM invoice WHERE id = '" + str(many[1].id) + "'") == [
        (True, None)
    ]


def test_only_those_not_taken_are_told_and_written(database, company):
    known, fresh = new_invoice(company), new_invoice(company)
    insert(database, [known])

    assert insert(database, [known, fresh, replace(known, content=b"other", sha256=b"o" * 32)]) == {fresh.id}
    assert query(database, "SELECT count(*) FROM event") == [(2,)]
    assert insert(database, []) == set()


def test_the_first_of_two_with_one_uuid_counts(database, company):
    first = new_invoice(company)
    second = replace(new_invoice(company), id=first.id)

    assert insert(database, [first, second]) == {first.id}
    assert query(database, "SELECT document_sha256 FROM invoice") == [(first.sha256,)]


def test_documents_of_every_kind_of_bytes_stay_as_they_are(database, company):
    news = [new_invoice(company, content=content) for content in (bytes(range(256)), os.urandom(300_000), b"\0")]

    insert(database, news)

    for new in news:
        assert query(database, f"SELECT content FROM document WHERE sha256 = '\\x{new.sha256.hex()}'") == [
            (new.content,)
        ]


def test_what_stands_under_many_is_found_in_one_question(database, company):
    full, other = replace(new_invoice(company), **FULL), new_invoice(company)
    insert(database, [full, other])

    with database.transaction() as session:
        found = find_many_stored(session, [full.id, other.id, uuid4()])

    assert set(found) == {full.id, other.id}
    assert (found[full.id].sha256, found[full.id].options) == (full.sha256, {"lang": "FI"})
    assert (found[full.id].number, found[full.id].total) == ("1001", Decimal("12.50"))


def test_two_groups_of_the_same_documents_wait_and_never_deadlock(database, company):
    """Groups of the same files in other orders, at the same time: each invoice is created once, and nobody is ended."""
    shuffled = random.Random(1)

    for _ in range(10):
        news = [new_invoice(company, batch=f"batch {n % 3}") for n in range(40)]
        together = Barrier(3)

        def go(order, together=together):
            together.wait(timeout=10)
            return insert(database, order)

        with ThreadPoolExecutor(3) as threads:
            created = list(threads.map(go, [shuffled.sample(news, len(news)) for _ in range(3)]))

        assert sum(map(len, created)) == len(news)
    assert query(database, "SELECT count(*), count(DISTINCT document_sha256) FROM invoice") == [(400, 400)]


def test_a_document_that_came_meanwhile_is_no_failure(database, company):
    """A document that another transaction wrote after we asked and before we copied is shared, the rest is written."""
    shared = new_invoice(company)
    news = [replace(shared, id=uuid4()), new_invoice(company)]

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            insert_invoice(session, shared, now=NOW)
            waiting = threads.submit(insert, database, news)
            wait_for_a_lock(database)
        created = waiting.result(timeout=30)

    assert created == {new.id for new in news}
    assert query(database, "SELECT count(*) FROM document") == [(2,)]


def test_a_copy_that_fails_is_told_as_any_failure():
    with pytest.raises(ServiceUnavailableError, match="no room"), translated():
        raise DiskFull("no space left")
    with pytest.raises(ServiceUnavailableError) as caught, translated():
        raise DeadlockDetected("deadlock")
    assert was_ended(caught.value)
    assert not was_ended(ServiceUnavailableError("away"))


def test_a_group_that_fails_leaves_nothing(database, company):
    broken = replace(new_invoice(company), total="no number")

    with pytest.raises(Exception, match="no number"):
        insert(database, [new_invoice(company, batch="night"), broken])

    for table in ("invoice", "document", "event", "batch"):
        assert query(database, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_the_callers_transaction_goes_on_after_many(database, company):
    with database.transaction() as session:
        insert_invoices(session, [new_invoice(company)], now=NOW)
        insert_invoices(session, [new_invoice(company)], now=NOW)
        session.connection().execute(text("SELECT 1"))

    assert query(database, "SELECT count(*) FROM invoice") == [(2,)]


def test_a_group_looks_its_uuids_up_and_does_not_read_all_there_ever_were(database, company):
    """Beside 20,000 used UUIDs a join would read every one of them; the plan must not turn to that."""
    change(database, "INSERT INTO invoice_key SELECT gen_random_uuid() FROM generate_series(1, 20000)")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE invoice_key")
    plans = []

    def explain(connection, _cursor, statement, parameters, *_):
        if "invoice_key" in statement:
            told = connection.connection.driver_connection.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row[0] for row in told))

    event.listen(database.engine, "before_cursor_execute", explain)
    try:
        insert(database, [new_invoice(company) for _ in range(500)])
    finally:
        event.remove(database.engine, "before_cursor_execute", explain)

    assert len(plans) == 1
    assert "Seq Scan on invoice_key" not in plans[0]

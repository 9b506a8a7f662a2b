"""What must stay flat while history grows finds its rows without looking into the past: held to plans, not to times."""

import asyncio
import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from bench.history.writing import add_companies, plan_before, write_history
from pipeline.domain.state import State
from pipeline.storage.listing import InvoiceFilter, list_invoices
from pipeline.storage.reading import read_story
from tests.integration.services.line import Line
from tests.integration.services.routes import case, failed, opened, plan, way

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MONTH = re.compile(r"\binvoice_20\d\d_\d\d\b")


@pytest.fixture
def written(database, vault):
    """A database with a history of half a year, statistics included."""
    plan = plan_before(NOW, companies=12, months=6, jobs=1)
    add_companies(database, vault, plan)
    write_history(database, plan, first=0, last=2000)
    return database


@pytest.fixture
def statements(written):
    """Every statement that was run, with its parameters."""
    seen = {}

    def note(_connection, _cursor, statement, parameters, *_):
        seen[statement] = parameters[0] if isinstance(parameters, list) and parameters else parameters

    event.listen(written.engine, "before_cursor_execute", note)
    yield seen
    event.remove(written.engine, "before_cursor_execute", note)


def explain(database, statement, parameters, *, settings=()):
    with database.engine.connect() as connection, connection.begin() as transaction:
        for name in settings:
            connection.execute(text(f"SET LOCAL {name} = off"))
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
        transaction.rollback()
    return "\n".join(rows)


def looked_into_months(database, statements):
    """The statements of which the plan names a finished month, and two of those months."""
    return {
        " ".join(statement.split())[:90]: sorted(set(found))[:2]
        for statement, parameters in list(statements.items())
        if statement.lstrip(" (\n").upper().startswith(("SELECT", "WITH", "UPDATE", "INSERT", "DELETE"))
        and (found := MONTH.findall(explain(database, statement, parameters)))
    }


def test_open_work_looks_into_no_month(written, vault, statements):
    """Submit, dispatch, claim, record, follow and the daily pass plan no scan of a finished month."""
    line = Line(written, vault)
    uuids = line.submit(3)
    line.operator.statuses_of[uuids[0]] = "DELIVERED"
    line.operator.fail(uuids[1], "Not enough recipient information")
    statements.clear()

    line.submit()
    line.work()
    line.clock.pass_seconds(3600)
    line.follow()
    asyncio.run(line.follower.backup(uuid4()))

    assert len(statements) > 20
    assert looked_into_months(written, statements) == {}


def test_routing_looks_into_no_month(written, vault, statements):
    """Nor do opening cases, asking the rules, carrying out a way out, and an order whose canary is on its way."""
    line = Line(written, vault)
    uuid = opened(line)
    way_out = plan(line, uuid)
    line.change(
        "INSERT INTO route_order (kind, chosen, status, canary_id, canary_until, undo_until, per_minute, created_at)"
        " VALUES ('email', '{}', 'canary', :way, :now, :now, 60, :now)",
        way=way_out,
        now=line.clock(),
    )
    decided = failed(line)
    statements.clear()

    line.route()

    assert (way(line, way_out).status, case(line, decided).status) == ("done", "open")
    # A single case that is held, and the canary of an order once it is sent, are looked for by their UUID everywhere.
    one_alone = ("SELECT route_case.id, route_case.status, plan", "SELECT greatest(w.finished_at, i.accepted_at)")
    looked = looked_into_months(written, statements)
    assert [each for each in looked if not each.startswith(one_alone)] == []


def test_showing_open_work_looks_into_no_month_of_invoices(written, vault, statements):
    """What people ask about most is shown without planning for every month there is; what is put away is found too."""
    line = Line(written, vault)
    [uuid] = line.submit()
    line.work()
    away = line.query("SELECT id FROM invoice WHERE shelf <> 0 AND state = 'superseded' LIMIT 1")[0].id
    statements.clear()

    with written.transaction() as session:
        assert read_story(session, uuid).chain[0].invoice_id == uuid
    assert looked_into_months(written, statements) == {}

    with written.transaction() as session:
        chain = read_story(session, away).chain
    assert (len(chain), chain[0].invoice_id) == (2, away)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (InvoiceFilter(), "submitted"),
        (InvoiceFilter(state=State.REFUSED), "state"),
        (InvoiceFilter(state=State.CANCELLED), "state"),
        (InvoiceFilter(number="10000007"), "number"),
        (InvoiceFilter(batch="2026-07"), "batch"),
        (InvoiceFilter(since=NOW), "submitted"),
    ],
    ids=["all", "refused", "cancelled", "number", "batch", "since"],
)
def test_lists_have_an_index_in_every_month(written, statements, wanted, index):
    """Each filter of a list is served by an index in the list's order: nothing is read only to be sorted or left out."""
    with written.transaction() as session:
        statements.clear()
        list_invoices(session, wanted)
    [(statement, parameters)] = [each for each in statements.items() if "invoice" in each[0]]

    # On so few rows everything is cheap. One number is few invoices, which may be sorted.
    without = ("enable_seqscan", "enable_bitmapscan", *(() if wanted.number else ("enable_sort",)))
    plan = explain(written, statement, parameters, settings=without)

    assert re.search(rf"using invoice_20\d\d_\d\d\w*{index}\w* on invoice_20", plan), plan
    assert not re.search(r"Seq Scan on invoice_20", plan), plan


def test_a_small_companys_list_has_one_too(written, statements):
    line_company = "SELECT id FROM company ORDER BY name DESC LIMIT 1"
    with written.transaction() as session:
        company = session.connection().execute(text(line_company)).scalar_one()
        statements.clear()
        list_invoices(session, InvoiceFilter(company_id=company))
    [(statement, parameters)] = statements.items()

    plan = explain(written, statement, parameters, settings=("enable_seqscan", "enable_bitmapscan", "enable_sort"))

    assert re.search(r"using invoice_20\d\d_\d\d_company\w* on invoice_20", plan), plan

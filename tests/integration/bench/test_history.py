"""The generated history beside what the line itself leaves: the same events, attempts, actions, fields and counters."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from bench.history import shape
from bench.history.writing import add_companies, plan_before, write_history
from pipeline.cli.board import read_board
from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.storage.listing import InvoiceFilter, count_listed, list_invoices
from pipeline.storage.reading import read_story
from pipeline.storage.settling import count_unsettled, is_balanced, read_standings
from tests.integration.services.line import Line

K = OutcomeKind
INVOICES = 4000
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def written(database, vault):
    """A database with a small history."""
    plan = plan_before(NOW, companies=12, months=6, jobs=1)
    add_companies(database, vault, plan)
    write_history(database, plan, first=0, last=INVOICES // 2)
    write_history(database, plan, first=INVOICES // 2, last=INVOICES)
    return database


def test_counters_agree_with_the_invoices_written(written):
    """Board and batches, which only add up counters, tell of a history what counting its invoices tells."""
    with written.transaction() as session:
        standings = read_standings(session)
        balanced, unsettled = is_balanced(session, standings), count_unsettled(session)
        total = count_listed(session, InvoiceFilter())

    assert len(standings.invoices) == total == INVOICES
    assert balanced
    assert unsettled == 0
    assert {kept.state for kept in standings.invoices.values()} == {way.state for way in shape.EVERY_WAY}
    assert sum(standings.cases.values()) == sum(
        kept.state in {State.FAILED, State.REFUSED, State.SUPERSEDED} for kept in standings.invoices.values()
    )


def test_rules_of_the_tables_hold_for_what_is_written(written):
    """Keys point to what is there, though they were not looked at while it was written."""
    broken = "NOT EXISTS (SELECT 1 FROM {} AS o WHERE o.{} = t.{})"
    ties = [
        ("invoice", "document", "sha256", "document_sha256"),
        ("invoice", "company", "id", "company_id"),
        ("event", "invoice", "id", "invoice_id"),
        ("attempt", "invoice", "id", "invoice_id"),
        ("route_case", "invoice", "id", "invoice_id"),
        ("way_out", "invoice", "id", "successor_id"),
    ]

    with written.transaction() as session:
        for table, other, key, column in ties:
            loose = f"SELECT count(*) FROM {table} AS t WHERE {broken.format(other, key, column)}"
            assert session.connection().execute(text(loose)).scalar_one() == 0, (table, column)
        resent = session.connection().execute(
            text("""SELECT count(*) FROM invoice AS i JOIN invoice AS o ON o.id = i.supersedes
                    WHERE o.state = 'superseded' AND o.company_id = i.company_id""")
        )
        assert resent.scalar_one() == INVOICES // shape.PAIR_EVERY


def test_each_way_leaves_what_the_line_leaves(written, vault):
    """Delivered, doubted, throttled, unavailable and failed: kinds and states of events, attempts and actions agree."""
    line = Line(written, vault)
    plain, timeout, throttled, unavailable, failed = line.submit(5)
    answers = {
        timeout: Outcome(kind=K.IN_DOUBT, error_code="read_timeout", message="the operator did not answer in time"),
        throttled: Outcome(kind=K.THROTTLED, http_status=429, error_code="too_many_requests", message="x"),
        unavailable: Outcome(kind=K.UNAVAILABLE, http_status=503, error_code="service_unavailable", message="x"),
    }
    for uuid, outcome in answers.items():
        line.operator.on_upload[uuid].append(outcome)
    line.operator.accept_then_say(timeout, b"", line.operator.on_upload[timeout].pop())
    for _ in range(6):
        line.work()
        line.clock.pass_seconds(60)
    ways = {plain: "delivered", timeout: "timeout", throttled: "throttled", unavailable: "unavailable"}
    for uuid in ways:
        line.operator.statuses_of[uuid] = "DELIVERED"
    line.operator.statuses_of[failed] = "FAILED"
    line.clock.pass_seconds(3600)
    line.follow()
    line.route()

    for uuid, name in {**ways, failed: "failed"}.items():
        way = next(each for each in shape.EVERY_WAY if each.name == name)
        left = [(event.kind, event.source, event.target) for event in line.events(uuid)]
        told = [(event.kind, event.source, event.target) for event in way.events if event.kind != "case_closed"]
        assert left == told, name
        assert [(each.kind, each.outcome) for each in line.attempts(uuid)] == [
            (each.kind, each.outcome) for each in way.attempts
        ], name
        assert line.row(uuid).state == way.state


def test_a_written_invoice_reads_like_one_of_the_line(written, vault):
    """The fields that a delivered invoice of the line has are those that a written one has."""
    line = Line(written, vault)
    [uuid] = line.submit()
    line.work()
    line.operator.statuses_of[uuid] = "DELIVERED"
    line.operator.actions_of[uuid] = [OperatorAction(type="SENT", channel="EINVOICE", happened_at=line.clock())]
    line.operator.actions_in_list = True
    line.clock.pass_seconds(60)
    line.follow()
    line.clock.now += timedelta(days=30)
    line.follow()

    [old] = line.query("SELECT id FROM invoice WHERE number = '10000000'")
    mine, its = line.row(uuid)._mapping, line.row(old.id)._mapping
    unlike = {name for name in mine if (mine[name] is None) != (its[name] is None)}

    assert unlike <= {"batch_id", "issue_date", "total", "currency", "seller_name", "buyer_name", "channel", "number"}
    with written.transaction() as session:
        assert len(read_story(session, old.id).events) == len(read_story(session, uuid).events)
        assert list_invoices(session, InvoiceFilter(limit=1))[0][0].id == uuid
        assert read_board(written, line.settings).tallies.states()[State.DELIVERED] > INVOICES // 2

"""Which invoice of a company goes first, and that nothing goes before its time; all at the same cost beside any backlog."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.domain.outcome import OutcomeKind
from pipeline.domain.state import State
from pipeline.storage import dispatching, holding
from pipeline.storage.submissions import insert_invoice, insert_invoices

from .rows import NOW, bring_into_doubt, change, claim, invoice, new_invoice, query, queue, record, stamp

TOMORROW = NOW + timedelta(days=1)
WAYS = {
    "one": lambda session, new, now: insert_invoice(session, new, now=now),
    "many": lambda session, new, now: insert_invoices(session, [new], now=now),
}
PLANS = {
    "due-by-one-cut-off": ("CAST(:now AS timestamptz)", "CAST(:now AS timestamptz)", "number % 2"),
    "due-at-any-priority": ("CAST(:now AS timestamptz)", "CAST(NULL AS timestamptz)", "number % 10"),
    "asleep-till-one-moment": (
        "CAST(:now AS timestamptz) + interval '1 day'",
        "CAST(:now AS timestamptz)",
        "number % 10",
    ),
    "asleep-with-few-cut-offs": (
        "CAST(:now AS timestamptz) + interval '1 day'",
        "CAST(:now AS timestamptz) + number % 20 * interval '1 hour'",
        "number % 2",
    ),
    "asleep-with-a-cut-off-each": (
        "CAST(:now AS timestamptz) + interval '1 day'",
        "CAST(:now AS timestamptz) + number * interval '1 second'",
        "0",
    ),
}
FILL = """
    INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, format, submitted_at, changed_at, deadline, priority)
    SELECT gen_random_uuid(), :company, :sha256, :now, 1000, 'invoice.xml', '{{}}', 'queued', 0, {due}, 0, 0, 0, 'UNKNOWN',
        :now, :now, {deadline}, {priority}
    FROM generate_series(1, 100000) AS number
"""


def submit(database, company, *, way="one", at=NOW, **order):
    new = replace(new_invoice(company), **order)
    with database.transaction() as session:
        WAYS[way](session, new, at)
    return new.id


def pick(database, company, *, share=10, now=NOW):
    with database.transaction() as session:
        return [each.id for each in dispatching.pick_due(session, {company: share}, now=now)]


@pytest.mark.parametrize("way", WAYS)
def test_priority_comes_first_then_deadline_then_age(database, company, way):
    late = submit(database, company, way=way, at=NOW, deadline=TOMORROW)
    plain = submit(database, company, way=way, at=NOW - timedelta(hours=2))
    soon = submit(database, company, way=way, deadline=NOW + timedelta(hours=1))
    raised = submit(database, company, way=way, priority=1)
    first = submit(database, company, way=way, priority=9)
    raised_soon = submit(database, company, way=way, priority=1, deadline=TOMORROW)
    old = submit(database, company, way=way, at=NOW - timedelta(hours=1))

    assert pick(database, company) == [first, raised_soon, raised, soon, late, plain, old]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_handed_out_before_its_time(database, company, way):
    asleep = submit(database, company, way=way, not_before=TOMORROW, priority=9, deadline=NOW)

    assert pick(database, company, now=TOMORROW - timedelta(seconds=1)) == []
    assert pick(database, company, now=TOMORROW) == [asleep]


def test_a_moment_that_is_over_makes_nobody_older(database, company):
    asleep = submit(database, company, not_before=NOW - timedelta(days=1))

    assert invoice(database, asleep).due_at == NOW


def test_a_hold_that_ends_wakes_nothing_before_its_time(database, company):
    """Whoever makes an invoice due again, it stays asleep until its time."""
    asleep = submit(database, company, not_before=TOMORROW)
    change(database, "UPDATE invoice SET state = 'held', held_for = 'person', reason = 'x', due_at = NULL")

    with database.transaction() as session:
        assert holding.release_invoice(session, asleep, now=NOW) is State.QUEUED

    assert pick(database, company) == []
    assert invoice(database, asleep).due_at == TOMORROW


def test_what_a_probe_did_not_find_waits_for_its_time(database, company):
    (asleep,) = queue(database, company)
    bring_into_doubt(database, [asleep])
    change(database, "UPDATE invoice SET not_before = :at", at=TOMORROW)
    epoch = stamp(database, [asleep])
    claimed = claim(database, [asleep], epoch=epoch, probes=True)

    record(database, claimed, OutcomeKind.ABSENT, State.WAITING, epoch=epoch, due_at=NOW)

    assert invoice(database, asleep).due_at == TOMORROW


def test_the_database_knows_ten_priorities(database, company):
    for wrong in (-1, 10):
        with pytest.raises(Exception, match="invoice_priority_known"):
            submit(database, company, priority=wrong)


@pytest.mark.parametrize("plan", PLANS)
def test_picking_costs_the_same_beside_any_backlog(database, company, plan):
    """Beside 100,000 invoices, due or asleep, a pick reads a few pages and takes the one that is first."""
    due, deadline, priority = PLANS[plan]
    first = submit(database, company, at=NOW - timedelta(hours=1), deadline=NOW - timedelta(days=1), priority=9)
    others = [submit(database, company, at=NOW - timedelta(hours=1)) for _ in range(3)]
    (sha256, *_) = [row.sha256 for row in query(database, "SELECT sha256 FROM document")]
    change(
        database, FILL.format(due=due, deadline=deadline, priority=priority), company=company, sha256=sha256, now=NOW
    )
    change(database, "ANALYZE invoice")

    picked = pick(database, company, share=4)
    pages = {
        name: _pages(database, getattr(dispatching, name), companies=[company], shares=[50], now=NOW)
        for name in ("PICK_URGENT", "PICK_OTHERS")
        if "asleep" in plan or name == "PICK_URGENT"
    }

    assert picked[0] == first
    assert "asleep" not in plan or picked[1:] == others
    assert all(count < 600 for count in pages.values()), pages


def _pages(database, statement, **parameters):
    with database.transaction() as session:
        explain = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}")
        answer = session.connection().execute(explain, parameters).scalar_one()
        plan = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

"""Picking and counting for the pump: in order, bounded, never twice, and cheap beside any backlog."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.storage import dispatching
from pipeline.storage.dispatching import InFlight

from .rows import LEASE, NOW, add_company, bring_into_doubt, change, claim, queue, stamp

LATER = NOW + LEASE + timedelta(seconds=1)
HORIZON = timedelta(seconds=2)


def pick(database, shares, *, now=NOW):
    with database.transaction() as session:
        return [each.id for each in dispatching.pick_due(session, shares, now=now)]


def give_deadline(database, invoice_id, days):
    change(database, "UPDATE invoice SET deadline = :at WHERE id = :id", id=invoice_id, at=NOW + timedelta(days=days))


def test_two_dispatchers_at_once_pick_different_invoices(database, company, vault):
    other = add_company(database, vault, "Beta")
    ids = queue(database, company, 30) + queue(database, other, 30)
    first_has_picked, second_has_picked = Event(), Event()

    def hand_out(mine, theirs):
        with database.transaction() as session:
            due = dispatching.pick_due(session, {company: 10, other: 10}, now=NOW)
            mine.set()
            assert theirs.wait(timeout=10)
            dispatching.stamp(session, [[each.id for each in due]], now=NOW, until=NOW + LEASE)
            return [each.id for each in due]

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(hand_out, first_has_picked, second_has_picked)
        two = threads.submit(hand_out, second_has_picked, first_has_picked)
        picked = one.result(timeout=20) + two.result(timeout=20)

    assert len(picked) == len(set(picked)) == 40
    assert set(picked) <= set(ids)


def test_due_invoices_come_oldest_first(database, company):
    late = queue(database, company, 3, now=NOW)
    early = queue(database, company, 3, now=NOW - timedelta(hours=1))

    picked = pick(database, {company: 10})

    assert (set(picked[:3]), set(picked[3:])) == (set(early), set(late))


def test_the_earliest_deadline_comes_first_then_the_oldest(database, company):
    (oldest,) = queue(database, company, now=NOW - timedelta(hours=2))
    (old,) = queue(database, company, now=NOW - timedelta(hours=1))
    next_week, tomorrow = queue(database, company, 2)
    give_deadline(database, next_week, 7)
    give_deadline(database, tomorrow, 1)

    assert pick(database, {company: 10}) == [tomorrow, next_week, oldest, old]
    assert pick(database, {company: 3}) == [tomorrow, next_week, oldest]


def test_a_deadline_does_not_make_an_invoice_due(database, company):
    (waiting,) = queue(database, company, now=NOW + timedelta(minutes=1))
    give_deadline(database, waiting, 1)
    (due,) = queue(database, company)

    assert pick(database, {company: 10}) == [due]


def test_each_company_gets_its_own_share(database, company, vault):
    other = add_company(database, vault, "Beta")
    mine, theirs = set(queue(database, company, 5)), set(queue(database, other, 5))

    picked = set(pick(database, {company: 1, other: 3}))

    assert (len(picked & mine), len(picked & theirs)) == (1, 3)


def test_what_is_not_due_yet_is_neither_picked_nor_counted(database, company):
    queue(database, company, now=NOW + timedelta(seconds=1))

    assert pick(database, {company: 10}) == []
    with database.transaction() as session:
        assert dispatching.find_contenders(session, now=NOW, little=10) == []
        assert dispatching.count_backlogs(session, {company: 10}, now=NOW) == {company: 0}


def test_backlogs_are_counted_up_to_a_number(database, company):
    queue(database, company, 7)

    with database.transaction() as session:
        (contender,) = dispatching.find_contenders(session, now=NOW, little=3)
        assert contender.backlog == 3
        assert dispatching.count_backlogs(session, {company: 5}, now=NOW) == {company: 5}
        assert dispatching.count_backlogs(session, {company: 50}, now=NOW) == {company: 7}


def test_leased_invoices_count_as_in_flight_until_the_lease_is_over(database, company):
    ids = queue(database, company, 5)
    stamp(database, ids[:3])

    with database.transaction() as session:
        whole = {company: InFlight(whole=3, fresh=3, on_the_way=3)}
        assert dispatching.count_in_flight(session, now=NOW, horizon=HORIZON) == whole
        assert dispatching.count_in_flight(session, now=LATER, horizon=HORIZON) == {}


def test_what_is_uploading_for_long_waits_for_no_turn(database, company):
    """Uploads that take long are in flight, but they have had their turn: they keep no others from theirs."""
    ids = queue(database, company, 3)
    claim(database, ids[:2], epoch=stamp(database, ids[:2]))
    stamp(database, ids[2:])

    with database.transaction() as session:
        at_once = dispatching.count_in_flight(session, now=NOW, horizon=HORIZON)
        later = dispatching.count_in_flight(session, now=NOW + HORIZON, horizon=HORIZON)

    assert at_once == {company: InFlight(whole=3, fresh=3, on_the_way=1)}
    assert later == {company: InFlight(whole=3, fresh=1, on_the_way=1)}


def test_the_oldest_doubt_is_the_canary(database, company):
    young, old, fresh = queue(database, company, 3)
    bring_into_doubt(database, [young, old])
    change(database, "UPDATE invoice SET due_at = due_at - interval '1 hour' WHERE id = :id", id=fresh)
    change(database, "UPDATE invoice SET due_at = due_at - interval '1 minute' WHERE id = :id", id=old)

    with database.transaction() as session:
        canary = dispatching.pick_doubt(session, [company], now=LATER)
        assert canary is not None
        assert canary.id == old
        assert dispatching.pick_doubt(session, [uuid4()], now=LATER) is None


def test_deficits_are_kept_and_nobody_is_waited_for(database, company, vault):
    """A company that somebody else has locked keeps its deficit, and the pump goes on at once."""
    locked = add_company(database, vault, "Beta")

    with database.transaction() as holder:
        holder.connection().execute(text("SELECT 1 FROM company WHERE id = :id FOR UPDATE"), {"id": locked})
        with database.transaction() as session:
            session.connection().execute(text("SET LOCAL lock_timeout = '1s'"))
            dispatching.save_deficits(session, {company: 0.5, locked: 0.25})

    with database.transaction() as session:
        deficits = {each.id: each.deficit for each in dispatching.find_contenders(session, now=NOW, little=1)}
    assert deficits == {company: 0.5}


FILL = """
    INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, format, submitted_at, changed_at, deadline)
    SELECT gen_random_uuid(), :company, :sha256, :now, 1000, 'invoice.xml', '{}', 'queued', 0, :now, 0, 0, 0, 'UNKNOWN', :now,
        :now, CASE WHEN :urgent THEN CAST(:now AS timestamptz) END
    FROM generate_series(1, :count) AS number
"""


@pytest.mark.parametrize("urgent", [False, True], ids=["without-deadlines", "with-deadlines"])
def test_no_statement_reads_more_of_a_backlog_than_it_takes(database, company, urgent):
    """Beside 20,000 due invoices, all with one deadline or with none, every statement of a tick touches only about as many rows as it returns."""
    queue(database, company)
    (sha256,) = [row.sha256 for row in _rows(database, "SELECT sha256 FROM document")]
    change(database, FILL, company=company, sha256=sha256, now=NOW, count=20_000, urgent=urgent)
    change(database, "ANALYZE invoice")

    shares = {"companies": [company], "shares": [50], "most": [50], "now": NOW, "since": NOW, "little": 11}
    touched = {
        name: _rows_touched(database, getattr(dispatching, name), shares)
        for name in ("FIND_CONTENDERS", "COUNT_BACKLOGS", "COUNT_IN_FLIGHT", "PICK_URGENT")
    }
    if not urgent:
        touched["PICK_OTHERS"] = _rows_touched(database, dispatching.PICK_OTHERS, shares)

    assert all(rows <= 60 for rows in touched.values()), touched


def _rows(database, statement):
    with database.transaction() as session:
        return session.connection().execute(text(statement)).all()


def _rows_touched(database, statement, parameters):
    """Count the rows that the scans of the invoice table read, those that they threw away too."""
    with database.transaction() as session:
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}")
        answer = session.connection().execute(explain, {key: parameters[key] for key in _names(explain)}).scalar_one()
    plan = answer if isinstance(answer, list) else json.loads(answer)
    return sum(_scanned(plan[0]["Plan"]))


def _names(statement):
    return list(statement.compile().params)


def _scanned(node):
    if node.get("Relation Name", "").startswith("invoice"):
        loops = node["Actual Loops"]
        yield loops * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    for child in node.get("Plans", ()):
        yield from _scanned(child)

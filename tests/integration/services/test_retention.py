"""Retention drops whole months, keeps what must live, and what is gone is never sent again."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.domain.errors import InvalidInputError
from pipeline.domain.retention import Keep
from pipeline.domain.way import Way
from pipeline.services.retention import Retention
from pipeline.services.submit import submit
from pipeline.services.upkeep import Upkeep
from pipeline.storage import shelving
from pipeline.storage.batches import find_batch
from pipeline.storage.cases_deciding import read_content
from pipeline.storage.keeping import save_keep
from pipeline.storage.retention_rules import count_leaving, read_rules
from pipeline.storage.retention_swap import remove_from_part
from pipeline.storage.tallies import batch_balances, fold, read_tallies
from pipeline.storage.ways_out import plan_way_out
from tests.integration.storage.rows import wait_for_a_lock

from .line import START, Line, document

PUT_AWAY = START + timedelta(days=20)
"""November 2026: the shelf of every invoice put away here."""
TABLES = ("invoice", "attempt", "event", "document", "route_case", "failure", "way_out", "operator_action")


@pytest.fixture
def line(database, vault):
    return Line(database, vault, keep_delivered_months=2, keep_failed_months=6, keep_documents_months=1)


def at(year, month, day=2, hour=1):
    return datetime(year, month, day, hour, tzinfo=UTC)


def retention(line, settings=None):
    return Retention(database=line.database, settings=settings or line.settings, clock=line.clock, piece=2)


def drop(line, *, now=None, **options):
    line.clock.now = now or line.clock.now
    return asyncio.run(retention(line).run(uuid4(), **options))


def look(line, *, now):
    line.clock.now = now
    return {each.part: (each.rows, each.kept) for each in retention(line).look()}


def finish(line, count=1, state="DELIVERED", *, company=None):
    """Send invoices, let the operator end them, close the case of a failure; they rest among the open ones."""
    line.clock.now = START
    uuids = line.submit(count, company=company)
    line.work()
    for uuid in uuids:
        if state == "FAILED":
            line.operator.fail(uuid, "no such address")
        else:
            line.operator.statuses_of[uuid] = state
    line.clock.pass_seconds(60)
    line.follow()
    line.route()
    return uuids


def put_away(line):
    """Put everything that is finished on the shelf of November 2026, and close every case."""
    line.change("UPDATE route_case SET status = 'closed', closed_reason = 'over', decide_at = NULL")
    line.change("UPDATE invoice SET look_at = NULL, route_at = NULL WHERE state IN ('delivered', 'failed', 'refused')")
    with line.database.transaction() as session:
        shelving.shelve(session, rested_since=PUT_AWAY, accepted_before=PUT_AWAY, now=PUT_AWAY, limit=1000)


def counts(line):
    return {table: line.query(f"SELECT count(*) AS n FROM {table}")[0].n for table in TABLES}


def living(line):
    return {row.id for row in line.query("SELECT id FROM invoice")}


def assert_counters_are_true(line):
    """Compare the maintained counters with what is there, before and after folding."""
    truth = Counter(row.state for row in line.query("SELECT state FROM invoice"))
    for _ in range(2):
        with line.database.transaction() as session:
            states = read_tallies(session).states()
            assert {state.value: n for state, n in states.items() if n} == dict(truth)
            fold(session)


def test_nothing_is_dropped_unless_told(database, vault):
    """Without a setting everything is kept for ever."""
    line = Line(database, vault)
    finish(line, 2)
    put_away(line)
    before = counts(line)

    assert look(line, now=at(2226, 11)) == {}
    assert drop(line).left == []
    assert counts(line) == before


def test_a_whole_month_goes_when_nothing_in_it_must_live(line):
    """Two whole months after the month they were put away in, nothing of them is left but their UUIDs."""
    uuids = finish(line, 5)
    put_away(line)

    drop(line, now=at(2027, 1))
    assert len(living(line)) == 5
    drop(line, now=at(2027, 2))

    assert set(counts(line).values()) == {0}
    assert {row.id for row in line.query("SELECT id FROM invoice_key")} == set(uuids)
    gone = line.query("SELECT to_regclass('invoice_2026_11') AS i, to_regclass('event_2026_11') AS e")[0]
    assert (gone.i, gone.e) == (None, None)
    assert_counters_are_true(line)


def test_documents_go_before_records(line):
    """A month after they were put away the bytes are gone and the records stand, with their whole story."""
    (uuid,) = finish(line)
    put_away(line)
    before = counts(line)

    drop(line, now=at(2027, 1))

    assert counts(line) == {**before, "document": 0}
    assert line.states([uuid]) == ["delivered"]


def test_failures_outlive_successes(line):
    """Where a month holds both, the successes go and a failure stays with document, attempts, events and case."""
    finish(line, 3)
    (failed,) = finish(line, 1, "FAILED")
    put_away(line)
    told = (len(line.attempts(failed)), len(line.events(failed)), line.content(failed))

    drop(line, now=at(2027, 2))

    assert living(line) == {failed}
    assert (len(line.attempts(failed)), len(line.events(failed)), line.content(failed)) == told
    left = counts(line)
    assert (left["attempt"], left["event"], left["document"]) == (told[0], told[1], 1)
    assert (left["route_case"], left["failure"], left["operator_action"]) == (1, 1, 1)
    assert_counters_are_true(line)

    drop(line, now=at(2027, 6))

    assert set(counts(line).values()) == {0}
    assert_counters_are_true(line)


def test_what_stays_stands_where_it_stood(line):
    """A replaced part has the indexes, rules and triggers of the one it took the place of."""
    described = """
        SELECT (SELECT count(*) FROM pg_index WHERE indrelid = c.oid) AS indexes,
            (SELECT array_agg(pg_get_constraintdef(oid) ORDER BY pg_get_constraintdef(oid)) FROM pg_constraint
                WHERE conrelid = c.oid AND contype <> 'n' AND contype <> 'p') AS rules,
            (SELECT array_agg(tgname || tgtype ORDER BY tgname) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
                AS triggers, pg_get_expr(relpartbound, c.oid) AS bounds
        FROM pg_class AS c WHERE relname IN ('invoice_2026_11', 'attempt_2026_11', 'event_2026_11', 'document_2026_11')
        ORDER BY relname
    """
    finish(line, 2)
    (failed,) = finish(line, 1, "FAILED")
    put_away(line)
    before = line.query(described)

    dropped = drop(line, now=at(2027, 2))

    assert [(each.part, each.kept > 0) for each in dropped.left] == [
        ("document_2026_11", True),
        ("invoice_2026_11", True),
        ("attempt_2026_11", True),
        ("event_2026_11", True),
    ]
    assert line.query(described) == before
    with line.database.transaction() as session:
        assert shelving.bring_back(session, [failed]) == [failed]
    assert line.states([failed]) == ["failed"]
    assert_counters_are_true(line)


def test_a_company_keeps_longer(line):
    """What another company may drop stays where a company has longer months of its own."""
    other = line.add_company("Kirjanpito")
    with line.database.transaction() as session:
        save_keep(session, other, Keep(delivered=12, failed=12))
    finish(line, 2)
    failed = finish(line, 1, "FAILED")
    kept = finish(line, 2, company=other)
    put_away(line)

    drop(line, now=at(2027, 2))
    assert living(line) == {*failed, *kept}
    drop(line, now=at(2027, 6))

    assert living(line) == set(kept)
    assert_counters_are_true(line)
    drop(line, now=at(2027, 12))
    assert living(line) == set()


def test_an_open_invoice_loses_nothing(line):
    """Whatever its age, an open invoice keeps document, attempts and events, and is sent with them."""
    finish(line, 2)
    put_away(line)
    line.clock.now = START
    line.operator.every_upload = None
    (queued,) = line.submit(1)
    (accepted,) = finish(line, 1, "PENDING")
    events = len(line.events(queued)), len(line.events(accepted))

    drop(line, now=at(2030, 1))

    assert living(line) == {queued, accepted}
    assert line.content(queued)
    assert line.content(accepted)
    assert (len(line.events(queued)), len(line.events(accepted))) == events
    line.work()
    assert queued in line.operator.held


def test_the_document_of_a_planned_resend_stays(line):
    """A corrected document belongs to no invoice yet: the way out under way keeps it."""
    (failed,) = finish(line, 1, "FAILED")
    line.change(
        "INSERT INTO document (sha256, content, size, kind, created_at) VALUES ('\\x01', 'x', 1, 'XML', :now)",
        now=START,
    )
    line.change(
        "INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, status, not_before, epoch, asked,"
        " planned_at, document_sha256) SELECT id, invoice_id, 'resend', '{}', 'rule', 'planned', opened_at, 0, 0,"
        " opened_at, '\\x01' FROM route_case"
    )

    drop(line, now=at(2030, 1))

    assert counts(line)["document"] == 2
    line.change("UPDATE way_out SET status = 'undone'")
    drop(line, now=at(2030, 2))
    assert [bytes(row.sha256) for row in line.query("SELECT sha256 FROM document")] == [
        bytes(line.row(failed).document_sha256)
    ]


def test_a_uuid_is_never_sent_again_after_its_record_is_gone(line):
    """Submitted again after everything of it was dropped, nothing is written and nothing sent."""
    line.clock.now = START
    content, uuid = document(), uuid4()
    given = {"company": line.company, "content": content, "filename": "a.xml", "uuid": uuid}
    with line.database.transaction() as session:
        submit(session, **given, now=START)
    line.work()
    line.operator.statuses_of[uuid] = "DELIVERED"
    line.clock.pass_seconds(60)
    line.follow()
    put_away(line)
    drop(line, now=at(2027, 2))
    assert living(line) == set()

    with pytest.raises(InvalidInputError, match=str(uuid)), line.database.transaction() as session:
        submit(session, **given, now=line.clock())
    line.work()

    assert line.operator.uploads == [uuid]
    assert living(line) == set()


def test_batches_stay_as_they_are(line):
    """What a batch held is told after its invoices are gone, and its counters agree with what is there."""
    line.clock.now = START
    with line.database.transaction() as session:
        uuids = [
            submit(session, company=line.company, content=document(), filename="a.xml", batch="night", now=START).uuid
            for _ in range(3)
        ]
    line.work()
    for uuid in uuids:
        line.operator.statuses_of[uuid] = "DELIVERED"
    line.clock.pass_seconds(60)
    line.follow()
    put_away(line)

    drop(line, now=at(2027, 2))

    with line.database.transaction() as session:
        batch = find_batch(session, "night")
        assert batch.balance.is_balanced
        assert (batch.balance.total, batch.balance.delivered) == (3, 3)
        assert batch_balances(session, batch.id).is_balanced
    assert_counters_are_true(line)


def test_a_dry_run_shows_exactly_what_a_run_drops(line):
    """What is shown is what is then dropped, and showing it touches nothing."""
    finish(line, 3)
    finish(line, 1, "FAILED")
    put_away(line)
    before, marks = counts(line), "SELECT count(*) AS n FROM pg_description WHERE description LIKE 'retention %'"

    shown = look(line, now=at(2027, 2))

    assert counts(line) == before
    assert (line.query("SELECT 1 FROM removal"), line.query(marks)[0].n) == ([], 0)
    assert shown["invoice_2026_11"] == (3, 1)
    assert {each.part: (each.rows, each.kept) for each in drop(line).left} == shown
    assert look(line, now=at(2027, 2)) == {}


def test_each_part_that_went_is_noted(line):
    """What went, when, how much of it and by which rule stays readable for ever."""
    finish(line, 3)
    finish(line, 1, "FAILED")
    put_away(line)

    drop(line, now=at(2027, 2))

    rows = line.query("SELECT * FROM removal ORDER BY id")
    assert [row.removed["part"] for row in rows][:2] == ["document_2026_11", "invoice_2026_11"]
    noted = rows[1]
    assert (noted.kind, noted.removed_at, noted.removed_by) == ("retention", at(2027, 2), "retention")
    assert noted.removed["states"] == {"delivered": 3}
    assert (noted.removed["rows"], noted.removed["kept"]) == (3, 1)
    assert noted.removed["rule"] == {"delivered": 2, "failed": 6, "documents": 1, "companies": {}}


def test_a_part_in_use_waits_for_the_next_ring(line):
    """While somebody reads a part nothing of it goes and nobody waits long; at the next ring it goes."""
    finish(line, 2)
    put_away(line)

    with line.database.transaction() as session:
        session.connection().execute(text("LOCK TABLE invoice_2026_11 IN ACCESS SHARE MODE"))
        dropped = drop(line, now=at(2027, 2))

    assert [each.split(":")[0] for each in dropped.put_off] == ["invoice_2026_11"]
    assert len(living(line)) == 2
    assert counts(line)["event"] > 0
    assert_counters_are_true(line)
    assert drop(line).put_off == []
    assert set(counts(line).values()) == {0}


def drop_while_one_is_brought_back(line, uuid, *, now):
    """Bring an invoice back, drop, and let what was brought back be committed only when the drop waits for a lock."""
    line.clock.now = now
    with ThreadPoolExecutor(1) as pool, line.database.transaction() as session:
        assert shelving.bring_back(session, [uuid]) == [uuid]
        dropping = pool.submit(drop, line)
        wait_for_a_lock(line.database)
        session.commit()
        return dropping.result()


def test_an_invoice_brought_back_meanwhile_is_neither_lost_nor_doubled(line):
    """A late failure takes an invoice from a part while its replacement is filled: the part waits for the next ring."""
    uuids = finish(line, 2)
    put_away(line)
    line.change("DELETE FROM operator_action")
    drop(line, now=at(2027, 1))

    dropped = drop_while_one_is_brought_back(line, uuids[0], now=at(2027, 2))

    assert [each.split(":")[0] for each in dropped.put_off] == ["invoice_2026_11"]
    assert living(line) == set(uuids)
    drop(line)
    assert living(line) == set(uuids[:1])
    assert_counters_are_true(line)


def test_a_document_wanted_meanwhile_stays(line):
    """An invoice comes back while the documents' replacement is filled: its document is in it all the same."""
    uuids = finish(line, 3)
    put_away(line)

    drop_while_one_is_brought_back(line, uuids[0], now=at(2027, 1))

    assert counts(line)["document"] == 1
    assert line.content(uuids[0])


def test_a_late_failure_without_its_document_stops_nobody(line):
    """It becomes a case like any other; it is not resent from nothing, and told so, and the router goes on."""
    (uuid,) = finish(line)
    put_away(line)
    drop(line, now=at(2027, 1))
    with line.database.transaction() as session:
        shelving.bring_back(session, [uuid])
    line.change("UPDATE invoice SET look_at = :now", now=line.clock())
    line.operator.fail(uuid, "the bank sent it back")

    line.follow()
    line.route()

    (case,) = line.query("SELECT * FROM route_case")
    assert (case.status, case.invoice_id) == ("open", uuid)
    given = {"fields": {}, "chosen_by": "rule", "reason": None, "not_before": line.clock(), "now": line.clock()}
    with line.database.transaction() as session:
        assert read_content(session, line.row(uuid).document_sha256) == b""
        assert "its document was dropped or expunged" in plan_way_out(session, case.id, way=Way.RESEND, **given)
        corrected = plan_way_out(session, case.id, way=Way.RESEND, document_sha256=b"\x01", **given)
    assert isinstance(corrected, int)


def test_a_case_goes_with_the_last_of_its_invoices(line):
    """The successor of a failure was delivered and goes first; the failure keeps its case until it goes itself."""
    (failed,) = finish(line, 1, "FAILED")
    (successor,) = finish(line)
    line.change("UPDATE route_case SET invoice_id = :id", id=successor)
    line.change("UPDATE invoice SET state = 'superseded', look_at = NULL, route_at = NULL WHERE id = :id", id=failed)
    put_away(line)

    drop(line, now=at(2027, 2))
    assert living(line) == {failed}
    assert (counts(line)["route_case"], counts(line)["failure"]) == (1, 1)

    drop(line, now=at(2027, 6))
    assert set(counts(line).values()) == {0}


def test_leftovers_of_an_interrupted_run_go_at_the_next(line):
    """A process that dies after a part was dropped leaves nothing behind for good."""
    finish(line, 3, "FAILED")
    put_away(line)
    line.clock.now = at(2027, 6)
    with line.database.transaction() as session:
        rules = read_rules(session, line.settings.keep, now=line.clock())
        leaving = count_leaving(session, rules, "invoice", "invoice_2026_11")
        remove_from_part(session, rules, leaving, now=line.clock())
    assert counts(line)["route_case"] == 3

    drop(line)

    assert counts(line)["route_case"] == 0
    assert line.query("SELECT 1 FROM pg_class WHERE relname LIKE 'gone%'") == []


def test_by_day_nothing_is_dropped_by_itself(line):
    """The fleet drops at night; a person may do it at any hour."""
    finish(line, 1)
    put_away(line)

    assert drop(line, now=at(2027, 2, hour=12), at_night_only=True).left == []
    assert drop(line, now=at(2027, 2, hour=2), at_night_only=True).left != []


def test_the_line_goes_on_after_months_were_dropped(line):
    """After old months are gone, new ones are made and invoices are sent, put away and found as before."""
    finish(line, 2)
    put_away(line)
    drop(line, now=at(2027, 2))
    asyncio.run(Upkeep(database=line.database, settings=line.settings, clock=line.clock).run(uuid4()))

    (uuid,) = line.submit(1)
    line.work()

    assert line.states([uuid]) == ["accepted"]
    assert line.query("SELECT tableoid::regclass::text AS part FROM event")[0].part == "event_2027_02"

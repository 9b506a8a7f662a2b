"""What is finished is put away and counts as before; what somebody may change is found among the open ones."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from pipeline.domain.outcome import OutcomeKind
from pipeline.domain.state import State
from pipeline.storage import partitions, shelving
from pipeline.storage.following_hints import hint_failures
from pipeline.storage.listing import InvoiceFilter, list_invoices
from pipeline.storage.reading import read_story
from pipeline.storage.submissions import insert_invoice, insert_invoices
from pipeline.storage.webhooks import Hint, hash_secret, store_hint

from .rows import (
    NOW,
    add_company,
    change,
    claim,
    events,
    invoice,
    new_invoice,
    query,
    queue,
    record,
    stamp,
    wait_for_a_lock,
)

LATER = NOW + timedelta(days=30)
COUNTERS = "SELECT 'tally' AS t, count(*) AS n FROM tally_delta UNION ALL SELECT 'batch', count(*) FROM batch_delta"


def finish(database, company, state=State.DELIVERED, *, batch=None, **changes):
    """Queue an invoice and put it into a state by hand."""
    new = new_invoice(company, batch=batch)
    with database.transaction() as session:
        insert_invoice(session, new, now=NOW)
    change(database, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    row = {"state": state.value, "look_at": None, "route_at": None, "lease_until": None, "due_at": None, **changes}
    words = ", ".join(f"{name} = :{name}" for name in row)
    change(
        database,
        f"UPDATE invoice SET {words}, accepted_at = :now, reason = 'x' WHERE id = :id",
        id=new.id,
        now=NOW,
        **row,
    )
    change(database, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")
    return new.id


def open_case(database, company, uuid, status):
    change(
        database,
        "INSERT INTO route_case (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words,"
        " advice, ways, failed_at, opened_at, changed_at, closed_reason) VALUES (:company, :id, :status, 1, 'unknown',"
        " 'accountant', 'row', '1', 'words', 'advice', '{}', :now, :now, :now, 'over')",
        company=company,
        id=uuid,
        status=status,
        now=NOW,
    )


def shelve(database, *, now=LATER, limit=1000):
    with database.transaction() as session:
        return shelving.shelve(session, rested_since=now, accepted_before=now, now=now, limit=limit)


def shelf(database, uuid):
    return invoice(database, uuid).shelf


@pytest.mark.parametrize("state", [State.DELIVERED, State.CANCELLED, State.SUPERSEDED])
def test_what_is_finished_is_put_away_and_nothing_is_counted(database, company, state):
    """A move from part to part is no change: no counter hears of it, the batch stays balanced, the story complete."""
    uuid = finish(database, company, state, batch="night")
    before, told = query(database, COUNTERS), events(database, uuid)

    assert shelve(database) == 1

    assert shelf(database, uuid) == 202612
    assert query(database, COUNTERS) == before
    assert events(database, uuid) == told
    assert query(database, "SELECT tableoid::regclass::text AS part FROM invoice") == [("invoice_2026_12",)]
    with database.transaction() as session:
        story = read_story(session, uuid)
        listed = list_invoices(session, InvoiceFilter(state=state, company_id=company, batch="night"))
    assert (story.invoice.id, story.invoice.state) == (uuid, state)
    assert [row.id for row, _ in listed] == [uuid]


@pytest.mark.parametrize(
    ("state", "changes", "case"),
    [
        (State.DELIVERED, {"look_at": LATER}, None),
        (State.FAILED, {"route_at": LATER}, None),
        (State.FAILED, {}, None),
        (State.FAILED, {}, "open"),
        (State.REFUSED, {}, "under_way"),
        (State.ACCEPTED, {}, None),
        (State.HELD, {}, None),
        (State.QUEUED, {"due_at": LATER}, None),
        (State.SENDING, {"lease_until": LATER}, None),
    ],
)
def test_what_somebody_may_change_stays_among_the_open_ones(database, company, state, changes, case):
    uuid = finish(database, company, state, **changes)
    if case:
        open_case(database, company, uuid, case)

    assert shelve(database) == 0

    assert shelf(database, uuid) == 0


def test_a_failure_is_put_away_when_its_case_is_closed(database, company):
    uuid = finish(database, company, State.FAILED)
    open_case(database, company, uuid, "closed")

    assert shelve(database) == 1


@pytest.mark.parametrize(
    "waits",
    [
        "UPDATE route_case SET decide_at = opened_at",
        (
            "INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, status, not_before, epoch, asked, planned_at)"
            " SELECT id, invoice_id, 'resend', '{}', 'rule', 'planned', opened_at, 0, 0, opened_at FROM route_case"
        ),
        (
            "INSERT INTO alarm (kind, subject, invoice_id, told, raised_at)"
            " SELECT 'lost', 'x', invoice_id, 'told', opened_at FROM route_case"
        ),
    ],
    ids=["rules", "way-out", "alarm"],
)
def test_what_waits_for_rules_or_a_way_out_or_has_an_alarm_stays(database, company, waits):
    open_case(database, company, finish(database, company), "resolved")
    change(database, waits)

    assert shelve(database) == 0


def test_what_was_delivered_lately_or_has_just_ended_waits(database, company):
    """The daily pass asks about what was delivered lately, and finds it among the open ones alone."""
    finish(database, company)
    before = NOW - timedelta(seconds=1)

    with database.transaction() as session:
        assert shelving.shelve(session, rested_since=LATER, accepted_before=before, now=LATER, limit=9) == 0
        assert shelving.shelve(session, rested_since=before, accepted_before=LATER, now=LATER, limit=9) == 0


def test_a_row_that_somebody_holds_is_left_for_the_next_time(database, company):
    uuid = finish(database, company)

    with database.transaction() as session:
        session.connection().exec_driver_sql(f"SELECT FROM invoice_open WHERE id = '{uuid}' FOR UPDATE")
        assert shelve(database) == 0

    assert shelve(database) == 1


def test_a_webhook_brings_an_invoice_back(database, company):
    """DELIVERED may turn FAILED months later: the hint makes it due as if it had never been away."""
    uuid = finish(database, company)
    change(
        database,
        "INSERT INTO webhook (company_id, secret, secret_sha256, base_url, created_at) VALUES (:c, '', :hash, '', :now)",
        c=company,
        hash=hash_secret("secret"),
        now=NOW,
    )
    shelve(database)

    with database.transaction() as session:
        told = store_hint(session, hash_secret("secret"), invoice_id=uuid, event="invoice_failed", now=LATER)

    assert told is Hint.STORED
    assert (shelf(database, uuid), invoice(database, uuid).look_at) == (0, LATER)


def test_a_partners_list_of_failures_brings_an_invoice_back(database, company):
    uuid = finish(database, company)
    shelve(database)

    with database.transaction() as session:
        assert hint_failures(session, [(company, uuid), (company, uuid4())], now=LATER) == 1

    assert (shelf(database, uuid), invoice(database, uuid).look_at) == (0, LATER)


def test_a_uuid_that_was_put_away_or_dropped_is_taken(database, company):
    """A UUID is used once for ever: submitted again, alone or among many, nothing of it is written."""
    put_away, dropped = finish(database, company), finish(database, company)
    shelve(database)
    change(database, "DELETE FROM invoice WHERE id = :id", id=dropped)
    again = [new_invoice(company, uuid=uuid) for uuid in (put_away, dropped)]
    documents = query(database, "SELECT count(*) FROM document")

    with database.transaction() as session:
        assert [insert_invoice(session, each, now=LATER) for each in again] == [False, False]
        assert insert_invoices(session, again, now=LATER) == set()

    assert query(database, "SELECT id FROM invoice") == [(put_away,)]
    assert query(database, "SELECT count(*) FROM document") == documents


@pytest.mark.parametrize("table", ["invoice", "invoice_open"])
@pytest.mark.parametrize("state", ["queued", "delivered"])
def test_the_database_refuses_a_used_uuid_on_another_shelf(database, company, table, state):
    uuid = finish(database, company)
    shelve(database)
    copied = "company_id, document_sha256, document_at, size, filename, options, epoch, uploads, tries, looks, format"

    with pytest.raises(IntegrityError, match="invoice_key"):
        change(
            database,
            f"INSERT INTO {table} (id, state, due_at, submitted_at, accepted_at, changed_at, {copied})"
            f" SELECT id, :state, :now, :now, :now, :now, {copied} FROM invoice WHERE id = :id",
            id=uuid,
            state=state,
            now=NOW,
        )


@pytest.mark.parametrize("what", ["look_at = now()", "route_at = now()", "lease_until = now()"])
def test_nothing_is_due_for_what_is_put_away(database, company, what):
    """Whoever forgets to bring an invoice back is told, instead of waiting for something nobody looks for there."""
    finish(database, company)
    shelve(database)

    with pytest.raises(IntegrityError, match="invoice_shelved_rests"):
        change(database, f"UPDATE invoice SET {what}")


def test_what_comes_back_knows_its_document_and_attempts(database, company):
    """What was put away by the migration knew neither; the next attempt must not take a used number."""
    (uuid,) = queue(database, company)
    epoch = stamp(database, [uuid])
    record(database, claim(database, [uuid], epoch=epoch), OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch)
    change(database, "UPDATE invoice SET state = 'delivered', look_at = NULL, attempts = 0")
    shelve(database)
    change(database, "UPDATE invoice SET document_at = NULL")

    with database.transaction() as session:
        assert shelving.bring_back(session, [uuid]) == [uuid]

    assert (invoice(database, uuid).attempts, invoice(database, uuid).document_at) == (1, NOW)


def test_an_exchange_over_the_end_of_a_month_stays_one_attempt(database, company):
    """Begun in one month and answered in the next: the attempt is in the month it began, with its answer."""
    begun = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    (uuid,) = queue(database, company, now=begun)
    epoch = stamp(database, [uuid], until=begun + timedelta(minutes=1))

    claimed = claim(database, [uuid], epoch=epoch, now=begun)
    answered = begun + timedelta(seconds=1)
    assert record(database, claimed, OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch, now=answered) == {uuid}

    (attempt,) = query(database, "SELECT tableoid::regclass::text AS part, outcome, finished_at FROM attempt")
    assert attempt == ("attempt_2026_12", "accepted", answered)
    parts = query(database, "SELECT tableoid::regclass::text AS part FROM event ORDER BY id")
    assert [row.part for row in parts] == ["event_2026_12", "event_2026_12", "event_2027_01"]


def test_months_are_made_ahead_and_once(database):
    """Each table gets its months in a row, whenever it was looked after last, and a second time nothing."""
    with database.transaction() as session:
        made = partitions.make_months_soon(session, now=datetime(2027, 11, 5, tzinfo=UTC))
        assert partitions.make_months_soon(session, now=datetime(2027, 11, 30, tzinfo=UTC)) == []

    for table in ("invoice", "attempt", "event", "document"):
        names = query(
            database, "SELECT relname FROM pg_class WHERE relname ~ :like ORDER BY 1", like=f"^{table}_20.._..$"
        )
        months = [row.relname.removeprefix(f"{table}_") for row in names]
        assert months[-1] == "2028_02"
        assert months == sorted({*months, *(f"2027_{month:02}" for month in range(1, 13)), "2028_01"})
    assert "event_2027_12" in made


def test_two_that_make_months_at_once_wait_for_each_other(database):
    """Two beats may ring at once; whoever comes second finds the months made."""
    later = datetime(2029, 1, 1, tzinfo=UTC)

    def make():
        with database.transaction() as session:
            return partitions.make_months(session.connection(), now=later)

    with ThreadPoolExecutor(3) as threads:
        made = [each.result() for each in [threads.submit(make) for _ in range(3)]]

    assert sorted(map(bool, made)) == [False, False, True]


def test_nothing_that_is_written_while_a_month_is_made_is_lost(database, company):
    """Whoever writes at that moment is waited for, and what he wrote goes over like what came before."""
    # In the first month that is missing: where another were made before, that one would wait already.
    [(last,)] = query(database, "SELECT max(relname) FROM pg_class WHERE relname ~ '^event_20.._..$'")
    early = (datetime.strptime(f"{last}_01+0000", "event_%Y_%m_%d%z") + timedelta(days=31)).replace(day=1)
    (before,) = queue(database, company, now=early)
    meanwhile = new_invoice(company)

    def make():
        with database.transaction() as session:
            partitions.make_months(session.connection(), now=early)

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            insert_invoice(session, meanwhile, now=early)
            making = threads.submit(make)
            wait_for_a_lock(database)
        making.result()

    told = query(database, "SELECT tableoid::regclass::text AS part, invoice_id FROM event")
    assert sorted(told) == sorted((f"event_{early:%Y_%m}", uuid) for uuid in (before, meanwhile.id))
    assert query(database, "SELECT count(*) FROM document") == [(2,)]


def test_what_came_before_its_month_was_made_goes_over(database, company):
    early = datetime(2028, 3, 1, tzinfo=UTC)
    (uuid,) = queue(database, company, now=early)
    where = "SELECT tableoid::regclass::text AS part FROM {}"
    assert query(database, where.format("event")) == [("event_other",)]
    before = query(database, COUNTERS)

    with database.transaction() as session:
        partitions.make_months_soon(session, now=early)

    assert query(database, where.format("event")) == [("event_2028_03",)]
    assert query(database, where.format("document")) == [("document_2028_03",)]
    assert query(database, COUNTERS) == before
    assert invoice(database, uuid).state == "queued"


def test_a_webhook_brings_back_what_it_may_hint_at_and_nothing_else(database, company, vault):
    """Who knows one company's secret moves no invoice of another, nor one that the operator tells nothing about."""
    other = add_company(database, vault, name="Other")
    others, cancelled = finish(database, other), finish(database, company, State.CANCELLED)
    change(
        database,
        "INSERT INTO webhook (company_id, secret, secret_sha256, base_url, created_at) VALUES (:c, '', :hash, '', :now)",
        c=company,
        hash=hash_secret("secret"),
        now=NOW,
    )
    shelve(database)

    for uuid in (others, cancelled):
        with database.transaction() as session:
            told = store_hint(session, hash_secret("secret"), invoice_id=uuid, event="invoice_failed", now=LATER)
        assert (told, shelf(database, uuid)) == (Hint.NOT_FOLLOWED, 202612)

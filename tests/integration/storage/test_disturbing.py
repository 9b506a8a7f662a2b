"""What chaos does to its database: a clock that jumps, transactions that are undone for no reason of theirs."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage import disturbing
from pipeline.storage.clock import FleetClock, read_clock
from pipeline.storage.database import Database
from pipeline.storage.disturbing import Ending

from .rows import query, queue

CLOSE = timedelta(seconds=30)


@pytest.fixture
def disturbed(database, database_url):
    """A prepared database, and a way in that was opened afterwards."""
    with database.transaction() as session:
        disturbing.prepare(session)
    opened = Database(database_url)
    yield opened
    opened.close()


def do(database, what, *arguments, **options):
    with database.transaction() as session:
        return what(session, *arguments, **options)


@pytest.mark.parametrize("seconds", [90.0, -90.0], ids=["forward", "back"])
def test_fleet_clock_jumps_with_the_database(disturbed, seconds):
    do(disturbed, disturbing.turn_clock, seconds)

    jumped = datetime.now(UTC) + timedelta(seconds=seconds)
    assert abs(do(disturbed, read_clock) - jumped) < CLOSE
    assert abs(FleetClock(disturbed)() - jumped) < CLOSE


def test_clock_that_was_turned_back_is_true(disturbed):
    do(disturbed, disturbing.turn_clock, 3600.0)
    do(disturbed, disturbing.turn_clock, 0.0)

    assert abs(do(disturbed, read_clock) - datetime.now(UTC)) < CLOSE


@pytest.mark.parametrize("ending", list(Ending), ids=lambda ending: ending.name.lower())
def test_undone_transaction_is_said_and_leaves_nothing(disturbed, company, ending):
    """A transaction that PostgreSQL undid is an error to try again after, not a database out of reach."""
    do(disturbed, disturbing.undo_transactions, ending, share=1.0)

    for _ in range(8):  # some at the first change, some at the commit
        with pytest.raises(ServiceUnavailableError, match=r"ended a transaction .* nothing was stored, try again"):
            queue(disturbed, company)

    do(disturbed, disturbing.undo_no_more, ending)
    assert query(disturbed, "SELECT count(*) FROM invoice") == [(0,)]
    assert do(disturbed, disturbing.count_undone) == 8


def test_transactions_are_undone_at_their_commit_too(disturbed, company):
    do(disturbed, disturbing.undo_transactions, Ending.SERIALIZATION_FAILURE, share=1.0)

    reached = [outlived(disturbed) for _ in range(30)]

    assert {True, False} == set(reached)


def outlived(database) -> bool:
    """Whether a transaction came through its change before it was undone."""
    through = False
    try:
        with database.transaction() as session:
            session.connection().execute(text("UPDATE company SET name = name"))
            through = True
    except ServiceUnavailableError:
        return through
    raise AssertionError("it was not undone")


def test_share_of_transactions_is_undone(disturbed, company):
    do(disturbed, disturbing.undo_transactions, Ending.DEADLOCK, share=0.3)

    for _ in range(60):
        try:
            queue(disturbed, company)
        except ServiceUnavailableError:
            continue

    undone = do(disturbed, disturbing.count_undone)
    assert 5 <= undone <= 40
    assert query(disturbed, "SELECT count(*) FROM invoice") == [(60 - undone,)]


def test_fair_weather_undoes_nothing(disturbed, company):
    queue(disturbed, company, 5)

    assert do(disturbed, disturbing.count_undone) == 0


def test_invoices_being_sent_are_counted(disturbed, company):
    ids = queue(disturbed, company, 3)
    with disturbed.transaction() as session:
        session.connection().execute(
            text("UPDATE invoice SET state = 'sending', lease_until = now(), due_at = NULL WHERE id <> :id"),
            {"id": ids[0]},
        )

    assert do(disturbed, disturbing.count_sending) == 2

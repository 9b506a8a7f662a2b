"""One fleet, one opinion: evidence from everywhere, one opening, one canary, whoever dies."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from pipeline.domain.circuit import CircuitState
from pipeline.embedded.liveness import wait_until
from pipeline.settings import settings_from
from pipeline.storage import alarms, circuits

from .rows import NOW, add_company

HOST = "ax.example"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SETTINGS = settings_from({"POSTILJON_CIRCUIT_WAIT_SECONDS": "5", "POSTILJON_CIRCUIT_LONGEST_WAIT_SECONDS": "15"})
CROWD = 8


@pytest.fixture
def other(database, vault):
    return add_company(database, vault, name="Other")


def note(database, scope=HOST, *, answered=0, failed=0, now=NOW, told="connection refused"):
    with database.transaction() as session:
        return circuits.note_evidence(
            session, str(scope), answered=answered, failed=failed, told=told, now=now, settings=SETTINGS
        )


def go(database, *, now, until, scope=HOST):
    with database.transaction() as session:
        return circuits.try_canary(session, str(scope), until=until, now=now)


def end(database, *, until, ok, now, scope=HOST, **more):
    with database.transaction() as session:
        return circuits.end_canary(session, str(scope), until=until, ok=ok, now=now, settings=SETTINGS, **more)


def read(database, scope=HOST):
    with database.transaction() as session:
        return circuits.read_circuits(session).get(str(scope))


def alarms_on(database):
    with database.transaction() as session:
        return {each.subject: each.told for each in alarms.list_alarms(session) if each.kind == "circuit_open"}


def half_open(database, *, now=NOW + 5 * SECOND):
    note(database, failed=10)
    until = now + MINUTE
    assert go(database, now=now, until=until)
    return until


def at_once(work):
    barrier = Barrier(CROWD)

    def one(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(one, range(CROWD)))


def events_of(caplog):
    return [record.event for record in caplog.records if hasattr(record, "event")]


def test_evidence_of_many_processes_opens_once(database, caplog):
    """Each saw too little alone; together it is enough, and one of them opens, tells and raises the alarm."""
    caplog.set_level(logging.INFO)

    at_once(lambda _: note(database, failed=2))

    opened = read(database)
    assert (opened.state, opened.trips, opened.retry_at) == (CircuitState.OPEN, 1, NOW + 5 * SECOND)
    assert opened.evidence == "10 of 10 exchanges failed (connection refused)"
    assert events_of(caplog) == ["circuit_opened"]
    assert "10 of 10 exchanges failed (connection refused). Next canary at" in alarms_on(database)[HOST]


def test_one_slow_invoice_opens_nothing(database):
    for second in range(60):
        note(database, failed=int(second % 3 == 0), now=NOW + second * SECOND)
    note(database, answered=1, failed=4, now=NOW + MINUTE)
    note(database, answered=1, failed=4, now=NOW + MINUTE)

    assert read(database) is None
    assert alarms_on(database) == {}


def test_many_want_to_be_the_canary_and_one_is(database, caplog):
    note(database, failed=10)
    caplog.clear()
    caplog.set_level(logging.INFO)
    due = NOW + 5 * SECOND

    assert not go(database, now=due - SECOND, until=due + MINUTE)
    won = at_once(lambda number: go(database, now=due, until=due + MINUTE + number * SECOND))

    assert won.count(True) == 1
    assert events_of(caplog) == ["circuit_half_open"]
    assert read(database).state is CircuitState.HALF_OPEN


def test_dead_canary_is_replaced_by_one_and_changes_nothing_any_more(database):
    """A canary whose process died is over in its time; what it says afterwards, as if it had slept, is too late."""
    dead = half_open(database)
    assert not go(database, now=dead - SECOND, until=dead + MINUTE)

    won = at_once(lambda number: go(database, now=dead, until=dead + MINUTE + number * SECOND))

    assert won.count(True) == 1
    assert end(database, until=dead, ok=True, now=dead + SECOND) is None
    assert read(database).state is CircuitState.HALF_OPEN


def test_answered_canary_starts_slowly_and_the_clock_closes(database, caplog):
    until = half_open(database)
    caplog.clear()
    caplog.set_level(logging.INFO)
    answered_at = NOW + 6 * SECOND

    assert end(database, until=until, ok=True, now=answered_at).state is CircuitState.CLOSING
    assert end(database, until=until, ok=False, now=answered_at) is None
    assert alarms_on(database) == {}
    note(database, answered=5, now=answered_at + 5 * SECOND)
    assert read(database).trips == 1
    at_once(lambda _: note(database, answered=1, now=answered_at + 11 * SECOND))

    assert read(database) is None
    assert events_of(caplog) == ["circuit_closing", "circuit_closed"]
    note(database, failed=10, now=answered_at + MINUTE)
    assert read(database).trips == 1


def waits_for_a_lock(database):
    with database.transaction() as session:
        return session.connection().execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one() > 0


def settle(database, *, now):
    with database.transaction() as session:
        circuits.settle_circuits(session, host=HOST, now=now)


def test_slow_start_without_traffic_comes_to_its_end_too(database, caplog):
    until = half_open(database)
    end(database, until=until, ok=True, now=NOW + 6 * SECOND)
    caplog.clear()
    caplog.set_level(logging.INFO)

    settle(database, now=NOW + 16 * SECOND)
    assert read(database).state is CircuitState.CLOSING
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            circuits.settle_circuits(session, host=HOST, now=NOW + 17 * SECOND)
            other = pool.submit(settle, database, now=NOW + 17 * SECOND)
            assert wait_until(lambda: waits_for_a_lock(database), seconds=10, poll_seconds=0.01)
        other.result(timeout=10)

    assert read(database) is None
    assert events_of(caplog) == ["circuit_closed"]


def test_failed_canary_waits_longer_each_time_up_to_the_bound(database):
    now, waits = NOW, []
    note(database, failed=10)
    for _ in range(4):
        now = read(database).retry_at
        assert go(database, now=now, until=now + MINUTE)
        opened = end(database, until=now + MINUTE, ok=False, now=now, told="no answer")
        waits.append((opened.retry_at - now).total_seconds())

    assert waits == [10, 15, 15, 15]
    assert opened.since == NOW
    assert alarms_on(database)[HOST].count("the last canary") == 1
    go(database, now=opened.retry_at, until=opened.retry_at + MINUTE)
    asked = end(database, until=opened.retry_at + MINUTE, ok=False, now=NOW + MINUTE, retry_after_seconds=99.0)
    assert asked.retry_at == NOW + MINUTE + 99 * SECOND


def test_canary_that_proved_nothing_makes_room_for_the_next_at_once(database):
    until = half_open(database)
    now = NOW + 6 * SECOND

    again = end(database, until=until, ok=None, now=now)

    assert (again.state, again.retry_at, again.trips) == (CircuitState.OPEN, now, 1)
    assert go(database, now=now, until=now + MINUTE)


def test_burst_of_failures_in_a_slow_start_opens_again(database):
    until = half_open(database)
    end(database, until=until, ok=True, now=NOW + 6 * SECOND)
    note(database, failed=2, now=NOW + 7 * SECOND)
    assert read(database).state is CircuitState.CLOSING

    opened = note(database, failed=1, now=NOW + 8 * SECOND)

    assert (opened.state, opened.trips, opened.since) == (CircuitState.OPEN, 2, NOW + 8 * SECOND)
    assert opened.retry_at == NOW + 18 * SECOND


def test_what_was_under_way_before_changes_no_open_circuit(database):
    note(database, failed=10)

    assert note(database, answered=50, now=NOW + SECOND).state is CircuitState.OPEN
    assert note(database, failed=50, now=NOW + SECOND).trips == 1


def test_company_has_its_own_circuit_while_others_are_answered(database, company, other):
    """One company's trouble stops nobody else: its own circuit opens, the host's stays closed."""
    for tenth in range(40):
        now = NOW + tenth * SECOND / 10
        note(database, company, failed=6, now=now)
        note(database, other, answered=1, now=now)
        note(database, failed=6, answered=1, now=now)

    assert read(database, company).state is CircuitState.OPEN
    assert (read(database, other), read(database)) == (None, None)
    assert list(alarms_on(database)) == [str(company)]


def test_host_opens_alone_when_nobody_is_answered(database, company, other):
    for tenth in range(-20, 60):
        now = NOW + tenth * SECOND / 10
        before = tenth < 0
        for scope, times in ((company, 3), (other, 2), (HOST, 5)):
            note(database, scope, answered=times * before, failed=times * (not before), now=now)

    assert read(database).state is CircuitState.OPEN
    assert (read(database, company), read(database, other)) == (None, None)


def test_host_opens_where_the_others_have_long_said_nothing(database, company, other):
    note(database, other, answered=5, now=NOW - MINUTE)
    note(database, company, failed=10)
    assert read(database, company) is None

    note(database, failed=10)

    assert read(database).state is CircuitState.OPEN


def test_only_company_there_is_means_the_host(database, company):
    note(database, company, failed=10)
    note(database, failed=10)
    note(database, company, failed=10, now=NOW + SECOND)

    assert read(database).state is CircuitState.OPEN
    assert read(database, company) is None


def test_companys_circuit_says_nothing_while_the_hosts_is_open(database, company, other):
    """Only the host's canary counts, whoever it is asked for; the company's trouble, if it is still there, after it."""
    for tenth in range(15):
        note(database, company, failed=3, now=NOW + tenth * SECOND / 10)
        note(database, other, answered=1, now=NOW + tenth * SECOND / 10)
    assert read(database, company).state is CircuitState.OPEN
    later = NOW + MINUTE
    note(database, failed=10, now=later)
    assert (read(database).state, read(database, company)) == (CircuitState.OPEN, None)
    go(database, now=later + 5 * SECOND, until=later + MINUTE)
    end(database, until=later + MINUTE, ok=True, now=later + 6 * SECOND)

    settle(database, now=later + MINUTE)

    assert read(database, company).state is CircuitState.OPEN


def test_circuit_of_a_host_nobody_asks_any_more_is_closed(database):
    note(database, failed=10)

    with database.transaction() as session:
        circuits.settle_circuits(session, host="elsewhere.example", now=NOW)

    assert read(database) is None
    assert alarms_on(database) == {}


def test_opening_forgets_the_silence_it_explains(database, company, other):
    """An outage is named by the circuit's alarm, not by every company's silence as well."""
    with database.transaction() as session:
        session.connection().execute(text("UPDATE company SET look_failing_since = :now"), {"now": NOW})
    note(database, failed=10)

    with database.transaction() as session:
        assert session.connection().execute(text("SELECT count(look_failing_since) FROM company")).scalar_one() == 0


def test_a_canary_goes_although_the_clock_was_put_back(database):
    """What was noted before lies an hour ahead; a dead canary and an open circuit wait for none of it."""
    note(database, failed=10)
    past = NOW - 60 * MINUTE

    assert go(database, now=past, until=past + MINUTE)
    assert not go(database, now=past, until=past + MINUTE)
    assert end(database, until=past + MINUTE, ok=True, now=past).state is CircuitState.CLOSING


def test_nobody_needs_a_companys_canary(database, other):
    """With nothing to ask about it its circuit and the alarm would stay for ever."""
    half_open(database)
    end(database, until=NOW + 5 * SECOND + MINUTE, ok=True, now=NOW)
    with database.transaction() as session:
        session.connection().execute(
            text("INSERT INTO circuit (scope, state, since, retry_at, trips, window_at) "
                 "VALUES (:scope, 'open', :now, :at, 1, :now)"),
            {"scope": str(other), "now": NOW, "at": NOW + 5 * SECOND},
        )  # fmt: skip
        circuits.settle_circuits(session, host=HOST, now=NOW + MINUTE)
        assert circuits.read_circuits(session).keys() == {str(other)}
        circuits.settle_circuits(session, host=HOST, now=NOW + 6 * MINUTE)
        assert circuits.read_circuits(session) == {}

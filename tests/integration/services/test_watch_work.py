"""Work that is due and waits: each cause has one alarm, raised once and ended when it is over."""

import asyncio
import logging
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.services.gate import host_scope
from pipeline.services.watch import Watch
from pipeline.services.watch_work import (
    end_deaf,
    end_old_deaf,
    is_dispatcher_stuck,
    look_at_dispatcher,
    tell_deaf,
)
from pipeline.storage import leases

from .line import START
from .test_watch import Rules, on

LIMIT = 300


@pytest.fixture
def watch(line):
    """One watch that remembers its last look, as one process does."""
    watch = Watch(database=line.database, settings=line.settings, clock=line.clock, routing=Rules)
    return lambda: asyncio.run(watch.run(uuid4()))


def grow_old(line, watch):
    line.clock.pass_seconds(LIMIT)
    watch()
    line.clock.pass_seconds(15)
    watch()


def test_due_work_that_grows_old_raises_an_alarm_once(line, watch, caplog):
    """At the first look over the limit nobody knows yet whether it grows; the alarm names the company."""
    line.submit(3)
    line.clock.pass_seconds(LIMIT)
    watch()
    assert on(line, "oldest_age") == []

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            line.clock.pass_seconds(15)
            watch()

    (alarm,) = on(line, "oldest_age")
    assert alarm.company_id == line.company
    assert "work of Acme is due since 2026-11-01 02:00:00 UTC" in alarm.told
    assert [record.message for record in caplog.records if record.event == "oldest_age"] == ["due work grows old"]
    line.work()
    watch()
    assert on(line, "oldest_age") == []


def test_old_work_that_grows_younger_raises_no_alarm(line, watch):
    for _ in range(10):
        line.submit()
        line.clock.pass_seconds(40)
    watch()
    for _ in range(3):
        line.change("DELETE FROM event")
        line.change("DELETE FROM invoice WHERE id = (SELECT id FROM invoice ORDER BY due_at LIMIT 1)")
        line.clock.pass_seconds(1)
        watch()

    assert on(line, "oldest_age") == []


def test_work_handed_out_again_and_again_and_never_taken_is_old(line, watch):
    """Each handing out makes it due anew; a fleet without a sending process must not look young."""
    line.submit(3)
    for _ in range(LIMIT // 10 + 2):
        line.clock.pass_seconds(10)
        line.dispatch()
        watch()

    assert len(on(line, "oldest_age")) == 1


@pytest.mark.parametrize("cause", ["hold", "company blocked", "host blocked", "company circuit", "host circuit"])
def test_work_that_is_kept_back_has_another_alarm(line, watch, cause):
    """Held, told to wait, or left alone: what keeps it is told by itself."""
    line.submit()
    scope = host_scope(line.settings) if cause.startswith("host") else str(line.company)
    later = START + timedelta(days=1)
    if cause == "hold":
        line.change("UPDATE company SET hold_reason = 'x'")
    elif cause.endswith("blocked"):
        line.change(
            "INSERT INTO pace (scope, lane, blocked_until) VALUES (:scope, 'upload', :later)", scope=scope, later=later
        )
    else:
        line.change("INSERT INTO circuit (scope, state, since) VALUES (:scope, 'open', :now)", scope=scope, now=START)

    grow_old(line, watch)

    assert on(line, "oldest_age") == []


def test_another_company_s_circuit_excuses_nobody(line, watch):
    beta = line.add_company("Beta")
    line.submit(company=beta)
    line.change(
        "INSERT INTO circuit (scope, state, since) VALUES (:scope, 'open', :now)", scope=str(line.company), now=START
    )

    grow_old(line, watch)

    assert [alarm.company_id for alarm in on(line, "oldest_age")] == [beta]


def ring_and_look(line, *, seconds, awake_since=START):
    line.clock.pass_seconds(seconds)
    with line.database.transaction() as session:
        leases.ring(session, "dispatch", now=line.clock())
        look_at_dispatcher(session, line.settings, now=line.clock(), awake_since=awake_since)
    return on(line, "dispatcher_stuck")


def test_dispatcher_that_is_rung_and_completes_no_round_raises_an_alarm(line):
    """A pump that breaks in every round is rung, takes its lease, and never comes to the end."""
    line.dispatch()
    assert ring_and_look(line, seconds=60) == []

    (alarm,) = ring_and_look(line, seconds=31)

    assert "completed no round since 2026-11-01 02:00:00 UTC" in alarm.told
    line.dispatch()
    assert ring_and_look(line, seconds=1) == []


def test_dispatcher_has_time_after_a_stop_of_everything(line):
    line.dispatch()

    assert ring_and_look(line, seconds=36000, awake_since=START + timedelta(seconds=35999)) == []


def test_dispatcher_nobody_rings_is_not_stuck_but_missed(line):
    line.dispatch()
    ring_and_look(line, seconds=100)
    assert len(on(line, "dispatcher_stuck")) == 1

    line.clock.pass_seconds(61)
    with line.database.transaction() as session:
        look_at_dispatcher(session, line.settings, now=line.clock(), awake_since=START)

    assert on(line, "dispatcher_stuck") == []


def test_rounds_of_a_dispatcher_with_nothing_to_do_count(line):
    for _ in range(10):
        line.dispatch()
        assert ring_and_look(line, seconds=60) == []


def test_pump_is_told_that_it_may_be_the_cause(line):
    """Only with due work that grows old and no round meanwhile; by the database's own clock."""
    line.clock.now = START.replace(year=2020)
    line.submit()
    assert not is_dispatcher_stuck(line.database, line.settings)
    ring_and_look(line, seconds=0)
    assert is_dispatcher_stuck(line.database, line.settings)

    line.change("UPDATE lease SET done_at = now()")
    assert not is_dispatcher_stuck(line.database, line.settings)
    line.change("UPDATE lease SET done_at = NULL")
    line.change("UPDATE company SET hold_reason = 'x'")
    assert not is_dispatcher_stuck(line.database, line.settings)


def test_alarm_of_a_deaf_worker_ends_with_its_successor_or_within_the_hour(line):
    for queue in ("send", "dispatch"):
        tell_deaf(line.database, worker="send@one", queue=queue, told="deaf")
    assert len(on(line, "worker_deaf")) == 2

    end_deaf(line.database, worker="send@one", queue="send")
    (left,) = on(line, "worker_deaf")
    with line.database.transaction() as session:
        end_old_deaf(session, now=left.raised_at + timedelta(minutes=59))
    assert len(on(line, "worker_deaf")) == 1
    with line.database.transaction() as session:
        end_old_deaf(session, now=left.raised_at + timedelta(minutes=61))

    assert on(line, "worker_deaf") == []


def test_a_pause_of_hours_is_told_until_it_is_over(line, watch):
    """A Retry-After of minutes is nobody's business; one that stops everything for hours is, until it ends."""
    host = host_scope(line.settings)
    line.change(
        "INSERT INTO pace (scope, lane, blocked_until) VALUES (:host, 'upload', :until)",
        host=host,
        until=line.clock() + timedelta(minutes=9),
    )
    watch()
    assert on(line, "long_pause") == []
    line.change("UPDATE pace SET blocked_until = :until", until=line.clock() + timedelta(hours=5))

    watch()

    (alarm,) = on(line, "long_pause")
    assert alarm.told.startswith(
        f"the operator asked for a pause until 2026-11-01 07:00:00 UTC (Retry-After): nothing of {host}"
    )
    assert alarm.told.endswith("else postiljon lift")
    line.clock.pass_seconds(5 * 3600 - 60)
    watch()
    assert on(line, "long_pause"), "told until it is over"
    line.clock.pass_seconds(61)
    watch()
    assert on(line, "long_pause") == []

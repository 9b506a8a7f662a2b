"""The fleet's clock: the database's time, whatever the machine believes."""

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage import clock, disturbing
from pipeline.storage.clock import FleetClock, read_clock
from pipeline.storage.database import Database


def test_the_database_tells_the_time(database):
    told = FleetClock(database)()

    with database.transaction() as session:
        assert abs(read_clock(session) - told) < timedelta(seconds=2)
    assert told.tzinfo is UTC


def test_a_wrong_wall_clock_plays_no_part(database, monkeypatch):
    """A machine whose wall clock is a day wrong stamps the same leases as all others."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(1999, 1, 1, tzinfo=tz)

    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr(clock, "datetime", Wrong)

    assert FleetClock(database)().year > 2000


def test_the_clock_goes_on_without_the_database(database, database_url, monkeypatch):
    monkeypatch.setattr(clock, "SYNC_SECONDS", 0.0)
    fleet = FleetClock(database)
    before = fleet()
    monkeypatch.setattr(fleet, "_database", Database("postgresql+psycopg://x:y@127.0.0.1:1/none"))

    assert before <= fleet() < before + timedelta(minutes=1)


def test_clock_that_jumped_is_noticed_within_seconds(database, database_url, monkeypatch):
    """After a fail-over to a server with another clock all processes agree on it again before a lease is over."""
    with database.transaction() as session:
        disturbing.prepare(session)
    opened = Database(database_url)
    fleet = FleetClock(opened)
    before, began = fleet(), time.monotonic()
    with opened.transaction() as session:
        disturbing.turn_clock(session, 3600.0)

    monkeypatch.setattr("time.monotonic", lambda: began + 6.0)
    after = fleet()
    opened.close()

    assert after - before > timedelta(minutes=59)


def test_database_that_is_away_is_not_asked_at_every_call(database, monkeypatch):
    monkeypatch.setattr(clock, "SYNC_SECONDS", -1.0)
    fleet = FleetClock(database)
    fleet()
    monkeypatch.setattr(clock, "SYNC_SECONDS", 60.0)
    asked = Away()
    monkeypatch.setattr(fleet, "_database", asked)

    for _ in range(5):
        fleet()

    assert asked.times == 1


@pytest.mark.parametrize("slow_looks", [0, 1])
def test_a_slow_way_to_the_database_makes_the_clock_no_faster(database, monkeypatch, slow_looks):
    """Waiting for a connection, or for an answer that hung, puts no lease and no turn of ours seconds off."""
    fleet = FleetClock(database)
    monkeypatch.setattr(fleet, "_database", Crowded(database, monkeypatch, slow_looks))

    told = fleet()

    with database.transaction() as session:
        assert abs(read_clock(session) - told) < timedelta(seconds=0.5)


class Crowded:
    """A database whose connections come free after 8 s by the process's clock, and that then answers slowly at first."""

    def __init__(self, database, monkeypatch, slow_looks):
        self.database, self.monkeypatch, self.slow_looks = database, monkeypatch, slow_looks
        self.lost = 0.0
        real = time.monotonic
        monkeypatch.setattr("time.monotonic", lambda: real() + self.lost)
        look = clock.read_clock
        monkeypatch.setattr(clock, "read_clock", lambda session: self.hang() or look(session))

    def hang(self):
        if self.slow_looks:
            self.slow_looks -= 1
            self.lost += 8.0

    @contextmanager
    def transaction(self):
        self.lost += 8.0
        with self.database.transaction() as session:
            yield session


class Away:
    """A database that cannot be reached, and how often it was asked."""

    times = 0

    def transaction(self):
        self.times += 1
        raise ServiceUnavailableError("away")


def test_a_clock_that_never_saw_the_database_says_so():
    with pytest.raises(ServiceUnavailableError):
        FleetClock(Database("postgresql+psycopg://x:y@127.0.0.1:1/none"))()

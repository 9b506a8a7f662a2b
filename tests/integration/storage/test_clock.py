"""The fleet's clock: the database's time, whatever the machine believes."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage import clock
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
    fleet = FleetClock(database)
    before = fleet()
    monkeypatch.setattr(clock, "SYNC_SECONDS", 0.0)
    monkeypatch.setattr(fleet, "_database", Database("postgresql+psycopg://x:y@127.0.0.1:1/none"))

    assert before <= fleet() < before + timedelta(minutes=1)


def test_a_clock_that_never_saw_the_database_says_so():
    with pytest.raises(ServiceUnavailableError):
        FleetClock(Database("postgresql+psycopg://x:y@127.0.0.1:1/none"))()

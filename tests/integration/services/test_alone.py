"""A sweep under its lease: kept while a round goes on, and free soon after its holder died."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services import alone
from pipeline.services.alone import LEASE_SECONDS, Alone
from pipeline.storage import leases
from tests.integration.services.line import START, FixedClock


def test_a_round_longer_than_the_lease_keeps_it(database, monkeypatch):
    monkeypatch.setattr(alone, "RENEW_SECONDS", 0.01)
    clock, first = FixedClock(), uuid4()
    seen = []

    async def long_round():
        if seen:
            return 0
        clock.now = START + timedelta(seconds=LEASE_SECONDS - 1)
        async with asyncio.timeout(10):
            while read_until(database) < clock.now + timedelta(seconds=LEASE_SECONDS):  # noqa: ASYNC110 - a row
                await asyncio.sleep(0.01)
        clock.now += timedelta(seconds=2)
        with database.transaction() as session:
            seen.append(leases.take(session, "sweep", holder=uuid4(), now=clock.now, seconds=1.0))
        return 1

    asyncio.run(Alone(database=database, clock=clock, name="sweep").run(first, long_round))

    assert seen == [None], "somebody else took the lease of a living holder"


def test_a_dead_holders_sweep_goes_on_within_the_lease(database):
    clock = FixedClock()
    with database.transaction() as session:
        leases.ring(session, "sweep", now=clock.now)
        leases.take(session, "sweep", holder=uuid4(), now=clock.now, seconds=LEASE_SECONDS)
    clock.pass_seconds(LEASE_SECONDS + 1)
    rounds = []

    async def work():
        rounds.append(clock.now)
        return 0

    asyncio.run(Alone(database=database, clock=clock, name="sweep").run(uuid4(), work))

    assert len(rounds) == 1
    assert LEASE_SECONDS <= 15, "a killed follower must not leave status and holds alone for minutes"


def test_a_lease_from_before_the_clock_was_put_back_binds_nobody(database):
    """Its holder died and the clock jumped back an hour: nothing stands still for that hour."""
    clock = FixedClock()
    with database.transaction() as session:
        leases.ring(session, "sweep", now=clock.now)
        leases.take(session, "sweep", holder=uuid4(), now=clock.now, seconds=LEASE_SECONDS)
    clock.pass_seconds(-3600)
    rounds = []

    async def work():
        rounds.append(clock.now)
        return 0

    asyncio.run(Alone(database=database, clock=clock, name="sweep").run(uuid4(), work))

    assert len(rounds) == 1


def test_what_ended_a_round_is_told_although_the_database_is_away(database, monkeypatch):
    """A lease that cannot be given back hides neither a fault nor that the process is asked to end."""

    def away(*_, **__):
        raise ServiceUnavailableError("away")

    async def work():
        monkeypatch.setattr(leases, "leave", away)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Alone(database=database, clock=FixedClock(), name="sweep").run(uuid4(), work))


def read_until(database):
    with database.transaction() as session:
        return session.connection().exec_driver_sql("SELECT until FROM lease WHERE name = 'sweep'").scalar_one()

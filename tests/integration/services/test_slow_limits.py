"""A limit of one in minutes costs no more work than it lets through, and one company's trouble is not the host's."""

import asyncio
from datetime import timedelta

import pytest

from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from tests.simulated_time import SimulatedLoop

from .line import START, K, Line
from .test_dispatch_fairness import count, open_circuit
from .test_outage import Fleet, LimitedOperator, submit_for

NOT_CLOSED = "SELECT scope FROM circuit WHERE state <> 'closed'"
BUSY = Outcome(kind=K.UNAVAILABLE, http_status=503, message="not available")


class Counting(Fleet):
    """Stops at an instant and counts what workers were given."""

    def __init__(self, line, operator, *, until):
        super().__init__(line, operator)
        self.until = until
        self.handed_out = 0
        publish = line.publisher.publish

        def count_and_publish(chunk):
            self.handed_out += len(chunk.invoice_ids)
            publish(chunk)

        line.publisher.publish = count_and_publish

    def _seconds_to_next(self):
        return None if self.loop.clock() >= self.until else 1


@pytest.mark.parametrize("limit", ["uploads_per_second", "company_uploads_per_second"])
def test_a_slow_limit_is_not_tried_again_and_again(database, vault, limit):
    """One upload in 20 s: what waits for it stays where it is instead of going to a worker and back."""
    line = Line(database, vault, **{limit: 0.05})
    submit_for(line, line.company, 100)
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(days=1))
    fleet = Counting(line, operator, until=START + timedelta(seconds=65))

    loop.run(fleet.run())

    assert 3 <= len(operator.uploads) <= 4
    assert fleet.handed_out <= 12


def test_one_companys_trouble_at_night_leaves_another_its_morning(database, vault):
    """Its failures open the host's circuit, as nobody else was there; who comes then is not kept waiting by it."""
    line = Line(database, vault)
    other = line.add_company("Other")
    mine = submit_for(line, line.company, 40)
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(days=1))
    fleet = Counting(line, operator, until=START + timedelta(minutes=10))
    for speaker in fleet.speakers:
        speaker._pass = busy_for(speaker._pass, line.company, mine)
    theirs = []

    async def come_later():
        await asyncio.sleep(60)
        assert [row.scope for row in line.query(NOT_CLOSED)] == [host_scope(line.settings)]
        theirs.extend(submit_for(line, other, 1))

    async def both():
        await asyncio.gather(fleet.run(), come_later())

    loop.run(both())

    assert line.states(theirs) == ["accepted"]


def busy_for(pass_on, company, uuids):
    """Let the operator be busy whenever one company is the matter."""

    async def exchange(company_id, lane, ask):
        async def answer():
            return BUSY if lane is Lane.UPLOAD else dict.fromkeys(uuids, BUSY)

        return await pass_on(company_id, lane, answer if company_id == company else ask)

    return exchange


def test_a_raised_limit_takes_effect_within_seconds(database, vault):
    """Turns reserved at one in an hour bind nobody once a hundred a second are allowed."""
    line = Line(database, vault)
    line.change("UPDATE company SET uploads_per_second = 1 / 3600.0")
    uuids = submit_for(line, line.company, 100)
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(days=1))
    operator_takes = Counting(line, operator, until=START + timedelta(seconds=20))

    async def raise_later():
        await asyncio.sleep(10)
        assert len(operator.uploads) == 1
        line.change("UPDATE company SET uploads_per_second = 30")

    async def both():
        await asyncio.gather(operator_takes.run(), raise_later())

    loop.run(both())

    assert set(line.states(uuids)) == {"accepted"}


def test_a_canary_of_a_company_that_pauses_goes_to_another(database, vault):
    """The host waits for one exchange; a company that was told to pause for a day is not the one that is asked for."""
    line = Line(database, vault)
    other = line.add_company("Other")
    submit_for(line, line.company, 20)
    theirs = submit_for(line, other, 1)
    line.change(
        "INSERT INTO pace (scope, lane, blocked_until) VALUES (:scope, 'upload', :until), (:scope, 'read', :until)",
        scope=str(line.company),
        until=START + timedelta(hours=24),
    )
    open_circuit(line, host_scope(line.settings), retry_in=0)
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(days=1))

    loop.run(Counting(line, operator, until=START + timedelta(seconds=5)).run())

    assert line.states(theirs) == ["accepted"]
    assert len(operator.uploads) == 1


@pytest.mark.parametrize("stop", ["hold", "cancel"])
def test_a_canary_that_is_stopped_on_its_way_holds_up_nobody(database, vault, stop):
    """Its company is held, or a person cancels it, before a worker has it: the next one goes after the lease."""
    line = Line(database, vault)
    other = line.add_company("Other")
    first = submit_for(line, line.company, 1)[0]
    open_circuit(line, host_scope(line.settings), retry_in=0)
    assert sum(count(line.dispatch()).values()) == 1
    theirs = submit_for(line, other, 1)
    if stop == "hold":
        line.change(
            "UPDATE company SET hold_reason = 'x', held_since = :now WHERE id = :id", now=START, id=line.company
        )
    else:
        line.change(
            "UPDATE invoice SET state = 'cancelled', lease_until = NULL, due_at = NULL WHERE id = :id", id=first
        )
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(days=1))

    loop.run(Counting(line, operator, until=START + timedelta(seconds=25)).run())

    assert line.states(theirs) == ["accepted"]

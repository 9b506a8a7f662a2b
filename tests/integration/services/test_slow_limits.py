"""A limit of one in minutes costs no more work than it lets through, and one company's trouble is not the host's."""

import asyncio
from datetime import timedelta

import pytest

from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from tests.simulated_time import SimulatedLoop

from .line import START, K, Line
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

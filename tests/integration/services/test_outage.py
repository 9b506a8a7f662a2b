"""Six hours without the operator, on a simulated clock: the real pump, senders, gates and database of two processes."""

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from math import ceil
from uuid import uuid4

import pytest

from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane
from pipeline.services.dispatch import Dispatcher
from pipeline.services.forecast import read_flow
from pipeline.services.gate import Gate
from pipeline.services.send import Sender
from pipeline.services.submit import submit
from pipeline.storage.companies import list_companies
from pipeline.storage.tallies import read_tallies
from tests.simulated_time import SimulatedLoop

from .line import START, K, Line, document

LIMIT = 40
INVOICES_EACH = 400
COMPANIES = 5
OUTAGE = timedelta(hours=6)
ANSWERS_IN_SECONDS = 0.2
TOLERANCE = 0.2
REFUSED = Outcome(kind=K.UNAVAILABLE, error_code="refused", message="connection refused")
LOST = Outcome(kind=K.IN_DOUBT, error_code="read_timeout", message="no answer")
RETRY_BUDGET = timedelta(hours=1)
UNTIL_OPEN = timedelta(seconds=12)
"""A circuit looks back 10 s: until then answers of before the outage may outvote its failures. A margin is in both."""
CANARIES = 100
"""Of six hours: 78, after 5, 10, 20 ... then every 300 seconds."""


@dataclass
class LimitedOperator:
    """Takes at most LIMIT uploads in any second while it is there; the same books for all gates."""

    loop: SimulatedLoop
    down_at: datetime
    losing: int = 0
    """How many of the last uploads before the outage never arrive and get no answer."""
    held: Counter = field(default_factory=Counter)
    uploads: list = field(default_factory=list)
    reads: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    throttled: int = 0
    lost: set = field(default_factory=set)

    @property
    def back_at(self):
        return self.down_at + OUTAGE

    @property
    def is_down(self):
        return self.down_at <= self.loop.clock() < self.back_at

    async def take(self, uuid):
        self.uploads.append(self.loop.clock())
        if self.is_down:
            return REFUSED
        now = self.uploads[-1]
        if len(self.uploads) - bisect_right(self.uploads, now - timedelta(seconds=1)) > LIMIT:
            self.throttled += 1
            return Outcome(kind=K.THROTTLED, http_status=429, retry_after_seconds=1.0)
        await asyncio.sleep(ANSWERS_IN_SECONDS)
        if len(self.lost) < self.losing and timedelta(0) < self.down_at - now < timedelta(seconds=1):
            self.lost.add(uuid)
            return LOST
        self.held[uuid] += 1
        return Outcome(kind=K.ACCEPTED, http_status=201, operator_status="PENDING")

    async def look(self, uuids):
        self.reads.append(self.loop.clock())
        self.asked.append(len(uuids))
        if self.is_down:
            return dict.fromkeys(uuids, REFUSED)
        await asyncio.sleep(ANSWERS_IN_SECONDS)
        return {uuid: Outcome(kind=K.ALREADY_THERE if uuid in self.held else K.ABSENT) for uuid in uuids}


@dataclass
class Process:
    """One worker process: a gate of its own before the one operator, and a sender."""

    gate: Gate
    operator: LimitedOperator

    async def upload(self, credentials, *, uuid, **_):
        return await self._pass(credentials.company_id, Lane.UPLOAD, lambda: self.operator.take(uuid))

    async def probe(self, credentials, uuids):
        answer = await self._pass(credentials.company_id, Lane.READ, lambda: self.operator.look(uuids))
        return dict.fromkeys(uuids, answer) if isinstance(answer, Outcome) else answer

    async def _pass(self, company_id, lane, ask):
        held_back = await self.gate.enter(company_id, lane)
        if held_back is not None:
            return held_back
        answer = await ask()
        told = answer if isinstance(answer, Outcome) else next(iter(answer.values()))
        success = told.kind in {K.ACCEPTED, K.ALREADY_THERE, K.ABSENT}
        self.gate.leave(company_id, lane, None if success else told)
        return answer


class Fleet:
    """Pump and two processes on simulated time."""

    def __init__(self, line, operator):
        self.line, self.loop, self.operator = line, operator.loop, operator
        self.speakers = [self._process(seed) for seed in (1, 2)]
        self.senders = cycle([self._sender(each) for each in self.speakers])
        self.under_way = set()
        self.ticks = 0
        self.forecasts = []

    def _process(self, seed):
        gate = Gate(
            database=self.line.database,
            settings=self.line.settings,
            clock=self.loop.clock,
            chance=random.Random(seed).random,
        )
        return Process(gate, self.operator)

    def _sender(self, process):
        return Sender(
            database=self.line.database,
            vault=self.line.vault,
            operator=process,
            settings=self.line.settings,
            clock=self.loop.clock,
            chance=random.Random(3).random,
        )

    async def run(self):
        """Ring the pump each second while there is work, and else at the first second at which there is some."""
        while (wait := self._seconds_to_next()) is not None:
            await asyncio.sleep(wait)
            self.ticks += 1
            Dispatcher(
                database=self.line.database,
                publisher=self.line.publisher,
                settings=self.line.settings,
                clock=self.loop.clock,
            ).run(uuid4())
            for chunk in self.line.publisher.take():
                sender = next(self.senders)
                work = (sender.probe if chunk.is_probe else sender.send)(
                    chunk.company_id, chunk.invoice_ids, epoch=chunk.epoch
                )
                task = asyncio.create_task(work)
                self.under_way.add(task)
                task.add_done_callback(self.under_way.discard)
            self.forecasts.append((self.loop.clock(), self.forecast()))
        await asyncio.gather(*self.under_way)
        for each in self.speakers:
            await each.gate.close()

    def _seconds_to_next(self):
        """How long until the next tick at which anything can be due; None when all is accepted or held."""
        row = self.line.query(
            """SELECT count(*) FILTER (WHERE state IN ('queued', 'sending', 'waiting', 'in_doubt')) AS open,
                count(*) FILTER (WHERE lease_until > :now) AS leased, min(due_at) AS due_at,
                (SELECT max(coalesce(canary_until, retry_at)) FROM circuit WHERE state IN ('open', 'half_open')) AS canary
            FROM invoice WHERE state IN ('queued', 'sending', 'waiting', 'in_doubt')""",
            now=self.loop.clock(),
        )[0]
        if not row.open:
            return None
        due = [at for at in (row.due_at, row.canary) if at is not None]
        next_at = self.loop.clock() if row.leased or self.under_way else max(due, default=self.loop.clock())
        return max(1, ceil((next_at - self.loop.clock()).total_seconds()))

    def forecast(self):
        with self.line.database.transaction() as session:
            flow = read_flow(
                session,
                self.line.settings,
                tallies=read_tallies(session),
                companies=list_companies(session),
                now=self.loop.clock(),
            )
        return flow.forecast


@pytest.fixture
def line(database, vault):
    return Line(
        database,
        vault,
        uploads_per_second=LIMIT,
        retry_waits_seconds="0,2,10,60,300",
        retry_budget_seconds=RETRY_BUDGET.total_seconds(),
    )


def submit_for(line, company, count):
    with line.database.transaction() as session:
        return [
            submit(session, company=company, content=document(), filename="i.xml", now=START).uuid for _ in range(count)
        ]


def fullest_second(instants):
    ordered = sorted(instants)
    return max(bisect_right(ordered, at + timedelta(microseconds=999_999)) - i for i, at in enumerate(ordered))


def deviation(told_seconds, real_seconds):
    return abs(told_seconds - real_seconds) / real_seconds


def test_six_hours_without_the_operator_need_nobody(line):
    """Nobody acts, nothing is spent, the ramp afterwards stays within the limit, the forecast is within 20 %."""
    companies = [line.company, *(line.add_company(f"Company {n}") for n in range(1, COMPANIES))]
    uuids = [uuid for each in companies for uuid in submit_for(line, each, INVOICES_EACH)]
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(seconds=15))
    fleet = Fleet(line, operator)

    loop.run(fleet.run())

    first, end = min(at for at in (*operator.uploads, *operator.reads) if at >= operator.back_at), loop.clock()
    assert_all_accepted_once_by_nobody(line, operator, uuids)
    assert_bounded_attempts(line, operator)
    assert_ramp_within_limit(operator, first)
    # Told right after the return; and in the last wait of the outage, of the time from the canary on.
    told_at, forecast = next(each for each in fleet.forecasts if each[0] >= first + timedelta(seconds=1))
    assert deviation(forecast.seconds, (end - told_at).total_seconds()) < TOLERANCE
    forecast = [told for at, told in fleet.forecasts if at < operator.back_at][-1]
    assert forecast.starts_at >= operator.back_at
    real_seconds = (end - forecast.starts_at).total_seconds()
    assert deviation((forecast.finish_at - forecast.starts_at).total_seconds(), real_seconds) < TOLERANCE


def test_doubt_survives_an_outage_longer_than_its_budget(line):
    """What nobody knew of when the outage began is asked about and sent afterwards, without a person."""
    uuids = submit_for(line, line.company, 80)
    loop = SimulatedLoop(START)
    operator = LimitedOperator(loop, down_at=START + timedelta(seconds=2), losing=3)

    loop.run(Fleet(line, operator).run())

    assert len(operator.lost) == 3
    assert_all_accepted_once_by_nobody(line, operator, uuids)


def assert_all_accepted_once_by_nobody(line, operator, uuids):
    states = line.query("SELECT state, count(*) AS n FROM invoice GROUP BY state")
    assert {row.state: row.n for row in states} == {"accepted": len(uuids)}
    assert line.query("SELECT 1 FROM event WHERE target = 'held'") == []
    assert (len(operator.held), set(operator.held.values())) == (len(uuids), {1})


def assert_bounded_attempts(line, operator):
    """Canaries and what met the outage before the circuit opened; nothing counts that was not asked."""
    during = [at for at in (*operator.uploads, *operator.reads) if operator.down_at <= at < operator.back_at]
    met = [at for at in during if at - operator.down_at < UNTIL_OPEN]
    assert len(met) <= LIMIT * UNTIL_OPEN.total_seconds()
    assert 0 < len(during) - len(met) <= CANARIES
    attempts = line.query("SELECT count(*) AS n FROM attempt")[0].n
    assert attempts == len(operator.uploads) + sum(operator.asked)


def assert_ramp_within_limit(operator, first):
    after = [at for at in operator.uploads if at >= operator.back_at]
    ramp = [sum(timedelta(seconds=n) <= at - first < timedelta(seconds=n + 1) for at in after) for n in range(6)]
    assert all(count <= 2**n for n, count in enumerate(ramp))
    assert ramp[5] >= 8
    assert fullest_second(at for at in operator.uploads if at < operator.down_at) <= LIMIT
    assert fullest_second(after) <= LIMIT
    assert operator.throttled == 0

"""The last look before an exchange begins: its lease by a clock that never stops, and the end of its process."""

import asyncio
from uuid import uuid4

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane
from pipeline.services.departure import DEPARTURE, Departure, DepartureGate, Leases, elapsed_seconds

LATE = Outcome(kind=OutcomeKind.UNAVAILABLE, held_back_seconds=0.0)


class Turns:
    """Implements Turnstile; does something while one waits, and keeps what it was told."""

    def __init__(self, while_waiting=lambda: None):
        self.while_waiting = while_waiting
        self.left = []

    async def enter(self, _company_id, _lane):
        self.while_waiting()

    def leave(self, _company_id, _lane, outcome):
        self.left.append(outcome)


def test_a_lease_is_over_at_its_time_unless_it_was_prolonged():
    now = [100.0]
    kept, lost = uuid4(), uuid4()
    leases = Leases([kept, lost], seconds=30, since=100.0, elapsed=lambda: now[0])

    now[0] = 120.0
    leases.prolong([kept], since=119.0)

    assert not leases.is_over([kept, lost])
    now[0] = 130.0
    assert not leases.is_over([kept])
    assert leases.is_over([kept, lost])


def test_the_clock_goes_on():
    assert elapsed_seconds() <= elapsed_seconds()


def test_what_became_late_while_it_waited_for_its_turn_is_not_let_out():
    """The turn is given back, and whoever waits counts as not begun."""
    refusals: list[Outcome | None] = [None, LATE]
    departure = Departure(lambda: refusals.pop(0))
    departure.is_out = True
    seen = []
    turns = Turns(while_waiting=lambda: seen.append(departure.is_out))

    async def scenario():
        DEPARTURE.set(departure)
        return await DepartureGate(turns).enter(uuid4(), Lane.UPLOAD)

    assert asyncio.run(scenario()) is LATE
    assert seen == [False]
    assert not departure.is_out
    assert turns.left == [LATE]


def test_a_closed_gate_lets_nobody_out():
    turns = Turns()
    gate = DepartureGate(turns)

    async def scenario():
        before = await gate.enter(None, Lane.READ)
        gate.close()
        return before, await gate.enter(None, Lane.READ)

    before, after = asyncio.run(scenario())

    assert before is None
    assert after is not None
    assert after.held_back_seconds == 0

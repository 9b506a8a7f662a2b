from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.pace import (
    AHEAD_SECONDS,
    SLACK_SECONDS,
    USE_SECONDS,
    WAY_SECONDS,
    NotYet,
    Row,
    Turns,
    hold_back,
    plan_turns,
    space,
)

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


def seconds(number):
    return timedelta(seconds=number)


def busiest(instants, window=1.0):
    """The most exchanges in any half-open window, wherever it begins."""
    ordered = sorted(instants)
    return max(sum(1 for other in ordered if 0 <= (other - first).total_seconds() < window) for first in ordered)


@given(
    limit=st.one_of(st.integers(1, 60), st.floats(0.05, 40)),
    seed=st.integers(0, 2**32),
)
def test_no_second_above_limit(limit, seed):
    """However late turns are used within their tolerance, and however long their ways are, no second is too full."""
    random = Random(seed)
    window = max(1.0, 1 / limit)
    turns = [NOW + index * space(limit) for index in range(int(3 * limit * window) + 5)]

    arrived = [at + seconds(random.choice((0, random.random(), 1)) * SLACK_SECONDS) for at in turns]

    # Lateness is rounded to a microsecond too.
    assert busiest(arrived, window - 2e-6) <= max(1, int(limit + 1e-9))


def test_slack_is_needed():
    assert USE_SECONDS + WAY_SECONDS == SLACK_SECONDS
    late_then_punctual = [NOW + seconds(SLACK_SECONDS)] + [NOW + index * seconds(1 / 20) for index in range(1, 25)]
    assert busiest(late_then_punctual) > 20


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(20.0, 0.065), (1.0, 1.3), (0.2, 5.3), (2.5, 0.65), (0.3, 1 / 0.3 + 0.3)],
    ids=["20/s", "1/s", "one in 5 s", "2.5/s is 2", "0.3/s"],
)
def test_spacing(limit, expected):
    assert space(limit).total_seconds() == pytest.approx(expected, abs=1e-5)


def test_found_limit_has_no_slack():
    assert space(20.0, is_adaptive=True) == seconds(0.05)


def test_block_stays_short():
    plan = plan_turns(host=Row(spacing=seconds(0.02)), company=Row(), wanted=500, now=NOW)

    assert isinstance(plan, Turns)
    assert len(plan.at) == 6
    assert [b - a for a, b in pairwise(plan.at)] == [seconds(0.02)] * 5
    assert plan.host_next_at == NOW + seconds(0.12)


def test_takes_no_more_than_wanted():
    plan = plan_turns(host=Row(spacing=seconds(0.02)), company=Row(), wanted=2, now=NOW)

    assert isinstance(plan, Turns)
    assert len(plan.at) == 2


def test_past_turns_are_gone():
    old = Row(spacing=seconds(0.05), next_at=NOW - seconds(60))

    plan = plan_turns(host=old, company=Row(), wanted=1, now=NOW)

    assert isinstance(plan, Turns)
    assert plan.at == (NOW,)


def test_far_company_takes_no_turn_of_host():
    """A company that is limited never pushes the host's turns into the future."""
    slow = Row(spacing=seconds(1.2), next_at=NOW + seconds(0.9))

    plan = plan_turns(host=Row(spacing=seconds(0.01)), company=slow, wanted=5, now=NOW)

    assert plan == NotYet(until=NOW + seconds(0.9), spacing=seconds(1.2))


def test_near_company_without_host_limit_takes_turn_ahead():
    plan = plan_turns(host=Row(), company=Row(spacing=seconds(0.3), next_at=NOW + seconds(0.2)), wanted=5, now=NOW)

    assert isinstance(plan, Turns)
    assert plan.at == (NOW + seconds(0.2),)
    assert plan.host_next_at is None


def test_slow_company_takes_one_turn_of_host_at_a_time():
    plan = plan_turns(host=Row(spacing=seconds(0.01)), company=Row(spacing=seconds(0.05)), wanted=5, now=NOW)

    assert isinstance(plan, Turns)
    assert (plan.at, plan.host_next_at) == ((NOW,), NOW + seconds(0.01))
    assert plan.company_next_at == NOW + seconds(0.05)


def test_far_host_turn_is_left_to_others():
    plan = plan_turns(host=Row(spacing=seconds(1), next_at=NOW + seconds(2)), company=Row(), wanted=1, now=NOW)

    assert isinstance(plan, NotYet)
    assert NOW < plan.until <= NOW + seconds(2)
    assert plan.until >= NOW + seconds(2 - AHEAD_SECONDS)


@pytest.mark.parametrize("whose", ["host", "company"])
def test_block_stops_turns(whose):
    rows = {"host": Row(spacing=seconds(0.01)), "company": Row()}
    rows[whose] = Row(blocked_until=NOW + seconds(7))

    plan = plan_turns(**rows, wanted=1, now=NOW)

    assert isinstance(plan, NotYet)
    assert (plan.until, plan.is_blocked) == (NOW + seconds(7), True)


def test_past_block_stops_nothing():
    plan = plan_turns(host=Row(blocked_until=NOW), company=Row(), wanted=1, now=NOW)

    assert isinstance(plan, Turns)


def test_held_back_says_nothing_was_sent():
    outcome = hold_back(2.5, why="the operator asked for a pause")

    assert outcome.left_nothing
    assert (outcome.held_back_seconds, outcome.retry_after_seconds) == (2.5, 2.5)
    assert outcome.message == "the operator asked for a pause: nothing was sent"

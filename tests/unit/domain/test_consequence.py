"""What a held-back attempt leaves behind: nothing but the time at which it is due again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.domain.consequence import conclude
from pipeline.domain.decision import Standing
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.retry import RetrySchedule
from pipeline.domain.state import State

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule(waits_seconds=(0.0, 2.0, 10.0))
GIVE_UP_AT = NOW + timedelta(hours=1)
STANDING = Standing(
    uploads=1,
    tries=3,
    give_up_at=GIVE_UP_AT,
    last_upload_at=NOW,
    probing=False,
    refusal="no VAT",
    begun_at=NOW - timedelta(seconds=4),
)


def held_back(seconds):
    return Outcome(kind=OutcomeKind.UNAVAILABLE, held_back_seconds=seconds, message="circuit open")


@pytest.mark.parametrize(("probing", "target"), [(False, State.WAITING), (True, State.IN_DOUBT)])
def test_nothing_is_spent_on_what_was_never_begun(probing, target):
    """Tries and refusal stay, the budget grows by all the time it took, and the cause is told."""
    consequence = conclude(held_back(30), replace(STANDING, probing=probing), now=NOW, schedule=SCHEDULE, chance=0.0)

    assert consequence.never_begun
    assert (consequence.target, consequence.tries, consequence.refusal) == (target, 3, "no VAT")
    assert consequence.due_at == NOW + timedelta(seconds=30)
    assert consequence.give_up_at == GIVE_UP_AT + timedelta(seconds=34)
    assert "circuit open" in consequence.reason


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_it_is_due_no_earlier_than_told(chance):
    consequence = conclude(held_back(30), STANDING, now=NOW, schedule=SCHEDULE, chance=chance)

    assert NOW + timedelta(seconds=30) <= consequence.due_at <= NOW + timedelta(seconds=36)


def test_a_spent_budget_holds_nothing_that_was_not_tried():
    """What could not be tried is not given up either."""
    spent = replace(STANDING, give_up_at=NOW - timedelta(days=1))

    assert conclude(held_back(0), spent, now=NOW, schedule=SCHEDULE, chance=0.0).target is State.WAITING

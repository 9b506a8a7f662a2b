from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from pipeline.domain.pace_learning import FLOOR, FORGET, Learned, Window, learn

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def live(*, limit, demand, noise=0.0, seconds=120, known=None):
    """Second after second against an operator that refuses what is above its limit, and a few at random."""
    random, now, known = Random(7), NOW, known or Learned()
    told = []
    for _ in range(seconds):
        asked = int(min(demand, known.rate or demand) + random.random())
        refused = sum(random.random() < noise for _ in range(asked))
        refused += max(0, asked - refused - limit)
        window = Window(since=now, answered=asked, throttled=refused)
        now += SECOND
        if asked:
            known = learn(known, window, now)
        told.append((asked, refused, known.rate))
    return told


def test_unknown_limit_is_found_and_kept():
    """A limit nobody told is found within seconds, and hardly anything is refused after that."""
    told = live(limit=20, demand=200)

    after = told[3:]
    assert sum(refused for _, refused, _ in after) / sum(asked for asked, _, _ in after) < 0.05
    assert sum(asked - refused for asked, refused, _ in after) / len(after) > 17


def test_raised_limit_is_found():
    known = Learned(rate=20.0, refused_rate=20.0, refused_at=NOW)

    told = live(limit=100, demand=200, known=known, seconds=120)

    assert max(rate for _, _, rate in told) > 90


def test_lowered_limit_is_found():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW)

    told = live(limit=10, demand=200, known=known, seconds=10)

    assert told[3][2] < 12


@pytest.mark.parametrize(("noise", "least"), [(0.03, 70), (0.13, 30)], ids=["everyday", "storm"])
def test_random_refusals_do_not_strangle(noise, least):
    told = live(limit=10**9, demand=100, noise=noise)

    assert sum(asked for asked, _, _ in told) / len(told) > least


def test_never_below_floor():
    known = Learned(rate=1.2, refused_rate=1.2, refused_at=NOW)

    cut = learn(known, Window(since=NOW, answered=5, throttled=5), NOW + SECOND)

    assert cut.rate == FLOOR


def test_few_answers_teach_no_limit():
    assert learn(Learned(), Window(since=NOW, answered=3, throttled=1), NOW + 5 * SECOND) == Learned()


def test_unused_limit_does_not_rise():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW)

    assert learn(known, Window(since=NOW, answered=10, throttled=0), NOW + SECOND).rate == 100.0


def test_used_limit_rises_by_a_step():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW)

    assert learn(known, Window(since=NOW, answered=90, throttled=0), NOW + SECOND).rate == 102.0


def test_old_unused_limit_is_forgotten():
    known = Learned(rate=100.0, noise=0.1, refused_rate=100.0, refused_at=NOW)

    assert learn(known, Window(since=NOW + FORGET, answered=10), NOW + FORGET + SECOND) == Learned()


def test_window_waits_for_answers():
    few = Window().plus(answered=2, throttled=0, now=NOW)
    many = few.plus(answered=30, throttled=1, now=NOW + SECOND / 2)

    assert not few.is_over(NOW + 2 * SECOND)
    assert few.is_over(NOW + 5 * SECOND)
    assert not many.is_over(NOW + SECOND / 2)
    assert many.is_over(NOW + SECOND)
    assert not Window().is_over(NOW)

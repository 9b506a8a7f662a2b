from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from pipeline.domain.pace_learning import CEILING, FLOOR, FORGET, LAPSE, Learned, Window, count, learn

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FEW_SECONDS = 8.0
ABOUT_A_TENTH = 0.12


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

    cut = learn(known, Window(since=NOW, answered=20, throttled=20), NOW + SECOND)

    assert cut.rate == FLOOR


def test_few_answers_teach_no_limit():
    assert learn(Learned(), Window(since=NOW, answered=3, throttled=1), NOW + 5 * SECOND) == Learned()


def test_unused_limit_does_not_rise():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW)

    assert learn(known, Window(since=NOW, answered=10, throttled=0), NOW + SECOND).rate == 100.0


def test_used_limit_rises_by_a_step():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW)

    assert learn(known, Window(since=NOW, answered=90, throttled=0), NOW + SECOND).rate == 102.0


@pytest.mark.parametrize(
    ("answered", "throttled"), [(5, 1), (9, 9), (12, 2)], ids=["one of five", "few answers", "few refusals"]
)
def test_small_window_cuts_nothing(answered, throttled):
    """However many limits are known, a handful of answers is no evidence of a lower one."""
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW)

    after = learn(known, Window(since=NOW, answered=answered, throttled=throttled), NOW + 5 * SECOND)

    assert after.rate == 100.0


def test_starved_window_is_not_taken_for_the_limit():
    """Where the fleet hardly asked, what was taken is not what the operator lets through."""
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW - 60 * SECOND)

    cut = learn(known, Window(since=NOW, answered=20, throttled=6), NOW + SECOND)

    assert 80 < cut.rate <= 90


def test_one_window_halves_at_most():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW - 60 * SECOND)

    assert learn(known, Window(since=NOW, answered=100, throttled=98), NOW + SECOND).rate == 50.0


def test_wrongly_low_limit_doubles_in_seconds():
    known = Learned(rate=10.0, refused_rate=10.0, refused_at=NOW)

    told = live(limit=10**9, demand=200, known=known, seconds=18)

    assert told[8][2] < 12
    assert told[17][2] > 20


def test_partly_used_limit_rises():
    """A fleet that is starved for other reasons must not keep a low limit low."""
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW - 15 * SECOND)

    assert learn(known, Window(since=NOW, answered=40), NOW + SECOND).rate == pytest.approx(110.0)


def test_unused_limit_lapses():
    """A limit that was not met for half a minute grows, used or not, until it binds nobody."""
    known = Learned(rate=2.0, noise=0.05, refused_rate=2.0, refused_at=NOW - LAPSE)

    assert learn(known, Window(since=NOW, answered=1), NOW + 5 * SECOND).rate > 3
    high = replace(known, rate=CEILING - 1)
    assert learn(high, Window(since=NOW, answered=1), NOW + 5 * SECOND).rate is None


def test_pause_in_a_window_lowers_nothing():
    """What was answered before everything stood still is judged by the time in which it was answered."""
    known, window = Learned(), Window(since=NOW, answered=40, throttled=20)

    known, window = count(
        known, window, answered=1, throttled=0, now=NOW + 5 * SECOND, last_at=NOW + timedelta(seconds=0.8)
    )

    assert known.rate == pytest.approx(18)


def test_clock_that_jumped_back_stops_no_learning():
    """Windows and cuts of a future that was taken back keep nothing from being judged."""
    ahead = NOW + timedelta(hours=1)
    known, window = Learned(rate=10.0, refused_rate=10.0, refused_at=ahead), Window(since=ahead, answered=50)

    for second in range(4):
        known, window = count(known, window, answered=20, throttled=0, now=NOW + second * SECOND, last_at=ahead)

    assert known.rate > 12


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


FLUSH_SECONDS = 0.2
"""How often a process writes down what was answered (pipeline.services.evidence_keeper)."""


@dataclass
class Told:
    """One moment of a simulated company."""

    at: float
    rate: float | None
    answered: int
    refused: int
    is_paused: bool


def simulate(*, demand, limit=None, noise=0.0, pauses=False, seed=1, seconds=300, known=None):
    """Answers of one company as they are written down, five times a second, with pauses that nothing explains."""
    random, known, window, last_at = Random(seed), known or Learned(), Window(), None
    told, credit, tokens, pause_until = [], 0.0, float(limit or 0), 0.0
    for step in range(int(seconds / FLUSH_SECONDS)):
        at = step * FLUSH_SECONDS
        if pauses and at >= pause_until and random.random() < FLUSH_SECONDS / 15:
            pause_until = at + random.choice((0.4, 1.0, 2.0, 5.0, 20.0))
        is_paused = at < pause_until
        asked = refused = 0
        if not is_paused:
            credit = min(credit, 1.0) + min(demand, known.rate or demand) * FLUSH_SECONDS * random.uniform(0.5, 1.5)
            asked = int(credit)
            credit -= asked
            refused = sum(random.random() < noise for _ in range(asked))
        if limit is not None:
            tokens = min(tokens + limit * FLUSH_SECONDS, float(limit))
            taken = min(asked - refused, int(tokens))
            tokens -= taken
            refused = asked - taken
        if asked:
            now = NOW + timedelta(seconds=at)
            known, window = count(known, window, answered=asked, throttled=refused, now=now, last_at=last_at)
            last_at = now
        told.append(Told(at=at, rate=known.rate, answered=asked, refused=refused, is_paused=is_paused))
    return told


def longest_strangled(told, offered):
    """For how many seconds in a row less than half of what is offered was let through while there was something."""
    longest = current = 0.0
    for each in told:
        is_bound = each.rate is not None and each.rate < offered / 2
        current = current + FLUSH_SECONDS * (not each.is_paused) if is_bound else 0.0
        longest = max(longest, current)
    return longest


@pytest.mark.parametrize("offered", [5, 10, 20, 50, 200])
@pytest.mark.parametrize("noise", [0.02, 0.04, 0.08])
@pytest.mark.parametrize("pauses", [False, True], ids=["steady", "with pauses"])
def test_stray_refusals_never_strangle(noise, offered, pauses):
    """Refusals that have nothing to do with the pace never halve it for longer than a few seconds."""
    worst = [
        longest_strangled(simulate(demand=offered, noise=noise, pauses=pauses, seed=seed), offered) for seed in range(8)
    ]

    assert max(worst) <= FEW_SECONDS


@pytest.mark.parametrize("noise", [0.0, 0.03], ids=["calm", "everyday"])
@pytest.mark.parametrize("limit", [5, 20, 100])
def test_real_limit_is_found_and_kept(limit, noise):
    """A real limit is found within seconds; after that hardly anything is refused, and most of it is used."""
    for seed in range(5):
        later = [each for each in simulate(demand=5 * limit, limit=limit, noise=noise, seed=seed) if each.at > 15]

        answered, refused = sum(each.answered for each in later), sum(each.refused for each in later)
        assert refused / answered < ABOUT_A_TENTH + noise
        assert (answered - refused) / 285 > 0.8 * limit


def test_shrunken_limit_is_found_in_ten_seconds():
    known = Learned(rate=100.0, refused_rate=100.0, refused_at=NOW - timedelta(minutes=1))

    told = simulate(demand=200, limit=5, known=known, seconds=10)

    assert told[-1].rate < 7

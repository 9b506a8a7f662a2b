"""A circuit opens on evidence alone, waits longer each time, and is taken up again slowly."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.circuit import (
    LONGEST_CANARY_SECONDS,
    QUIET_WINDOW,
    WINDOW,
    Circuit,
    CircuitState,
    Evidence,
    Window,
    canary_until,
    is_canary_due,
    is_recovered,
    room,
    say_canary,
    say_evidence,
    tell,
    wait,
    weigh,
)
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEAST = 10
K, S = OutcomeKind, CircuitState
UPLOAD, READ = Lane.UPLOAD, Lane.READ

batches = st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 15))


def circuit(state, **more):
    return Circuit(scope="ax.example", state=state, since=NOW, **more)


@pytest.mark.parametrize(
    ("lane", "outcome", "evidence"),
    [
        pytest.param(READ, None, Evidence.ANSWERED, id="success"),
        pytest.param(UPLOAD, Outcome(kind=K.UNAVAILABLE, error_code="refused"), Evidence.FAILED, id="no connection"),
        pytest.param(UPLOAD, Outcome(kind=K.UNAVAILABLE, http_status=503), Evidence.FAILED, id="closed for now"),
        pytest.param(READ, Outcome(kind=K.UNAVAILABLE, http_status=500), Evidence.FAILED, id="no token came"),
        pytest.param(READ, Outcome(kind=K.UNAVAILABLE, held_back_seconds=1.0), Evidence.NEUTRAL, id="held back by us"),
        pytest.param(UPLOAD, Outcome(kind=K.IN_DOUBT, error_code="read_timeout"), Evidence.NEUTRAL, id="slow upload"),
        pytest.param(UPLOAD, Outcome(kind=K.IN_DOUBT, http_status=500), Evidence.NEUTRAL, id="lying upload"),
        pytest.param(READ, Outcome(kind=K.IN_DOUBT, error_code="read_timeout"), Evidence.FAILED, id="slow question"),
        pytest.param(READ, Outcome(kind=K.IN_DOUBT, http_status=500), Evidence.FAILED, id="failed question"),
        pytest.param(READ, Outcome(kind=K.IN_DOUBT, http_status=200), Evidence.FAILED, id="a gateway's page"),
        pytest.param(READ, Outcome(kind=K.IN_DOUBT, http_status=404), Evidence.ANSWERED, id="not found"),
        pytest.param(READ, Outcome(kind=K.ABSENT, http_status=404), Evidence.ANSWERED, id="absent"),
        pytest.param(UPLOAD, Outcome(kind=K.REFUSED, http_status=400), Evidence.ANSWERED, id="refused"),
        pytest.param(UPLOAD, Outcome(kind=K.THROTTLED, http_status=429), Evidence.ANSWERED, id="throttled"),
        pytest.param(READ, Outcome(kind=K.UNAUTHORIZED, http_status=401), Evidence.ANSWERED, id="not let in"),
    ],
)
def test_exchange_is_weighed(lane, outcome, evidence):
    assert weigh(outcome, lane) is evidence


@given(st.lists(batches))
def test_nothing_opens_where_a_fifth_is_answered(sequence):
    """However answers and failures come: one window with a fifth of answers in it is never evidence."""
    window, now = Window(since=NOW), NOW
    for answered, failed, seconds in sequence:
        now += timedelta(seconds=seconds)
        window = window.plus(answered=answered, failed=failed, now=now)
        if window.answered * 5 >= window.answered + window.failed:
            assert window.failed == 0 or not window.opens(least_failures=LEAST)
        if sum(each[1] for each in sequence) < LEAST:
            assert not window.opens(least_failures=LEAST)


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 3)), min_size=1))
def test_steady_fifth_of_answers_never_opens(rounds):
    """Four of five exchanges fail all the time: slow going, and yet somebody is there."""
    window, now = Window(since=NOW), NOW
    for times, seconds in rounds:
        now += timedelta(seconds=seconds)
        window = window.plus(answered=times, failed=4 * times, now=now)
        assert not window.opens(least_failures=LEAST)


def test_one_slow_invoice_opens_nothing():
    window = Window(since=NOW)
    for second in range(100):
        window = window.plus(answered=0, failed=second % 2, now=NOW + second * SECOND)
        assert not window.opens(least_failures=LEAST)


def test_outage_after_a_busy_hour_shows_within_seconds():
    window, now = Window(since=NOW), NOW
    for _ in range(300):
        now += SECOND / 5
        window = window.plus(answered=60, failed=0, now=now)
    begun = now
    while not window.opens(least_failures=LEAST):
        now += SECOND / 5
        window = window.plus(answered=0, failed=60, now=now)
    assert now - begun <= 9 * SECOND


def test_answers_from_before_the_clock_was_put_back_outvote_nothing():
    window = Window(since=NOW)
    for tick in range(100):
        window = window.plus(answered=60, failed=0, now=NOW - 3600 * SECOND + tick * SECOND / 5)
    assert window.plus(answered=0, failed=LEAST * 50, now=NOW - 3580 * SECOND).opens(least_failures=LEAST)


@pytest.mark.parametrize(
    ("state", "more"),
    [
        (S.OPEN, {"retry_at": NOW + 5 * SECOND}),
        (S.HALF_OPEN, {"canary_until": NOW + 90 * SECOND}),
    ],
)
def test_nothing_waits_for_an_hour_that_comes_twice(state, more):
    """An instant noted before the clock was put back is no reason to wait until it comes again."""
    assert not is_canary_due(circuit(state, **more), NOW - SECOND)
    assert is_canary_due(circuit(state, **more), NOW - 3600 * SECOND)


def test_slow_start_ends_when_the_clock_was_put_back():
    assert room(circuit(S.CLOSING), NOW - SECOND) == 1
    assert is_recovered(circuit(S.CLOSING), NOW - 3600 * SECOND)


def test_window_lasts_from_the_first_failure():
    window = Window(since=NOW).plus(answered=3, failed=0, now=NOW + SECOND)
    failing = window.plus(answered=0, failed=1, now=NOW + 1.5 * SECOND)

    assert failing == Window(since=NOW + 1.5 * SECOND, answered=3, failed=1)
    assert failing.plus(answered=1, failed=0, now=failing.since + WINDOW - SECOND / 10).failed == 1
    assert failing.plus(answered=1, failed=0, now=failing.since + WINDOW).failed == 0
    assert window.plus(answered=0, failed=1, now=NOW + QUIET_WINDOW).answered == 0


@pytest.mark.parametrize(
    ("circuit_", "after", "expected"),
    [
        pytest.param(None, 0, None, id="no circuit"),
        pytest.param(circuit(S.CLOSED), 0, None, id="closed"),
        pytest.param(circuit(S.OPEN, retry_at=NOW + SECOND), 0, 0, id="open"),
        pytest.param(circuit(S.OPEN, retry_at=NOW + SECOND), 1, 1, id="canary due"),
        pytest.param(circuit(S.HALF_OPEN, canary_until=NOW + SECOND), 0, 0, id="canary under way"),
        pytest.param(circuit(S.HALF_OPEN, canary_until=NOW + SECOND), 1, 1, id="canary dead"),
        pytest.param(circuit(S.CLOSING), -1, 1, id="closing by a clock that is behind"),
        pytest.param(circuit(S.CLOSING), 0, 1, id="closing"),
        pytest.param(circuit(S.CLOSING), 0.9, 1, id="first second"),
        pytest.param(circuit(S.CLOSING), 1, 2, id="second second"),
        pytest.param(circuit(S.CLOSING), 10, 1024, id="last second"),
        pytest.param(circuit(S.CLOSING), 11, None, id="over"),
        pytest.param(circuit(S.CLOSING), 10**9, None, id="long over"),
    ],
)
def test_room(circuit_, after, expected):
    assert room(circuit_, NOW + after * SECOND) == expected


def test_canary_is_due_in_its_time_only():
    assert not is_canary_due(circuit(S.CLOSED), NOW)
    assert not is_canary_due(circuit(S.CLOSING), NOW)
    assert is_canary_due(circuit(S.OPEN), NOW)
    assert not is_recovered(circuit(S.CLOSING), NOW + 10 * SECOND)
    assert is_recovered(circuit(S.CLOSING), NOW + 11 * SECOND)


@pytest.mark.parametrize(
    ("trips", "retry_after", "seconds"),
    [(1, None, 5), (2, None, 10), (3, None, 20), (7, None, 300), (10**6, None, 300), (1, 60, 60), (7, 60, 300)],
)
def test_wait_doubles_up_to_its_bound_and_never_undercuts_what_was_asked(trips, retry_after, seconds):
    pause = wait(trips=trips, shortest_seconds=5.0, longest_seconds=300.0, retry_after_seconds=retry_after)
    assert pause == timedelta(seconds=seconds)


def test_canary_counts_as_dead_after_the_longest_exchange():
    assert canary_until(NOW, timeouts_seconds=12.0) == NOW + 12 * SECOND
    assert canary_until(NOW, timeouts_seconds=10**9) == NOW + LONGEST_CANARY_SECONDS * SECOND


def test_words_say_what_failed_and_what_comes_next():
    evidence = say_evidence(Window(since=NOW, failed=14), "connection refused")
    evidence = say_canary(say_canary(evidence, "refused", at=NOW), "no answer", at=NOW + SECOND)
    opened = circuit(S.OPEN, evidence=evidence, retry_at=NOW + SECOND, answered_at=NOW - SECOND)

    assert tell(opened).startswith(
        "the operator's host ax.example has not answered since 2026-11-01 01:59:59 UTC: 14 of 14 exchanges failed "
        "(connection refused); the last canary, at 02:00:01, failed too (no answer). Next canary at 2026-11-01 02:00:01 UTC."
    )
    assert "asked for Acme" in tell(opened, company_name="Acme")
    assert "answers again" in tell(circuit(S.CLOSING))

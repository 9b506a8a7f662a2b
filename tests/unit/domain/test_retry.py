"""When to try again: the arithmetic of the schedule, of Retry-After and of jitter."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.retry import DEFAULT_WAITS_SECONDS, JITTER_SHARE, RetrySchedule, with_jitter

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule()


@pytest.mark.parametrize(
    ("tries", "retry_after", "seconds"),
    [
        (0, None, 0),  # the first wait is 0
        (1, None, 2),
        (2, None, 10),
        (3, None, 60),
        (4, None, 300),
        (5, None, 900),
        (6, None, 3600),
        (7, None, 3600),  # the last one repeats
        (1000, None, 3600),
        (0, 30.0, 30),  # max(0, 30)
        (3, 30.0, 60),  # max(60, 30)
        (1, 2.5, 2.5),  # max(2, 2.5)
        (6, 86400.0, 86400),  # a day when the operator says so
        (2, 0.0, 10),  # max(10, 0)
    ],
)
def test_waits_follow_the_list_and_retry_after(tries, retry_after, seconds):
    at = SCHEDULE.next_at(now=NOW, tries=tries, retry_after_seconds=retry_after)

    assert at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("waits", [(), (1.0, -0.1)])
def test_an_impossible_schedule_is_refused(waits):
    with pytest.raises(ValueError, match="retry schedule"):
        RetrySchedule(waits_seconds=waits)


@pytest.mark.parametrize(
    ("wait", "chance", "seconds"),
    [
        (0, 0.99, 0),  # nothing to spread
        (100, 0.0, 100),
        (100, 0.5, 110),  # 100 + 100 * 0.2 * 0.5
        (3600, 0.25, 3780),  # 3600 + 3600 * 0.2 * 0.25
    ],
)
def test_jitter_adds_a_share_of_the_wait(wait, chance, seconds):
    assert with_jitter(NOW + timedelta(seconds=wait), now=NOW, chance=chance) == NOW + timedelta(seconds=seconds)


@given(
    wait=st.floats(min_value=0, max_value=10**7),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_jitter_is_never_earlier_and_never_beyond_its_share(wait, chance):
    at = NOW + timedelta(seconds=wait)

    jittered = with_jitter(at, now=NOW, chance=chance)

    assert at <= jittered <= at + (at - NOW) * JITTER_SHARE + timedelta(microseconds=1)


@given(tries=st.integers(min_value=0, max_value=50), retry_after=st.none() | st.floats(min_value=0, max_value=10**6))
def test_retry_after_is_never_undercut(tries, retry_after):
    at = SCHEDULE.next_at(now=NOW, tries=tries, retry_after_seconds=retry_after)

    scheduled = DEFAULT_WAITS_SECONDS[min(tries, len(DEFAULT_WAITS_SECONDS) - 1)]
    assert at >= NOW + timedelta(seconds=max(scheduled, retry_after or 0.0))

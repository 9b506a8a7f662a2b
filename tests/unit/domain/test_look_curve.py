"""The age curve of looks: its points, its repeat, and that nothing moves them."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.domain.look_curve import next_look

SINCE = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
WAITS = (2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)


def age_of_next(age, waits=WAITS):
    return (next_look(SINCE, SINCE + timedelta(seconds=age), waits) - SINCE).total_seconds()


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (-1, 2),
        (0, 2),
        (1.9, 2),
        (2, 7),
        (7, 22),
        (22, 82),
        (82, 382),
        (382, 3982),
        (3981.9, 3982),
        (3982, 7582),
        (7581, 7582),
        (7582, 11182),
        (30 * 24 * 3600, 3982 + 720 * 3600 - 3600),
    ],
)
def test_each_look_has_its_point(age, expected):
    assert age_of_next(age) == expected


@pytest.mark.parametrize(("waits", "age", "expected"), [((60.0,), 0, 60), ((60.0,), 60, 120), ((5.0, 0.0), 7.5, 8)])
def test_short_curves_go_on(waits, age, expected):
    assert age_of_next(age, waits) == expected


def test_it_is_always_later_than_now():
    for tenths in range(0, 100_000, 7):
        assert age_of_next(tenths / 10) > tenths / 10

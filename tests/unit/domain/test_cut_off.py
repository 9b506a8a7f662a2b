"""How groups run off at a speed: order, waking up, and who is too late."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.cut_off import Group, run_off

AT = datetime(2026, 11, 1, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def group(batch, invoices, *, priority=0, deadline=None, not_before=None, came=None):
    """Times in hours from AT."""
    hours = {"deadline": deadline, "not_before": not_before, "came_at": came}
    instants = {name: None if value is None else AT + value * HOUR for name, value in hours.items()}
    return Group(batch_id=batch, invoices=invoices, priority=priority, **instants)


def run(*groups, per_hour=3600, starts=0):
    endings = run_off(groups, at=AT, starts_at=AT + starts * HOUR, per_second=per_hour / 3600)
    return {each.group.batch_id: each for each in endings}


def test_those_beyond_the_cut_off_are_counted():
    (ending,) = run(group(1, 1312, deadline=1), per_hour=1000).values()

    assert (ending.will_miss, ending.late) == (312, 0)
    assert ending.finish_at == AT + timedelta(hours=1.312)


def test_the_earlier_deadline_goes_first_and_the_higher_priority_before():
    found = run(
        group(1, 500, deadline=2), group(2, 500, deadline=1), group(3, 500, priority=1), group(4, 500), per_hour=1000
    )

    assert [(key, each.will_miss) for key, each in found.items()] == [(3, 0), (2, 0), (1, 0), (4, 0)]
    assert [each.finish_at for each in found.values()] == [AT + HOUR * half / 2 for half in (1, 2, 3, 4)]


def test_what_came_first_goes_first_where_nothing_else_tells():
    assert list(run(group(1, 5, came=-1), group(2, 5, came=-2), group(0, 5))) == [0, 2, 1]


def test_who_sleeps_lets_others_go_and_takes_its_place_when_it_wakes():
    found = run(group(1, 500, priority=1, not_before=0.5), group(2, 1000, deadline=1.2), per_hour=1000)

    assert found[1].finish_at == AT + HOUR
    assert found[2].finish_at == AT + 1.5 * HOUR
    assert found[2].will_miss == 300


def test_a_beginning_that_is_far_makes_late():
    assert run(group(1, 10, deadline=1), starts=2)[1].will_miss == 10


def test_a_deadline_that_is_over_is_late_already():
    ending = run(group(1, 10, deadline=-1))[1]

    assert (ending.late, ending.will_miss) == (10, 0)


@pytest.mark.parametrize("per_second", [None, 0.0])
def test_nothing_is_said_without_a_speed(per_second):
    early, over = run_off([group(1, 5, deadline=1), group(2, 5, deadline=-1)], at=AT, per_second=per_second)

    assert (early.finish_at, early.will_miss, early.late) == (None, 0, 0)
    assert (over.finish_at, over.late) == (None, 5)


GROUPS = st.lists(
    st.builds(
        group,
        st.integers(0, 5),
        st.integers(1, 10_000),
        priority=st.integers(0, 2),
        deadline=st.none() | st.floats(-2, 20),
        not_before=st.none() | st.floats(-2, 20),
        came=st.none() | st.floats(-20, 0),
    ),
    max_size=8,
)


@given(GROUPS, st.floats(0.01, 1000), st.floats(0, 5))
def test_nobody_is_lost_or_counted_twice(groups, per_second, starts):
    """Whatever runs off: all are there, nobody misses more than it has, and no more gets done than the speed allows."""
    endings = run_off(groups, at=AT, starts_at=AT + starts * HOUR, per_second=per_second)

    assert sorted(id(each.group) for each in endings) == sorted(id(each) for each in groups)
    assert all(0 <= each.will_miss + each.late <= each.group.invoices for each in endings)
    for each in endings:
        if each.finish_at is not None:
            least = each.group.invoices / per_second
            begin = max(AT + starts * HOUR, each.group.not_before or AT)
            assert (each.finish_at - begin).total_seconds() >= least - 1e-3

"""Alarms are raised once while they last, and end."""

from datetime import timedelta

import pytest

from pipeline.storage import alarms, watching

from .rows import NOW

LATER = NOW + timedelta(minutes=1)
TURN = {"every": timedelta(seconds=15), "awake": timedelta(seconds=60), "others": ["follow"]}


def raise_(database, subject="a", told="first", kind="test", now=NOW):
    with database.transaction() as session:
        return alarms.raise_alarm(session, kind, subject, told=told, now=now)


def on(database):
    with database.transaction() as session:
        return [(alarm.kind, alarm.subject, alarm.told, alarm.raised_at) for alarm in alarms.list_alarms(session)]


def test_an_alarm_is_raised_once_while_it_lasts(database):
    assert [raise_(database), raise_(database), raise_(database, told="newer", now=LATER)] == [True, False, False]

    assert on(database) == [("test", "a", "newer", NOW)]


def test_an_alarm_that_ended_can_be_raised_again(database):
    raise_(database)
    with database.transaction() as session:
        assert alarms.end_alarm(session, "test", "a", now=LATER) is True
        assert alarms.end_alarm(session, "test", "a", now=LATER) is False
    assert on(database) == []

    assert raise_(database, now=LATER) is True
    assert on(database) == [("test", "a", "first", LATER)]


def test_all_but_those_that_are_still_so_end(database):
    for subject in "abc":
        raise_(database, subject)
    raise_(database, "d", kind="other")

    with database.transaction() as session:
        assert sorted(alarms.end_alarms(session, "test", still={"b"}, now=LATER)) == ["a", "c"]
        assert alarms.end_alarms(session, "test", still={"b"}, now=LATER) == []
        assert alarms.count_alarms(session) == {"other": 1, "test": 1}


def test_the_list_of_alarms_can_be_cut(database):
    for subject in "abc":
        raise_(database, subject)

    with database.transaction() as session:
        assert [alarm.subject for alarm in alarms.list_alarms(session, limit=2)] == ["a", "b"]


def take_turn(database, seconds):
    with database.transaction() as session:
        return watching.take_turn(session, "rings", **TURN, now=NOW + timedelta(seconds=seconds))


def test_a_turn_comes_once_in_a_while_for_the_whole_fleet(database):
    assert [take_turn(database, seconds) for seconds in (0, 1, 14, 15, 16, 31)] == [NOW, None, None, NOW, None, NOW]


@pytest.mark.parametrize(("beat_lived", "since"), [(True, 3600), (False, 0)])
def test_a_break_counts_only_if_beat_had_lived_before_it(database, beat_lived, since):
    """After a stop of everything beat comes first; bells alone, with a dead beat, do not put the alarm off."""
    take_turn(database, 0)
    if beat_lived:
        with database.transaction() as session:
            watching.expect_rings(session, ["follow"], now=NOW + timedelta(seconds=5))

    assert take_turn(database, 3600) == NOW + timedelta(seconds=since)

"""The seal: fits one place and one key, and says which part differs."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.domain.arming import Armed, Part, Place, judge, key_mark, may_arm_itself, seal

KEY = b"0123456789abcdef0123456789abcdef"
HERE = Place(server="7", database="5/9", environment="test", operator_host="ax-stage.example.com")
AT = datetime(2026, 11, 1, tzinfo=UTC)
ARMED = Armed(place=HERE, key_mark=key_mark(KEY), seal=seal(HERE, KEY), at=AT, by="a person")
MADE_HERE = Armed(place=replace(HERE, environment="", operator_host=""), key_mark=None, seal=None, at=AT, by="tables")
ELSEWHERE = {
    Part.SERVER: replace(HERE, server="8"),
    Part.DATABASE: replace(HERE, database="5/10"),
    Part.ENVIRONMENT: replace(HERE, environment="production"),
    Part.OPERATOR: replace(HERE, operator_host="ax.example.com"),
}


def parts(standing):
    return [each.part for each in standing.differences]


def test_same_place_and_key_may_send():
    standing = judge(ARMED, HERE, KEY)

    assert standing.is_armed
    assert standing.why is None


@pytest.mark.parametrize("part", ELSEWHERE)
def test_another_place_is_disarmed(part):
    standing = judge(ARMED, ELSEWHERE[part], KEY)

    assert not standing.is_armed
    assert parts(standing) == [part]
    assert part.value in standing.why
    assert "postiljon arm" in standing.why


@pytest.mark.parametrize("key", [None, KEY[::-1]], ids=["none", "another"])
def test_another_key_or_none_is_disarmed(key):
    assert parts(judge(ARMED, HERE, key)) == [Part.KEY]


@pytest.mark.parametrize("part", ELSEWHERE)
def test_a_record_made_to_look_right_is_disarmed(part):
    """Who can write to the database but has no key cannot move a seal to another place."""
    forged = replace(ARMED, place=ELSEWHERE[part])

    assert parts(judge(forged, ELSEWHERE[part], KEY)) == [Part.SEAL]


def test_values_cannot_slide_from_one_part_into_the_next():
    assert seal(replace(HERE, server="75", database="/9"), KEY) != seal(replace(HERE, server="7", database="5/9"), KEY)


@pytest.mark.parametrize("key", [KEY, None])
def test_never_armed_is_disarmed(key):
    assert Part.SEAL in parts(judge(MADE_HERE, HERE, key))
    assert parts(judge(None, HERE, key)) == [Part.SEAL]


def test_key_mark_tells_nothing_of_the_key():
    assert key_mark(KEY) != key_mark(KEY[::-1])
    assert KEY.decode() not in key_mark(KEY)


def test_only_where_the_tables_were_made_and_only_once():
    assert may_arm_itself(MADE_HERE, HERE)
    assert not may_arm_itself(ARMED, HERE)
    assert not may_arm_itself(None, HERE)
    assert not may_arm_itself(MADE_HERE, ELSEWHERE[Part.SERVER])
    assert not may_arm_itself(MADE_HERE, ELSEWHERE[Part.DATABASE])

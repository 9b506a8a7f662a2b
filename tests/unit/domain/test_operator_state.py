"""The operator's finer states, from its status and its action keys."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.operator_state import describe, last_error, operator_state
from pipeline.domain.state import OperatorState

AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


def did(key, *, hour=0, kind="DELIVERED"):
    return OperatorAction(type=kind, key=key, happened_at=None if hour is None else AT + timedelta(hours=hour))


@pytest.mark.parametrize(
    ("status", "keys", "expected"),
    [
        ("PENDING", [], OperatorState.PENDING),
        ("DELIVERED", [], OperatorState.SENT),
        ("FAILED", [], OperatorState.ERROR),
        ("DELIVERED", ["action_created", "action_trx_ok"], OperatorState.SENT),
        ("DELIVERED", ["action_seen"], OperatorState.VIEWED),
        ("DELIVERED", ["action_accepted"], OperatorState.ACCEPTED),
        ("DELIVERED", ["action_declined"], OperatorState.DECLINED),
        ("DELIVERED", ["action_paid"], OperatorState.PAID),
        ("DELIVERED", ["action_disputed"], OperatorState.DISPUTED),
        ("FAILED", ["action_seen"], OperatorState.ERROR),
        ("PENDING", ["action_seen"], OperatorState.PENDING),
        ("SOMETHING_NEW", ["action_seen"], None),
        ("", [], None),
        (None, [], None),
    ],
)
def test_status_and_keys_add_up(status, keys, expected):
    assert operator_state(status, [did(key) for key in keys]) is expected


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([did("action_paid", hour=2), did("action_seen", hour=1)], OperatorState.PAID),
        ([did("action_seen", hour=1), did("action_paid", hour=2)], OperatorState.PAID),
        ([did("action_seen", hour=1), did("action_accepted", hour=1)], OperatorState.ACCEPTED),
        ([did("action_paid", hour=None), did("action_seen", hour=1)], OperatorState.VIEWED),
        ([did("action_seen", hour=1), did("action_delivered", hour=9)], OperatorState.VIEWED),
    ],
    ids=["told backwards", "told in order", "same instant: the last told", "without instant: long ago", "others"],
)
def test_the_latest_word_of_the_recipient_wins(actions, expected):
    assert operator_state("DELIVERED", actions) is expected


@pytest.mark.parametrize(
    ("status", "actions", "known", "expected"),
    [
        ("DELIVERED", None, OperatorState.PAID, OperatorState.PAID),
        ("DELIVERED", None, OperatorState.PENDING, OperatorState.SENT),
        ("DELIVERED", None, None, OperatorState.SENT),
        ("DELIVERED", [], OperatorState.PAID, OperatorState.SENT),
        ("FAILED", None, OperatorState.PAID, OperatorState.ERROR),
    ],
)
def test_what_is_not_shown_does_not_undo_what_was_known(status, actions, known, expected):
    assert operator_state(status, actions, known=known) is expected


def test_all_but_pending_sent_and_error_are_information():
    """Only 0, 1 and 99 say where an invoice stands; all others inform and never change what we do."""
    assert {state.value for state in OperatorState if not state.is_information} == {0, 1, 99}


def test_a_state_is_described_with_number_and_name():
    assert describe(OperatorState.VIEWED) == (
        "the operator notes: viewed by the recipient (7 VIEWED), information only"
    )
    assert describe(OperatorState.SENT) == "the operator notes: sent on (1 SENT)"
    assert all(describe(state) for state in OperatorState)


def test_the_last_error_says_why():
    first, last = did("action_route_failed", kind="ERROR"), did("action_error", hour=2, kind="ERROR")

    assert last_error([first, last, did("action_seen", hour=3)]) is last
    assert last_error([did("action_seen")]) is None
    assert last_error(None) is None

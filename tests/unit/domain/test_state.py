"""The table of moves, written out once more by hand so that a slip in either place is seen."""

from itertools import product

import pytest

from pipeline.domain.errors import IllegalTransitionError
from pipeline.domain.next_step import NEXT_STEPS, next_step
from pipeline.domain.state import DUE_STATES, OPEN_STATES, TRANSITIONS, State, check_transition, is_final

LEGAL = {
    ("queued", "sending"), ("queued", "in_doubt"), ("queued", "held"), ("queued", "cancelled"),
    ("sending", "accepted"), ("sending", "waiting"), ("sending", "in_doubt"), ("sending", "held"),
    ("waiting", "sending"), ("waiting", "in_doubt"), ("waiting", "held"), ("waiting", "cancelled"),
    ("in_doubt", "accepted"), ("in_doubt", "waiting"), ("in_doubt", "refused"), ("in_doubt", "held"),
    ("accepted", "delivered"), ("accepted", "failed"), ("accepted", "in_doubt"), ("accepted", "held"),
    ("delivered", "failed"),
    ("failed", "accepted"), ("failed", "superseded"),
    ("refused", "superseded"), ("refused", "in_doubt"),
    ("held", "queued"), ("held", "in_doubt"), ("held", "cancelled"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "target"), list(product(State, State)), ids=lambda state: state.value)
def test_each_pair_is_legal_or_refused(source, target):
    if (source.value, target.value) in LEGAL:
        check_transition(source, target)
        return

    with pytest.raises(IllegalTransitionError, match=f"from {source.value} to {target.value}"):
        check_transition(source, target)


@pytest.mark.parametrize("state", State)
def test_each_state_has_moves_and_words(state):
    assert state in TRANSITIONS
    assert NEXT_STEPS[state]
    assert next_step(state, due_at=None) == NEXT_STEPS[state]


def test_final_states_are_two():
    assert {state for state in State if is_final(state)} == {State.SUPERSEDED, State.CANCELLED}


def test_every_state_can_be_reached():
    reached, frontier = {State.QUEUED}, {State.QUEUED}
    while frontier:
        frontier = {target for state in frontier for target in TRANSITIONS[state]} - reached
        reached |= frontier

    assert reached == set(State)


def test_doubt_never_leads_to_an_upload():
    assert State.SENDING not in TRANSITIONS[State.IN_DOUBT]
    assert State.SENDING not in TRANSITIONS[State.SENDING]
    assert State.QUEUED not in TRANSITIONS[State.IN_DOUBT] | TRANSITIONS[State.SENDING] | TRANSITIONS[State.WAITING]


def test_open_states_are_those_without_a_person():
    assert {State.QUEUED, State.WAITING, State.IN_DOUBT} == DUE_STATES
    assert DUE_STATES | {State.SENDING, State.ACCEPTED} == OPEN_STATES

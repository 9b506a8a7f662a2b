"""No sequence of outcomes leaves the table, sends into a doubt, or leaves an invoice without a next step."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.domain.consequence import COMPANY, PERSON, conclude
from pipeline.domain.decision import Standing
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.retry import RetrySchedule
from pipeline.domain.state import DUE_STATES, State, check_transition

SCHEDULE = RetrySchedule(budget_seconds=600.0, waits_seconds=(0.0, 2.0, 60.0))
BUDGET = timedelta(seconds=SCHEDULE.budget_seconds)
UPLOAD_KINDS = [kind for kind in OutcomeKind if kind not in {OutcomeKind.ABSENT, OutcomeKind.ALREADY_THERE}]
PROBE_KINDS = [kind for kind in OutcomeKind if kind is not OutcomeKind.ACCEPTED]
FREE = {OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE}
UNSETTLED = {OutcomeKind.IN_DOUBT, OutcomeKind.REFUSED, OutcomeKind.UNAUTHORIZED}

chances = st.floats(min_value=0, max_value=1, exclude_max=True)


def of_kinds(kinds):
    return st.builds(
        Outcome,
        kind=st.sampled_from(kinds),
        retry_after_seconds=st.none() | st.floats(min_value=0, max_value=7200),
        message=st.none() | st.just("words of the operator"),
    )


def met_from_outside(outcome, standing):
    """Our only upload was refused and the operator holds something under the UUID: a person compares."""
    return outcome.kind is OutcomeKind.ALREADY_THERE and standing.uploads == 1 and standing.refusal is not None


class Travelling(RuleBasedStateMachine):
    """One invoice, moved as storage moves it: claim, outcome, sweep, release."""

    def __init__(self):
        super().__init__()
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.state = State.QUEUED
        self.uploads = self.tries = 0
        self.due_at: datetime | None = self.now
        self.give_up_at: datetime | None = None
        self.last_upload_at: datetime | None = None
        self.refusal: str | None = None
        self.held_for: str | None = None
        self.open_upload = False
        self.spent = timedelta()

    def move(self, target):
        if target is not self.state:
            check_transition(self.state, target)
        self.state = target

    @rule(seconds=st.floats(min_value=0, max_value=3600))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.state in {State.QUEUED, State.WAITING})
    @rule(outcome=of_kinds(UPLOAD_KINDS), chance=chances, took=st.floats(min_value=0, max_value=60), dies=st.booleans())
    def upload(self, outcome, chance, took, dies):
        self.now = max(self.now, self.due_at)
        assert not self.open_upload, "an upload began while an earlier one was unsettled"
        self.move(State.SENDING)
        self.uploads += 1
        self.last_upload_at = self.now
        self.give_up_at = self.give_up_at or self.now + BUDGET
        self.open_upload = True
        self.now += timedelta(seconds=took)
        if dies:
            self.move(State.IN_DOUBT)
            self.due_at = self.now
            return
        self.open_upload = outcome.kind in UNSETTLED
        self.apply(outcome, chance, probing=False)

    @precondition(lambda self: self.state is State.IN_DOUBT)
    @rule(outcome=of_kinds(PROBE_KINDS), chance=chances)
    def probe(self, outcome, chance):
        self.now = max(self.now, self.due_at)
        self.give_up_at = self.give_up_at or self.now + BUDGET
        if outcome.kind in {OutcomeKind.ABSENT, OutcomeKind.ALREADY_THERE}:
            self.open_upload = False
        self.apply(outcome, chance, probing=True)

    @precondition(lambda self: self.state is State.HELD)
    @rule()
    def release(self):
        self.move(State.IN_DOUBT if self.uploads else State.QUEUED)
        self.due_at, self.give_up_at, self.tries, self.held_for = self.now, None, 0, None

    def apply(self, outcome, chance, *, probing):
        standing = Standing(
            uploads=self.uploads,
            tries=self.tries,
            give_up_at=self.give_up_at,
            last_upload_at=self.last_upload_at,
            probing=probing,
            refusal=self.refusal,
        )
        after = conclude(outcome, standing, now=self.now, schedule=SCHEDULE, chance=chance)

        if probing:
            assert after.target is not State.SENDING
        if after.held_for == PERSON and not met_from_outside(outcome, standing):
            assert self.now >= self.give_up_at, "a person was asked before the budget was used up"
            assert outcome.kind not in FREE, "an outage used up the budget"
        if after.target in DUE_STATES:
            self.check_wait(outcome, after)
        self.move(after.target)
        self.due_at, self.give_up_at, self.tries = after.due_at, after.give_up_at, after.tries
        self.refusal, self.held_for = after.refusal, after.held_for
        assert after.reason
        assert (after.look_at is not None) == (after.target is State.ACCEPTED)

    def check_wait(self, outcome, after):
        assert after.due_at >= self.now + timedelta(seconds=self.asked_wait(outcome))
        given_back = after.give_up_at - self.give_up_at
        if outcome.kind in FREE:
            assert after.due_at > self.now
            assert given_back == after.due_at - self.now, "an outage costs budget"
            return
        assert given_back == timedelta()
        if outcome.kind not in {OutcomeKind.REFUSED, OutcomeKind.ABSENT}:
            assert self.now < self.give_up_at, "the budget was overdrawn"

    def asked_wait(self, outcome):
        return (outcome.retry_after_seconds or 0.0) if outcome.kind in FREE else 0.0

    @invariant()
    def has_a_next_step(self):
        if self.state in DUE_STATES:
            assert self.due_at is not None
        elif self.state is State.HELD:
            assert self.held_for in {COMPANY, PERSON}
        else:
            assert self.state in {State.ACCEPTED, State.REFUSED}

    @invariant()
    def nothing_is_refused_or_resent_in_doubt(self):
        if self.state in {State.QUEUED, State.WAITING, State.REFUSED}:
            assert not self.open_upload


Travelling.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnySequence = Travelling.TestCase

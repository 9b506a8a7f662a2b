"""When a worker is deaf, and when it merely has nothing to do, is busy, or was stopped."""

from collections import Counter

import pytest

from workers.streak import Streak
from workers.watchdog import Surroundings, Watchdog

PATIENCE = 60.0
STEP = 5.0


class Played:
    """A worker whose circumstances a test sets; remembers what was ended."""

    def __init__(self):
        self.running, self.free, self.stuck, self.reachable = True, True, False, True
        self.waiting = Counter()
        self.recovered = []
        self.at = 1000.0
        around = Surroundings(
            worker="send@here",
            queues=("dispatch", "send"),
            is_running=lambda: self.running,
            is_free=lambda: self.free,
            waiting=lambda: self.waiting if self.reachable else None,
            is_stuck=lambda: self.stuck,
            has_recovered=lambda queue: self.recovered.append(queue) is None,
            end=lambda _: None,
        )
        self.dog = Watchdog(around, patience_seconds=PATIENCE)

    def look(self, *, after=STEP):
        self.at += after
        return self.dog.look(at=self.at)

    def looks(self, seconds=PATIENCE, *, between=lambda: None):
        found = []
        for _ in range(int(seconds / STEP)):
            between()
            found.append(self.look())
        return [each for each in found if each is not None]


@pytest.fixture
def played():
    return Played()


def test_worker_that_takes_nothing_while_its_queue_has_messages_is_deaf(played):
    played.waiting["send"] = 3
    assert played.looks(PATIENCE) == []

    found = played.look()

    assert (found.queue, found.seconds, found.waiting) == ("send", PATIENCE, 3)
    assert "worker send@here took nothing for 60 s while 3 messages waited in send" in found.told("send@here")


def test_worker_with_empty_queues_is_idle(played):
    assert played.looks(10 * PATIENCE) == []


def test_worker_whose_children_are_busy_is_not_deaf(played):
    played.waiting["send"], played.free = 3, False

    assert played.looks(10 * PATIENCE) == []


def test_worker_that_takes_one_message_now_and_then_is_not_deaf(played):
    played.waiting["send"] = 3

    for _ in range(10):
        assert played.looks(PATIENCE - STEP) == []
        played.dog.note_received("send")


def test_messages_of_one_queue_do_not_excuse_deafness_on_another(played):
    played.waiting.update(send=3, dispatch=1)

    found = played.looks(PATIENCE + STEP, between=lambda: played.dog.note_received("dispatch"))

    assert [each.queue for each in found] == ["send"]


def test_queue_that_others_empty_in_between_proves_nothing(played):
    def toggle():
        played.waiting["send"] = 0 if played.waiting["send"] else 3

    assert played.looks(10 * PATIENCE, between=toggle) == []


@pytest.mark.parametrize("cause", ["reachable", "running", "free"])
def test_one_look_without_evidence_begins_the_time_anew(played, cause):
    """A broker that does not answer, a worker that ends, a moment in which nobody was free."""
    played.waiting["send"] = 3
    played.looks(PATIENCE)

    setattr(played, cause, False)
    assert played.look() is None
    setattr(played, cause, True)

    assert played.looks(PATIENCE) == []
    assert played.look() is not None


def test_process_that_was_stopped_was_not_deaf_meanwhile(played):
    played.waiting["send"] = 3
    played.looks(PATIENCE)

    assert played.look(after=10 * PATIENCE) is None


def test_pump_that_is_rung_and_completes_no_round_is_stuck(played):
    played.stuck = True
    ring = lambda: played.dog.note_received("dispatch")  # noqa: E731 - played between looks
    assert played.looks(PATIENCE, between=ring) == []

    ring()
    found = played.look()

    assert (found.queue, found.is_stuck) == ("dispatch", True)
    assert "completed no round of the dispatcher for 60 s" in found.told("pump@here")


def test_looks_may_come_more_often_than_bells(played):
    played.stuck = True
    rings = iter(range(100))

    def ring():
        if next(rings) % 5 == 0:
            played.dog.note_received("dispatch")

    assert len(played.looks(PATIENCE + STEP, between=ring)) == 1


def test_pump_that_nobody_rings_is_not_stuck(played):
    played.stuck = True

    assert played.looks(10 * PATIENCE) == []


def test_alarm_of_the_predecessor_ends_once_with_the_first_message(played):
    played.looks()
    assert played.recovered == []

    played.looks(between=lambda: played.dog.note_received("send"))

    assert played.recovered == ["send"]


def test_streak_grows_while_looks_find_the_same():
    streak = Streak(longest_gap_seconds=10)

    assert [streak.note(at=at, holds=True) for at in (100, 105, 115, 126, 130)] == [0, 5, 15, 0, 4]
    assert streak.note(at=131, holds=False) == 0
    assert streak.note(at=132, holds=True) == 0

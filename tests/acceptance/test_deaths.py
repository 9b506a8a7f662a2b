"""Whatever dies in the middle of 500 invoices loses none and doubles none; the supervisor brings it back."""

import os
import signal

import pytest

from pipeline.embedded.liveness import started, wait_until

from .installation import Installation
from .nodes import ProcessContainer
from .operator_side import Sent
from .papers import papers

MANY = 500
MIDDLE = 100
"""So many uploads must have reached the operator, and the rest not yet."""
SLOW = [{"fault": "slow", "seconds": 0.8, "attempt": "first"}]
"""The operator has the invoice and is about to say so: the worst moment to die."""
SECONDS = 60.0


@pytest.fixture
def sent(line: Installation) -> list[Sent]:
    """500 invoices in the middle of their way."""
    line.operator.faults(SLOW)
    before = line.uploads()
    submitted = line.submit(papers(MANY))
    line.wait_for_uploads(MIDDLE, submitted, since=before)
    assert line.uploads() - before < MANY, "too late: everything has been uploaded"
    return submitted


def test_killed_worker_family(line: Installation, sent: list[Sent]):
    """`kill -9` of the sending worker with its children, while uploads are in the air, loses none and doubles none."""
    _assert_outlived(line, sent, line.worker_send)

    assert _left_in_the_air(line, sent), "nothing was in the air when the worker died"


def test_killed_worker_parent(line: Installation, sent: list[Sent]):
    """`kill -9` of the sending worker's parent alone loses none and doubles none; its children do not work on."""
    children, old = line.worker_send.children(), line.worker_send.state

    line.worker_send.kill()

    line.worker_send.wait_for_successor(old)
    assert not [pid for pid in children if started(pid)], "children of the killed worker work on"
    _assert_all_once(line, sent)


def test_killed_worker_child(line: Installation, sent: list[Sent]):
    """`kill -9` of one child of the sending worker loses none and doubles none; the parent forks another."""
    victim, parent = line.worker_send.children()[0], line.worker_send.pid

    os.kill(victim, signal.SIGKILL)

    _assert_all_once(line, sent)
    assert line.worker_send.pid == parent
    assert victim not in line.worker_send.children()
    assert wait_until(lambda: len(line.worker_send.children()) >= 2, seconds=20)
    assert _left_in_the_air(line, sent), "nothing was in the air when the child died"


def test_killed_pump(line: Installation, sent: list[Sent]):
    """`kill -9` of the pump in the middle of handing out loses none and doubles none."""
    _assert_outlived(line, sent, line.worker_pump)


def test_killed_beat(line: Installation, sent: list[Sent]):
    """`kill -9` of beat loses none and doubles none, and what is submitted after it is sent too."""
    _assert_outlived(line, sent, line.beat)

    later = line.submit(papers(10))
    line.wait_until_taken(later, seconds=SECONDS)


def test_killed_broker(line: Installation, sent: list[Sent]):
    """`kill -9` of the broker in the middle loses none and doubles none."""
    _assert_outlived(line, sent, line.valkey)


def test_emptied_broker(line: Installation, sent: list[Sent]):
    """FLUSHALL in the middle, with chunks waiting in the broker, loses none and doubles none."""
    with line.broker() as broker:
        line.lose_every_message(broker, sent)

    _assert_all_once(line, sent)


def test_restarted_database(line: Installation, sent: list[Sent]):
    """A restart of PostgreSQL in the middle loses none and doubles none."""
    old = line.postgres.state

    line.postgres.kill("SIGINT")

    line.postgres.wait_for_successor(old)
    _assert_all_once(line, sent)


def test_killed_database(line: Installation, sent: list[Sent]):
    """`kill -9` of PostgreSQL with all its processes loses none and doubles none."""
    _assert_outlived(line, sent, line.postgres)


def test_stopped_worker(line: Installation, sent: list[Sent]):
    """SIGTERM lets the sending worker finish what is in the air: none is lost or doubled, none has to be probed."""
    old = line.worker_send.state

    line.worker_send.kill("SIGTERM")

    line.worker_send.wait_for_successor(old)
    _assert_all_once(line, sent)
    assert not _left_in_the_air(line, sent)


def test_paused_worker_comes_too_late(line: Installation, sent: list[Sent]):
    """A worker that sleeps longer than its lease and wakes up with an answer changes nothing and doubles nothing."""
    pid = line.worker_send.pid

    with line.worker_send.asleep():
        expired = lambda: any(count["lease_expired"] for count in line.events(sent).values())  # noqa: E731
        line.wait_for(expired, "an expired lease", sent, seconds=30)

    _assert_all_once(line, sent)
    assert line.worker_send.pid == pid, "the worker was to wake up, not to be replaced"
    assert "came too late" in line.worker_send.logs()


def test_everything_at_once(line: Installation, sent: list[Sent]):
    """All workers, beat and broker killed together lose none and double none."""
    victims = (*line.workers, line.beat, line.valkey)
    old = {victim.name: victim.state for victim in victims}

    for victim in victims:
        victim.kill_family()

    for victim in victims:
        victim.wait_for_successor(old[victim.name])
    _assert_all_once(line, sent)


def _assert_outlived(line: Installation, sent: list[Sent], victim: ProcessContainer) -> None:
    old = victim.state
    victim.kill_family()
    victim.wait_for_successor(old)
    _assert_all_once(line, sent)


def _assert_all_once(line: Installation, sent: list[Sent]) -> None:
    line.wait_until_taken(sent, seconds=SECONDS)
    line.assert_once(sent)


def _left_in_the_air(line: Installation, sent: list[Sent]) -> int:
    """How many uploads nobody lived to tell the end of."""
    attempts = line.attempts(sent)
    return sum(("upload", None, None) in made for made in attempts.values())

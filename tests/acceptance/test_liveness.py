"""Nothing stands still unseen: deaf workers end themselves, and the sweep finds what no bell announced."""

import time
from collections.abc import Iterator

import pytest
from pytest_celery import CeleryTestSetup
from sqlalchemy import text

from pipeline.embedded.liveness import wait_until
from pipeline.storage.alarms import Alarm, list_alarms
from workers.watchdog import DEAF_STATUS

from .installation import Installation
from .papers import papers

LIVENESS_SECONDS = 6.0
BREAK_ROUNDS = text("ALTER SEQUENCE epoch RENAME TO epoch_gone")
MEND_ROUNDS = text("ALTER SEQUENCE epoch_gone RENAME TO epoch")
ALARM_HISTORY = text("SELECT told, ended_at FROM alarm WHERE kind = 'worker_deaf' AND subject LIKE :subject")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Installation]:
    """An installation of its own, whose workers lose patience within seconds."""
    settings = {
        "POSTILJON_LIVENESS_SECONDS": f"{LIVENESS_SECONDS:g}",
        # A slow operator is waited for longer than a deaf worker would be left alive.
        "POSTILJON_READ_TIMEOUT_SECONDS": f"{5 * LIVENESS_SECONDS:g}",
    }
    with Installation(tmp_path_factory.mktemp("liveness") / "state", **settings).running() as whole:
        yield whole


def lose_subscription(setup: CeleryTestSetup, node: str, queue: str) -> None:
    """Leave a worker alive, connected, answering pings, and consuming nothing."""
    name = next(
        each for answer in setup.app.control.ping(timeout=10, limit=3) for each in answer if each.startswith(node)
    )
    (reply,) = setup.app.control.cancel_consumer(queue, destination=[name], reply=True, timeout=10)
    assert f"no longer consuming from {queue}" in reply[name]["ok"]
    assert setup.app.control.ping(destination=[name], timeout=10)


def deaf_alarms(line: Installation, node: str) -> list[tuple[str, object]]:
    with line.database.transaction() as session:
        found = session.connection().execute(ALARM_HISTORY, {"subject": f"{node}@%"}).all()
    return [(row.told, row.ended_at) for row in found]


def on(line: Installation, kind: str) -> list[Alarm]:
    with line.database.transaction() as session:
        return [alarm for alarm in list_alarms(session) if alarm.kind == kind]


@pytest.mark.parametrize(("node", "queues"), [("send", ("send", "express")), ("pump", ("dispatch",))])
def test_worker_that_consumes_nothing_while_work_is_due_ends_itself(
    celery_setup: CeleryTestSetup, line: Installation, node: str, queues: tuple[str, ...]
):
    """Alive, connected and deaf: it says so, exits with its own status, is started anew, and everything is accepted."""
    worker = line.worker_send if node == "send" else line.worker_pump
    warm = line.submit(papers(2))
    line.wait_until_taken(warm, seconds=30)
    old = worker.state
    for queue in queues:
        lose_subscription(celery_setup, node, queue)

    sent = line.submit(papers(20))

    assert wait_until(lambda: worker.state.exit_status == DEAF_STATUS, seconds=60, poll_seconds=0.01), worker.state
    worker.wait_for_successor(old)
    line.wait_until_taken(sent, seconds=30)
    line.assert_once(sent)
    (told,) = [each for each in worker.logs().splitlines() if "event=worker_deaf" in each][-1:]
    assert "CRITICAL" in told
    assert any(f"queue={queue} " in told for queue in queues)
    ((words, _),) = deaf_alarms(line, node)
    assert "ended itself" in words
    ended = wait_until(lambda: on(line, "worker_deaf") == [], seconds=30, poll_seconds=0.2)
    assert ended, "the alarm outlived the deaf worker's successor"


def test_dispatcher_that_completes_no_round_is_told_and_its_worker_ends_itself(
    celery_setup: CeleryTestSetup, line: Installation
):
    """A pump that breaks in every round takes every bell and hands nothing out: its worker is not left at it."""
    old = line.worker_pump.state
    with line.database.transaction() as session:
        session.connection().execute(BREAK_ROUNDS)
    try:
        sent = line.submit(papers(3))
        assert wait_until(lambda: line.worker_pump.state.exit_status == DEAF_STATUS, seconds=60, poll_seconds=0.01)
        line.wait_for(lambda: bool(on(line, "dispatcher_stuck")), "the alarm", sent, seconds=90)
    finally:
        with line.database.transaction() as session:
            session.connection().execute(MEND_ROUNDS)

    line.worker_pump.wait_for_successor(old)
    line.wait_until_taken(sent, seconds=90)
    line.assert_once(sent)
    over = wait_until(lambda: not on(line, "dispatcher_stuck"), seconds=60, poll_seconds=0.2)
    assert over, "the alarm outlived the standstill"


def test_idle_workers_live_on(celery_setup: CeleryTestSetup, line: Installation):
    """A worker whose queues are empty is well, however long nothing comes."""
    before = [node.state for node in line.workers]

    survived = not wait_until(
        lambda: [node.state for node in line.workers] != before, seconds=2.5 * LIVENESS_SECONDS, poll_seconds=0.2
    )

    assert survived, [node.state for node in line.workers]


def test_busy_workers_live_on(celery_setup: CeleryTestSetup, line: Installation):
    """A worker whose children all wait for a slow operator takes nothing, and rightly: it is left alone."""
    line.operator.faults([{"fault": "slow", "seconds": 3 * LIVENESS_SECONDS, "attempt": "first"}])
    before = [node.state for node in line.workers]
    began = time.monotonic()

    sent = line.submit(papers(200))

    line.wait_until_taken(sent, seconds=30 * LIVENESS_SECONDS)
    assert time.monotonic() - began > 2 * LIVENESS_SECONDS
    assert [node.state for node in line.workers] == before
    line.assert_once(sent)


def test_sweep_finds_what_no_bell_announced(celery_setup: CeleryTestSetup, line: Installation):
    """Rows written without a bell, and a broker that forgot everything: the ticks find them."""
    sent = line.submit(papers(30))
    with line.broker() as broker:
        broker.flushall()

    line.wait_until_taken(sent, seconds=30)
    line.assert_once(sent)

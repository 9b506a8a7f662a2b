"""A lease is kept while work goes on, and whoever was away longer than it begins nothing and changes nothing."""

from collections.abc import Iterator

import pytest
from pytest_celery import CeleryTestSetup

from .installation import Installation
from .operator_side import Sent
from .papers import papers

LEASE_SECONDS = 3.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Installation]:
    """An installation whose uploads may take far longer than a lease, two at once in each process."""
    whole = Installation(
        tmp_path_factory.mktemp("slow") / "state",
        POSTILJON_CLAIM_LEASE_SECONDS=str(LEASE_SECONDS),
        POSTILJON_READ_TIMEOUT_SECONDS="30",
        POSTILJON_UPLOAD_CONCURRENCY="2",
    )
    with whole.running():
        yield whole


def test_slow_upload_keeps_its_lease(celery_setup: CeleryTestSetup, line: Installation):
    """An upload three times as long as its lease is neither swept nor probed nor sent again: heartbeats keep it."""
    assert celery_setup.ready(ping=False, control=True)
    line.operator.faults([{"fault": "slow", "seconds": 3 * LEASE_SECONDS, "attempt": "first"}])

    sent = line.submit(papers(2))

    line.wait_until_taken(sent, seconds=25)
    ledger = line.assert_once(sent)
    assert all(ledger[one.uuid]["uploads"] == 1 for one in sent)
    events = line.events(sent)
    assert not any(count["lease_expired"] or count["probe_begun"] for count in events.values())


def test_stopped_worker_is_late(line: Installation):
    """A worker stopped beyond its lease wakes up with an answer: it is logged, changes nothing, and doubles nothing."""
    line.operator.faults([{"fault": "slow", "seconds": 1, "attempt": "first"}])
    sent, pid = upload_some(line, 4), line.worker_send.pid

    with line.worker_send.asleep():
        wait_for_a_sweep(line, sent)

    line.wait_until_taken(sent, seconds=25)
    line.assert_once(sent)
    assert line.worker_send.pid == pid
    assert "event=late_writer" in line.worker_send.logs()


def test_stopped_worker_begins_nothing_after_its_lease(line: Installation):
    """What a worker had claimed and not begun when it was stopped is not begun when it wakes up: another claim must."""
    line.operator.faults([{"fault": "slow", "seconds": 1, "attempt": "first"}])
    sent = upload_some(line, 30)
    logged = line.worker_send.logs().count("event=lease_over")

    with line.worker_send.asleep():
        wait_for_a_sweep(line, sent)
        line.operator.faults([])

    line.wait_until_taken(sent, seconds=25)
    ledger = line.assert_once(sent)
    assert line.worker_send.logs().count("event=lease_over") > logged
    assert all(ledger[one.uuid]["uploads"] == 1 for one in sent)


def upload_some(line: Installation, count: int) -> list[Sent]:
    """Submit invoices, and return when the first uploads have reached the operator."""
    before = line.uploads()
    sent = line.submit(papers(count))
    line.wait_for_uploads(2, sent, since=before)
    return sent


def wait_for_a_sweep(line: Installation, sent: list[Sent]) -> None:
    """Return when a lease was found to be over."""
    line.wait_for(
        lambda: any(count["lease_expired"] for count in line.events(sent).values()), "a sweep", sent, seconds=20
    )

"""SIGTERM: what is in the air is finished within the grace, the rest is handed back, and nothing is sent twice."""

from collections.abc import Iterator

import pytest
from pytest_celery import CeleryTestSetup

from .installation import Installation
from .papers import papers

GRACE_SECONDS = 2.0
LEASE_SECONDS = 20.0
"""Longer than any wait of these tests: what comes back sooner was handed back."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Installation]:
    """An installation with a short grace, long leases, and room for few uploads at once."""
    whole = Installation(
        tmp_path_factory.mktemp("hurried") / "state",
        POSTILJON_DRAIN_SECONDS=str(GRACE_SECONDS),
        POSTILJON_CLAIM_LEASE_SECONDS=str(LEASE_SECONDS),
        POSTILJON_READ_TIMEOUT_SECONDS="30",
        POSTILJON_UPLOAD_CONCURRENCY="2",
    )
    with whole.running():
        yield whole


def test_sigterm_hands_back_what_has_not_begun(celery_setup: CeleryTestSetup, line: Installation):
    """What is in the air is recorded, what waited for room goes back untried, and all are sent once, long before the
    lease.
    """
    assert celery_setup.ready(ping=False, control=True)
    line.operator.faults([{"fault": "slow", "seconds": 0.7, "attempt": "first"}])
    before, old = line.uploads(), line.worker_send.state
    sent = line.submit(papers(30))
    line.wait_for_uploads(2, sent, since=before)

    line.worker_send.kill("SIGTERM")

    line.worker_send.wait_for_successor(old)
    line.operator.faults([])
    line.wait_until_taken(sent, seconds=LEASE_SECONDS - 5)
    ledger = line.assert_once(sent)
    assert all(ledger[one.uuid]["uploads"] == 1 for one in sent)
    events = line.events(sent)
    assert any(count["held_back"] for count in events.values())
    assert not any(count["lease_expired"] for count in events.values())
    # Handed back means untried: one attempt each, of the worker that came after.
    assert all(len(made) == 1 for made in line.attempts(sent).values())


def test_sigterm_cuts_short_what_outlasts_the_grace(line: Installation):
    """An upload slower than the grace is asked about by the next worker at once, not after its lease, and never sent
    again.
    """
    line.operator.faults([{"fault": "slow", "seconds": 12, "attempt": "first"}])
    before, old = line.uploads(), line.worker_send.state
    sent = line.submit(papers(2))
    line.wait_for_uploads(2, sent, since=before)

    line.worker_send.kill("SIGTERM")

    line.worker_send.wait_for_successor(old)
    line.wait_until_taken(sent, seconds=LEASE_SECONDS - 8)
    ledger = line.assert_once(sent)
    assert all(ledger[one.uuid]["uploads"] == 1 for one in sent)
    assert not any(count["lease_expired"] for count in line.events(sent).values())
    assert {made[0][:2] for made in line.attempts(sent).values()} == {("upload", "in_doubt")}
    assert "drain_incomplete" in line.worker_send.logs()

"""Real workers on a real broker, driven by pytest-celery: what happens to a message is of no consequence."""

from pytest_celery import CeleryTestSetup

from .installation import Installation
from .papers import papers

SLOW = [{"fault": "slow", "seconds": 0.8, "attempt": "first"}]
"""The operator has the invoice and is about to say so: the worst moment for a worker to die."""


def test_invoice_goes_the_whole_way(celery_setup: CeleryTestSetup, line: Installation):
    """An invoice is submitted, sent, accepted, looked at and delivered without anybody's help."""
    assert celery_setup.ready(ping=False, control=True)

    sent = line.submit(papers(3))
    celery_setup.app.send_task("dispatch", queue="dispatch", expires=5)

    line.wait_for_state(sent, "delivered", seconds=30)
    line.assert_once(sent)
    assert all(count["upload_begun"] == 1 for count in line.events(sent).values())


def test_workers_answer_by_name(celery_setup: CeleryTestSetup):
    """The workers are processes of their own that listen to the broker: send, pump and follow."""
    answers = celery_setup.app.control.ping(timeout=10, limit=3)

    names = {name.partition("@")[0] for answer in answers for name in answer}
    assert names == {"send", "pump", "follow"}
    assert len(celery_setup) == 4
    assert celery_setup.backend is None


def test_worker_killed_in_mid_task_loses_nothing(celery_setup: CeleryTestSetup, line: Installation):
    """A worker that dies while its upload is in the air is replaced, and the invoice is asked for, not sent again."""
    line.operator.faults(SLOW)
    before, old = line.uploads(), line.worker_send.state
    sent = line.submit(papers(5))
    line.wait_for_uploads(5, sent, since=before)

    celery_setup.worker.kill()

    line.worker_send.wait_for_successor(old)
    line.wait_until_taken(sent, seconds=30)
    ledger = line.assert_once(sent)
    assert all(ledger[one.uuid]["uploads"] == 1 for one in sent)
    assert all(count["lease_expired"] and count["probe_begun"] for count in line.events(sent).values())


def test_broker_killed_and_restarted_loses_nothing(celery_setup: CeleryTestSetup, line: Installation):
    """The broker dies and comes back; workers find it again and the invoices go out."""
    old = line.valkey.state
    sent = line.submit(papers(60))

    celery_setup.broker.kill()
    line.valkey.wait_for_successor(old)
    later = line.submit(papers(60))

    line.wait_until_taken([*sent, *later], seconds=60)
    line.assert_once([*sent, *later])


def test_broker_emptied_costs_seconds(celery_setup: CeleryTestSetup, line: Installation):
    """FLUSHALL throws every message away; the leases in PostgreSQL bring the work back within seconds."""
    assert celery_setup.ready(ping=False)
    sent = line.submit(papers(300))

    with line.broker() as broker:
        line.lose_every_message(broker, sent)

    line.wait_until_taken(sent, seconds=30)
    line.assert_once(sent)

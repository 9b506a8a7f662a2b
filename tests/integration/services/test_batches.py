"""A batch from its first invoice to its completion, told once; alarms before cut-offs are missed; taking back in time."""

import asyncio
import logging
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from pipeline.bootstrap import Machine
from pipeline.domain.outcome import Outcome
from pipeline.services import batches as batch_service
from pipeline.services.submit import submit
from pipeline.services.watch import Watch
from pipeline.settings import settings_from
from pipeline.storage import alarms, batches
from pipeline.storage.cancelling import cancel_invoices
from pipeline.storage.vault import new_key
from tests.arming import INSTANCE_KEY

from .line import K, Line, document
from .test_watch import Rules

HOUR = 3600


def send(line, count=1, *, batch="november", **order):
    with line.database.transaction() as session:
        return [
            submit(
                session,
                company=line.company,
                content=document(),
                filename="invoice.xml",
                batch=batch,
                now=line.clock(),
                **order,
            ).uuid
            for _ in range(count)
        ]


def find(line, name="november"):
    with line.database.transaction() as session:
        return batches.find_batch(session, name)


def close(line, name="november"):
    with line.database.transaction() as session:
        return batch_service.close(session, company_id=line.company, name=name, now=line.clock())


def deliver(line, uuids):
    line.operator.statuses_of |= dict.fromkeys(uuids, "DELIVERED")
    line.clock.pass_seconds(HOUR)
    line.follow()


def watcher(line):
    parts = {"database": line.database, "settings": line.settings, "clock": line.clock}
    return Watch(**parts, routing=Rules)


def look(watch):
    asyncio.run(watch.run(uuid4()))


def cancel(line, *uuids):
    with line.database.transaction() as session:
        return [each.why_not for each in cancel_invoices(session, uuids, now=line.clock())]


def told(caplog):
    return [record for record in caplog.records if getattr(record, "event", "") == "batch_completed"]


def test_completion_is_told_once_and_only_when_the_batch_balances(line, caplog):
    """From the submission to the last delivery the books balance; then, closed, the batch is complete, told once."""
    uuids, watch = send(line, 3), watcher(line)
    caplog.set_level(logging.INFO)
    close(line)
    look(watch)
    line.work()
    look(watch)
    line.operator.statuses_of[uuids[2]] = "PENDING"
    deliver(line, uuids[:2])
    look(watch)
    assert told(caplog) == []
    assert (find(line).balance.delivered, find(line).balance.open) == (2, 1)
    deliver(line, uuids[2:])

    look(watch)
    look(watch)

    (record,) = told(caplog)
    assert (record.batch, record.total, record.delivered, record.failed) == ("november", 3, 3, 0)
    assert find(line).completed_at == line.clock()
    assert find(line).balance.is_balanced


def test_a_batch_that_nobody_closes_completes_after_a_quiet_day(line):
    uuids, watch = send(line), watcher(line)
    line.work()
    deliver(line, uuids)
    look(watch)
    assert find(line).completed_at is None
    line.clock.pass_seconds(24 * HOUR)

    look(watch)

    assert find(line).completed_at == line.clock()


def test_what_turns_after_the_completion_changes_the_books_alone(line, caplog):
    """A delivery that fails days later shows in the balance; the completion stands as it was told."""
    uuids, watch = send(line), watcher(line)
    caplog.set_level(logging.INFO)
    close(line)
    line.work()
    deliver(line, uuids)
    look(watch)
    completed_at = find(line).completed_at
    line.change("UPDATE invoice SET state = 'failed', reason = 'x', look_at = NULL")

    look(watch)

    assert (find(line).balance.failed, find(line).completed_at, len(told(caplog))) == (1, completed_at, 1)


def test_an_alarm_tells_who_will_miss_the_cut_off(database, vault, caplog):
    """Two looks in a row that say so raise it, before the cut-off; it ends when they are accepted."""
    line = Line(database, vault, uploads_per_second=0.01)
    uuids = send(line, 30, deadline=line.clock() + timedelta(minutes=10))
    watch = watcher(line)
    look(watch)
    assert on(line) == []
    look(watch)

    (alarm,) = on(line)

    assert alarm.company_id == line.company
    assert alarm.told.startswith("of Acme, 25 will miss the cut-off at the present speed, the first at 02:10 UTC")
    line.change("UPDATE invoice SET state = 'sending', due_at = NULL, lease_until = :now", now=line.clock())
    line.change(
        "UPDATE invoice SET state = 'accepted', accepted_at = :now WHERE id = ANY(:ids)", now=line.clock(), ids=uuids
    )
    look(watch)
    assert on(line) == []


def test_a_process_remembers_its_last_look(line, database_url):
    """The watch that a worker's task asks its process for is the same at every ring, else no alarm would ever come."""
    send(line, deadline=line.clock())
    variables = {"DATABASE_URL": database_url, "ENCRYPTION_KEY": new_key(), "INSTANCE_KEY": INSTANCE_KEY}
    machine = Machine(settings_from({f"POSTILJON_{name}": value for name, value in variables.items()}))

    async def rings():
        await machine.watch.run(uuid4())
        await machine.watch.run(uuid4())
        await machine.close()

    asyncio.run(rings())

    assert [alarm.company_id for alarm in on(line)] == [line.company]


def on(line):
    with line.database.transaction() as session:
        return [alarm for alarm in alarms.list_alarms(session) if alarm.kind == "cut_off"]


def test_nothing_leaves_before_its_time(line):
    (asleep,) = send(line, not_before=line.clock() + timedelta(hours=1), priority=9)
    (awake,) = send(line)

    line.work()
    line.clock.pass_seconds(HOUR - 1)
    line.work()
    assert line.operator.uploads == [awake]
    line.clock.pass_seconds(1)
    line.work()

    assert line.operator.uploads == [awake, asleep]


def test_what_is_on_its_way_to_a_worker_can_be_cancelled(line):
    """The worker finds nothing to take; the operator never hears of the invoice."""
    (uuid,) = send(line)
    chunks = line.dispatch()

    assert cancel(line, uuid) == [None]
    line.work(chunks)
    line.clock.pass_seconds(HOUR)
    line.work()

    assert (line.states([uuid]), line.operator.uploads) == (["cancelled"], [])
    assert line.events(uuid)[-1].kind == "cancelled"


@pytest.mark.parametrize(
    ("theirs", "may"),
    [({"operator_number": "9", "operator_total": Decimal("1.00")}, True), ({}, False)],
    ids=["proven-another", "perhaps-ours"],
)
def test_only_what_is_proven_not_ours_has_a_way_out(line, theirs, may):
    """Refused, and the operator holds another invoice under the UUID: cancelled. Where it may be ours: never."""
    (uuid,) = send(line)
    line.operator.on_upload[uuid].append(Outcome(kind=K.REFUSED, http_status=409, message="exists"))
    line.operator.on_probe[uuid].append(Outcome(kind=K.ALREADY_THERE, **theirs))
    line.change("UPDATE invoice SET total = 12.5")
    line.work()
    line.work()
    assert (line.states([uuid]), line.row(uuid).uploads) == (["held"], 1)

    (why_not,) = cancel(line, uuid)

    assert (why_not is None) == may
    assert line.states([uuid]) == ["cancelled" if may else "held"]


def test_a_doubt_is_never_cancelled(line):
    """What may have arrived stays until the operator has said whether it did."""
    (uuid,) = send(line)
    line.operator.on_upload[uuid].append(Outcome(kind=K.IN_DOUBT))
    line.work(line.dispatch())

    (why_not,) = cancel(line, uuid)

    assert "being asked whether it holds it" in why_not
    assert line.states([uuid]) == ["in_doubt"]

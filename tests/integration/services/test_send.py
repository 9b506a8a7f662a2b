"""Sending and probing: what each answer leads to, and that nothing is ever sent into a doubt."""

import asyncio
import os
from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.domain.outcome import Outcome
from pipeline.maventa.verdict import Phase, judge_answer
from pipeline.services.loading import ROOM_BYTES
from pipeline.storage import claims, holding
from pipeline.storage.submissions import insert_invoice
from tests.integration.storage.rows import new_invoice

from .line import START, K, Line

IN_DOUBT = Outcome(kind=K.IN_DOUBT, error_code="read_timeout")
REFUSED = Outcome(kind=K.REFUSED, http_status=422, message="no recipient")
TURNED_AWAY = Outcome(kind=K.UNAUTHORIZED, http_status=401, message="invalid token")


def run(line, chunk):
    send = line.sender.probe if chunk.is_probe else line.sender.send
    return asyncio.run(send(chunk.company_id, chunk.invoice_ids, epoch=chunk.epoch))


def test_an_accepted_invoice_is_uploaded_once_as_it_is(line):
    uuids = line.submit(3)

    assert line.work() == {"accepted": 3}
    line.clock.pass_seconds(3600)
    assert line.work() == {}

    assert line.states(uuids) == ["accepted"] * 3
    assert sorted(line.operator.uploads) == sorted(uuids)
    assert {uuid: line.content(uuid) for uuid in uuids} == line.operator.held
    row = line.row(uuids[0])
    assert (row.operator_status, row.accepted_at, row.lease_until) == ("PENDING", START, None)
    assert row.look_at == START + timedelta(seconds=2)


def drop_document(line, uuid):
    """Lose it as a restore that lacks a table does; returns how to put it back."""
    kept = line.query("SELECT d.* FROM document AS d JOIN invoice ON sha256 = document_sha256 WHERE id = :id", id=uuid)
    with line.database.transaction() as session:
        session.connection().execute(text("SET LOCAL postiljon.expunging = 'on'"))
        session.connection().execute(text("DELETE FROM document WHERE sha256 = :sha256"), {"sha256": kept[0].sha256})
    return lambda: line.change(
        "INSERT INTO document (sha256, content, size, kind, created_at)"
        " VALUES (:sha256, :content, :size, :kind, :created_at)",
        **kept[0]._mapping,
    )


def release(line, uuid):
    with line.database.transaction() as session:
        assert holding.release_invoice(session, uuid, now=line.clock())


def test_an_invoice_without_its_document_is_held_for_a_person(line):
    """It is held at once, by itself and with what to do; nothing is counted as tried, and put back it goes out once."""
    missing, other = line.submit(2)
    put_back = drop_document(line, missing)

    assert line.work()["accepted"] == 1

    row = line.row(missing)
    assert (row.state, row.held_for, row.uploads, row.unfinished, row.attempts) == ("held", "person", 0, 0, 0)
    assert "its document is not in the database any more" in row.reason
    assert "postiljon cancel" in row.reason
    assert [event.kind for event in line.events(missing)] == ["submitted", "held_back"]
    assert line.row(other).state == "accepted"
    put_back()
    release(line, missing)
    line.work()
    assert line.operator.uploads.count(missing) == 1
    assert line.row(missing).state == "accepted"


def test_an_invoice_that_lost_its_document_between_uploads_may_not_be_cancelled(line):
    """One upload has left: what to do is to put the document back, and the operator is asked before it goes again."""
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [Outcome(kind=K.THROTTLED)]
    line.work()
    put_back = drop_document(line, uuid)
    line.clock.pass_seconds(60)

    line.work()

    row = line.row(uuid)
    assert (row.state, row.held_for, row.uploads) == ("held", "person", 1)
    assert "put it back from a backup" in row.reason
    assert "cancel" not in row.reason
    put_back()
    release(line, uuid)
    line.work()
    assert line.operator.probes == [(uuid,)]
    line.clock.pass_seconds(60)
    line.work()
    assert line.row(uuid).state == "accepted"


@pytest.mark.parametrize(
    ("outcome", "state", "wait", "free"),
    [
        (IN_DOUBT, "in_doubt", 0, False),
        (REFUSED, "in_doubt", 0, False),
        (Outcome(kind=K.THROTTLED), "waiting", 2, True),
        (Outcome(kind=K.THROTTLED, retry_after_seconds=90.0), "waiting", 90, True),
        (Outcome(kind=K.UNAVAILABLE, http_status=503), "in_doubt", 2, True),
    ],
    ids=["in doubt", "refused", "throttled", "throttled with retry-after", "closed"],
)
def test_each_unfinished_answer_of_an_upload_waits(line, outcome, state, wait, free):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [outcome]

    line.work()

    row, budget = line.row(uuid), timedelta(seconds=line.settings.retry_budget_seconds)
    assert (row.state, row.due_at) == (state, START + timedelta(seconds=wait))
    assert row.give_up_at == START + budget + timedelta(seconds=wait if free else 0)
    assert (row.uploads, row.tries, row.lease_until) == (1, 1, None)
    assert row.reason
    (attempt,) = line.attempts(uuid)
    assert (attempt.kind, attempt.outcome, attempt.http_status) == ("upload", outcome.kind.value, outcome.http_status)


@pytest.mark.parametrize("kind", [K.THROTTLED, K.UNAVAILABLE, K.IN_DOUBT])
def test_a_probe_without_an_answer_asks_again_and_never_uploads(line, kind):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [IN_DOUBT]
    line.operator.on_probe[uuid] = [Outcome(kind=kind)] * 5

    for _ in range(6):
        line.work()
        line.clock.pass_seconds(60)

    assert line.operator.uploads == [uuid]
    assert [event.kind for event in line.events(uuid)].count("probe_begun") == 5


def test_a_lost_answer_is_found_by_a_probe_without_a_second_upload(line):
    (uuid,) = line.submit()
    line.operator.accept_then_say(uuid, line.content(uuid), IN_DOUBT)

    line.work()
    line.work()

    assert line.states([uuid]) == ["accepted"]
    assert line.operator.uploads == [uuid]
    assert line.operator.probes == [(uuid,)]
    assert [(event.kind, event.target) for event in line.events(uuid)] == [
        ("submitted", "queued"),
        ("upload_begun", "sending"),
        ("upload_answered", "in_doubt"),
        ("probe_begun", "in_doubt"),
        ("probe_answered", "accepted"),
    ]


def test_a_lost_upload_is_sent_again_under_the_same_uuid_after_the_probe(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [IN_DOUBT]

    for _ in range(3):
        line.work()
        line.clock.pass_seconds(2)

    assert line.states([uuid]) == ["accepted"]
    assert (line.operator.uploads, line.operator.probes) == ([uuid, uuid], [(uuid,)])
    assert [attempt.number for attempt in line.attempts(uuid)] == [1, 2, 3]


def test_a_refusal_is_probed_before_it_counts(line):
    (refused,) = line.submit(1)
    line.operator.on_upload[refused] = [REFUSED]

    line.work()
    assert line.states([refused]) == ["in_doubt"]
    line.work()

    assert line.states([refused]) == ["refused"]
    assert "no recipient" in line.row(refused).reason
    assert line.operator.uploads.count(refused) == 1


def test_a_refusal_of_a_retry_waits_for_the_operators_list(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [IN_DOUBT, REFUSED]
    line.work()
    line.work()
    line.clock.pass_seconds(2)
    line.work()
    uploaded_at = line.row(uuid).last_upload_at

    line.work()

    row = line.row(uuid)
    settle = timedelta(seconds=line.settings.absence_settle_seconds)
    assert (row.state, row.uploads, row.due_at) == ("in_doubt", 2, uploaded_at + settle)
    line.clock.now = uploaded_at + settle
    line.work()
    assert (line.row(uuid).state, len(line.operator.uploads)) == ("refused", 2)


def test_a_duplicate_refusal_of_a_retry_finds_the_first_upload(line):
    (uuid,) = line.submit()
    line.operator.accept_then_say(uuid, line.content(uuid), IN_DOUBT)
    line.operator.on_probe[uuid] = [Outcome(kind=K.ABSENT)]
    line.operator.on_upload[uuid].append(Outcome(kind=K.REFUSED, http_status=409, message="already exists"))

    for _ in range(4):
        line.work()
        line.clock.pass_seconds(2)

    assert line.states([uuid]) == ["accepted"]
    assert len(line.operator.uploads) == 2


def test_an_outage_uses_no_budget_and_a_silence_does(database, vault):
    line = Line(database, vault, retry_budget_seconds=1000, retry_waits_seconds="100")
    closed, silent = line.submit(2)
    line.operator.on_upload[closed] = [Outcome(kind=K.UNAVAILABLE, retry_after_seconds=100.0)] * 5000
    line.operator.on_upload[silent] = [IN_DOUBT]
    line.operator.on_probe[silent] = [IN_DOUBT] * 5000

    for _ in range(30):
        line.work()
        due = [line.row(uuid).due_at for uuid in (closed, silent) if line.row(uuid).due_at]
        line.clock.now = max(line.clock.now, min(due))

    assert line.states([closed, silent]) == ["waiting", "held"]
    assert line.row(silent).held_for == "person"
    assert line.row(closed).give_up_at > line.clock()


def test_the_intent_is_committed_before_anything_leaves(line):
    """While the upload is under way, everybody else sees that it is: whoever dies now leaves a doubt, not a resend."""
    (uuid,) = line.submit()
    seen = []

    async def look():
        seen.append((line.row(uuid).state, [attempt.outcome for attempt in line.attempts(uuid)]))
        return Outcome(kind=K.ACCEPTED)

    line.operator.on_upload[uuid] = [look]
    line.work()

    assert seen == [("sending", [None])]


def test_a_message_seen_twice_uploads_once(line):
    line.submit(3)
    (chunk,) = line.dispatch()

    assert run(line, chunk) == {"accepted": 3}
    assert run(line, chunk) == {}
    assert len(line.operator.uploads) == 3


def test_a_probe_seen_twice_asks_once(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [IN_DOUBT]
    line.operator.on_probe[uuid] = [IN_DOUBT]
    line.work()
    (chunk,) = line.dispatch()

    assert run(line, chunk) == {"in_doubt": 1}
    assert run(line, chunk) == {}
    assert len(line.operator.probes) == 1


def test_a_chunk_of_more_than_a_hundred_doubts_is_asked_about_in_hundreds(database, vault):
    line = Line(database, vault, chunk_invoices=250)
    uuids = line.submit(230)
    line.operator.every_upload = IN_DOUBT
    line.work()

    line.work()

    assert sorted(len(asked) for asked in line.operator.probes) == [30, 100, 100]
    assert set(line.states(uuids)) == {"waiting"}


def test_a_worker_that_died_after_the_claim_is_followed_by_a_probe(line):
    """Whatever dies, the operator holds exactly one invoice per submitted UUID."""
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()
    with line.database.transaction() as session:
        budget, lease = START + timedelta(days=7), timedelta(seconds=30)
        claims.claim_uploads(session, [uuid], epoch=chunk.epoch, now=START, lease=lease, give_up_at=budget)
    line.operator.held[uuid] = line.content(uuid)
    line.clock.pass_seconds(31)

    line.work()

    assert line.states([uuid]) == ["accepted"]
    assert (line.operator.uploads, line.operator.probes) == ([], [(uuid,)])
    assert line.attempts(uuid)[0].outcome is None
    assert "lease_expired" in [event.kind for event in line.events(uuid)]


def test_a_gateways_bare_404_refuses_no_invoice(line):
    uuids = line.submit(3)
    for uuid in uuids:
        line.operator.on_upload[uuid] = [judge_answer(Phase.UPLOAD, 404, now=START)]
        line.operator.on_probe[uuid] = [judge_answer(Phase.PROBE, 404, now=START)]

    for _ in range(6):
        line.work()
        line.clock.pass_seconds(60)

    assert line.states(uuids) == ["accepted"] * 3


def test_an_acceptance_that_came_too_late_is_not_forgotten_by_the_next_probe(line):
    """The operator's 201 reached a worker that had lost its lease, and a read lags behind: nothing is sent again."""
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def too_late():
        line.clock.pass_seconds(31)
        line.dispatch()
        line.operator.held[uuid] = line.content(uuid)
        return Outcome(kind=K.ACCEPTED, http_status=201)

    line.operator.on_upload[uuid] = [too_late]
    line.operator.on_probe[uuid] = [Outcome(kind=K.ABSENT)]
    line.work([chunk])
    line.clock.pass_seconds(16)

    assert line.work() == {"absent": 1}
    assert line.states([uuid]) == ["in_doubt"]
    line.clock.pass_seconds(31)
    assert line.work() == {"already_there": 1}
    assert line.operator.uploads == [uuid]


def test_a_big_document_on_its_slow_way_keeps_nobody_else_waiting(line):
    """One company's big document may take minutes to leave; another's single invoice goes beside it, in one process."""
    big = new_invoice(line.company, content=os.urandom(ROOM_BYTES + 1))
    with line.database.transaction() as session:
        insert_invoice(session, big, now=START)
    (slow,) = line.dispatch()
    (small,) = line.submit(company=line.add_company("Other"))
    (quick,) = line.dispatch()

    async def scenario():
        under_way, over = asyncio.Event(), asyncio.Event()

        async def dawdle():
            under_way.set()
            await over.wait()
            return Outcome(kind=K.ACCEPTED, http_status=201)

        line.operator.on_upload[big.id] = [dawdle]
        sender = line.sender
        sending = asyncio.ensure_future(sender.send(slow.company_id, slow.invoice_ids, epoch=slow.epoch))
        await asyncio.wait_for(under_way.wait(), 30)
        counts = await sender.send(quick.company_id, quick.invoice_ids, epoch=quick.epoch)
        over.set()
        await sending
        return counts

    assert asyncio.run(scenario()) == {"accepted": 1}
    assert line.operator.uploads == [big.id, small]

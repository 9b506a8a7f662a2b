"""A process that ends: begins nothing, waits for what is in the air, hands back the rest; and no upload after its lease."""

import asyncio

from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane, OpenTurnstile
from pipeline.services.departure import DepartureGate
from pipeline.services.send import Sender

from .line import START, K, Line

ACCEPTED = Outcome(kind=K.ACCEPTED, http_status=201)


class Elapsed:
    """Goes on when told."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


class Queue(OpenTurnstile):
    """A turnstile whose turns come when the test says so."""

    def __init__(self):
        self.opened = asyncio.Event()
        self.waiting = 0

    async def enter(self, _company_id, _lane):
        self.waiting += 1
        await self.opened.wait()


def sender_of(line, **parts):
    return Sender(
        database=line.database,
        vault=line.vault,
        operator=line.operator,
        settings=line.settings,
        clock=line.clock,
        chance=lambda: 0.0,
        **parts,
    )


def hanging(line, uuid):
    """Make the upload of an invoice wait for an event, which is returned."""
    answered = asyncio.Event()

    async def hang():
        await answered.wait()
        return ACCEPTED

    line.operator.on_upload[uuid] = [hang]
    return answered


def test_what_is_in_the_air_is_awaited_and_the_rest_handed_back(database, vault):
    """An upload under way is recorded with its answer; what waits for room is as if never claimed."""
    line = Line(database, vault, upload_concurrency=1)
    uuids = line.submit(3)
    (chunk,) = line.dispatch()

    async def scenario():
        events = {uuid: hanging(line, uuid) for uuid in uuids}
        sender = sender_of(line)
        await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch)
        (under_way,) = line.operator.uploads
        draining = asyncio.create_task(sender.drain(seconds=10))
        await asyncio.sleep(0)
        events[under_way].set()
        return under_way, await draining

    under_way, cut = asyncio.run(scenario())

    assert cut == 0
    assert line.operator.uploads == [under_way]
    rows = [line.row(uuid) for uuid in uuids if uuid != under_way]
    assert line.states([under_way]) == ["accepted"]
    assert {(row.state, row.due_at, row.uploads, row.tries) for row in rows} == {("waiting", START, 0, 0)}
    line.operator.on_upload.clear()
    assert line.work() == {"accepted": 2}


def test_what_outlasts_the_grace_is_asked_about_at_once(line):
    """An upload cut short by the end is in doubt and due now: never after its lease, never sent again unasked."""
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def scenario():
        hanging(line, uuid)
        sender = sender_of(line)
        await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch)
        return await sender.drain(seconds=0.05)

    assert asyncio.run(scenario()) == 1

    row = line.row(uuid)
    assert (row.state, row.due_at, row.lease_until, row.uploads) == ("in_doubt", START, None, 1)
    assert "asked to end" in row.reason
    assert [attempt.error_code for attempt in line.attempts(uuid)] == ["worker_ended"]
    line.operator.held[uuid] = line.content(uuid)
    assert line.work() == {"already_there": 1}


def test_what_waits_for_its_turn_is_handed_back(line):
    """Nobody who waits at the gate is let out once the process ends, and nothing was tried."""
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def scenario():
        queue = Queue()
        gate = DepartureGate(queue)
        upload = line.operator.upload

        async def through_the_gate(credentials, **fields):
            return await gate.enter(credentials.company_id, Lane.UPLOAD) or await upload(credentials, **fields)

        line.operator.upload = through_the_gate
        sender = sender_of(line, gate=gate)
        await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch)
        assert queue.waiting == 1
        return await sender.drain(seconds=10)

    assert asyncio.run(scenario()) == 0
    assert line.operator.uploads == []
    row = line.row(uuid)
    assert (row.state, row.due_at, row.uploads) == ("waiting", START, 0)
    assert line.attempts(uuid) == []


def test_a_process_that_ends_takes_no_chunk(line):
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def scenario():
        sender = sender_of(line)
        await sender.drain(seconds=1)
        return await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch)

    assert asyncio.run(scenario()) == {}
    assert line.states([uuid]) == ["queued"]


def test_nothing_leaves_after_its_lease(line, caplog):
    """A process that was stopped between claim and upload sends nothing when it goes on."""
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()
    elapsed = Elapsed()
    claim = Sender._claim

    class Stopped(Sender):
        def _claim(self, *parts):
            claimed = claim(self, *parts)
            elapsed.seconds += 31
            return claimed

    parts = {"database": line.database, "vault": line.vault, "operator": line.operator, "settings": line.settings}
    sender = Stopped(**parts, clock=line.clock, chance=lambda: 0.0, elapsed=elapsed)
    counts = asyncio.run(sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch))

    assert counts == {"held_back": 1}
    assert line.operator.uploads == []
    assert (line.row(uuid).state, line.row(uuid).uploads) == ("waiting", 0)
    assert "lease_over" in [getattr(entry, "event", None) for entry in caplog.records]


def test_a_heartbeat_that_arrives_lets_the_waiting_go(database, vault):
    """What waits for room keeps its right to leave as long as its lease is kept alive."""
    line = Line(database, vault, upload_concurrency=1)
    uuids = line.submit(2)
    (chunk,) = line.dispatch()
    elapsed = Elapsed()
    parts = {"database": line.database, "vault": line.vault, "operator": line.operator, "settings": line.settings}

    class Kept(Sender):
        def _leases(self, claimed, *, since):
            self.leases = super()._leases(claimed, since=since)
            return self.leases

    async def scenario():
        events = {uuid: hanging(line, uuid) for uuid in uuids}
        sender = Kept(**parts, clock=line.clock, chance=lambda: 0.0, elapsed=elapsed)
        await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch)
        for _ in range(2):
            elapsed.seconds += 20
            line.clock.pass_seconds(20)
            await until(lambda: all(line.row(uuid).lease_until > line.clock.now for uuid in uuids))
            await until(lambda: not sender.leases.is_over(uuids))
        for event in events.values():
            event.set()
        await until(lambda: line.states(uuids) == ["accepted"] * 2)

    asyncio.run(scenario())

    assert sorted(line.operator.uploads) == sorted(uuids)


async def until(holds):
    """Wait for something that becomes true while the loop runs; fails after ten seconds."""
    for _ in range(1000):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true within ten seconds")

"""Chunks in the air: recorded as they come in, kept alive by heartbeat, and told of when they crash."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from pipeline.domain.outcome import Outcome, OutcomeKind

from .line import START, K, Line

IN_DOUBT = Outcome(kind=K.IN_DOUBT, error_code="read_timeout")
REFUSED = Outcome(kind=K.REFUSED, http_status=422, message="no recipient")
TURNED_AWAY = Outcome(kind=K.UNAUTHORIZED, http_status=401, message="invalid token")


def run(line, chunk):
    send = line.sender.probe if chunk.is_probe else line.sender.send
    return asyncio.run(send(chunk.company_id, chunk.invoice_ids, epoch=chunk.epoch))


def test_answers_are_recorded_while_one_upload_hangs_and_its_lease_is_kept(line):
    hanging, *others = line.submit(4)
    (chunk,) = line.dispatch()

    async def scenario():
        answered = asyncio.Event()

        async def hang():
            await answered.wait()
            return Outcome(kind=K.ACCEPTED)

        line.operator.on_upload[hanging] = [hang]
        sender = line.sender
        counts = await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch)
        await until(lambda: line.states(others) == ["accepted"] * 3)
        assert line.states([hanging]) == ["sending"]
        line.clock.pass_seconds(20)
        await until(lambda: line.row(hanging).lease_until >= START + timedelta(seconds=50))
        line.clock.pass_seconds(20)
        assert await asyncio.to_thread(line.dispatch) == []
        answered.set()
        assert await sender.drain(seconds=10) == 0
        return counts

    assert asyncio.run(scenario())["in_the_air"] >= 1
    assert line.states([hanging]) == ["accepted"]
    assert line.operator.uploads.count(hanging) == 1


def test_a_hanging_probe_keeps_its_lease(line):
    (uuid,) = line.submit()
    line.operator.accept_then_say(uuid, line.content(uuid), IN_DOUBT)
    line.work()
    (chunk,) = line.dispatch()

    async def scenario():
        answered, probe = asyncio.Event(), line.operator.probe

        async def hang(credentials, uuids):
            await answered.wait()
            return await probe(credentials, uuids)

        line.operator.probe = hang
        sender = line.sender
        counts = await sender.probe(line.company, chunk.invoice_ids, epoch=chunk.epoch)
        await until(lambda: line.row(uuid).lease_until == START + timedelta(seconds=30))
        line.clock.pass_seconds(20)
        await until(lambda: line.row(uuid).lease_until >= START + timedelta(seconds=50))
        line.clock.pass_seconds(20)
        assert await asyncio.to_thread(line.dispatch) == []
        answered.set()
        assert await sender.drain(seconds=10) == 0
        return counts

    assert asyncio.run(scenario()) == {"in_the_air": 1}
    assert line.states([uuid]) == ["accepted"]


def test_a_late_answer_changes_nothing(line, caplog):
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def too_slow():
        line.clock.pass_seconds(31)
        line.dispatch()
        return Outcome(kind=K.REFUSED, http_status=422)

    line.operator.on_upload[uuid] = [too_slow]
    run(line, chunk)

    assert line.states([uuid]) == ["in_doubt"]
    assert line.row(uuid).refusal is None
    assert line.attempts(uuid)[0].outcome == OutcomeKind.REFUSED.value
    assert "late_writer" in [getattr(entry, "event", None) for entry in caplog.records]


def test_no_more_uploads_at_once_than_allowed(database, vault):
    line = Line(database, vault, upload_concurrency=3)
    uuids = line.submit(12)
    at_once, most = 0, 0

    async def slow():
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return Outcome(kind=K.ACCEPTED)

    for uuid in uuids:
        line.operator.on_upload[uuid] = [slow]
    line.work()

    assert most == 3


def test_a_broken_upload_leaves_the_others_recorded_and_is_probed(line):
    broken, *others = line.submit(3)
    (chunk,) = line.dispatch()

    async def burst():
        await asyncio.sleep(0)
        raise RuntimeError("a bug of ours")

    line.operator.on_upload[broken] = [burst]
    with suppress(RuntimeError):  # whether it is raised or told in the log, the invoices must not suffer
        run(line, chunk)
    assert line.row(broken).unfinished == 1, "it counts like a death"
    line.clock.pass_seconds(31)
    line.work()
    line.clock.pass_seconds(2)
    line.work()

    assert line.states([broken, *others]) == ["accepted"] * 3
    assert [line.operator.uploads.count(uuid) for uuid in others] == [1, 1]


def test_a_crash_after_the_worker_went_on_is_told(line, caplog):
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def scenario():
        going = asyncio.Event()

        async def burst():
            await going.wait()
            raise RuntimeError("a bug of ours")

        line.operator.on_upload[uuid] = [burst]
        sender = line.sender
        assert await sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch) == {"in_the_air": 1}
        going.set()
        await sender.drain(seconds=10)
        await asyncio.sleep(0)

    asyncio.run(scenario())

    told = {entry.event for entry in caplog.records if entry.levelname == "ERROR" and hasattr(entry, "event")}
    assert told & {"flight_crashed", "exchange_crashed"}


def test_a_record_that_the_database_refuses_takes_no_other_down(line, caplog):
    """The others of its group are recorded; it counts like a death, and the operator is asked about it."""
    odd, *others = line.submit(3)
    (chunk,) = line.dispatch()
    line.operator.accept_then_say(odd, line.content(odd), Outcome(kind=K.ACCEPTED, http_status=2**40))

    run(line, chunk)

    assert line.states([odd, *others]) == ["sending", "accepted", "accepted"]
    assert line.row(odd).unfinished == 1
    assert "record_crashed" in [getattr(entry, "event", None) for entry in caplog.records]
    line.clock.pass_seconds(31)
    line.work()
    assert line.states([odd]) == ["accepted"]
    assert line.operator.uploads.count(odd) == 1


def test_an_invoice_that_the_database_cannot_hand_out_takes_no_other_down(line, caplog):
    """A damaged row fails every claim it is part of; the rest of its chunk goes on, claimed one by one."""
    odd, *others = line.submit(3)
    line.change(DAMAGE.replace("INVOICE", str(odd)))
    line.change("CREATE TRIGGER damage BEFORE INSERT ON attempt FOR EACH ROW EXECUTE FUNCTION damage()")
    try:
        assert line.work() == {"accepted": 2}
    finally:
        line.change("DROP TRIGGER damage ON attempt")
        line.change("DROP FUNCTION damage")

    assert line.states([odd, *others]) == ["queued", "accepted", "accepted"]
    assert [entry.invoice for entry in caplog.records if getattr(entry, "event", None) == "claim_crashed"] == [str(odd)]
    line.clock.pass_seconds(16)
    assert line.work() == {"accepted": 1}


DAMAGE = """
    CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.invoice_id = 'INVOICE' THEN RAISE EXCEPTION 'missing chunk' USING ERRCODE = 'data_corrupted'; END IF;
        RETURN NEW;
    END $$
"""


async def until(holds):
    """Wait for something that becomes true while the loop runs; fails after ten seconds."""
    for _ in range(1000):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true within ten seconds")

import asyncio
from types import SimpleNamespace
from uuid import uuid4

import pytest

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.loading import GROUP_BYTES, STREAM_BYTES, Group, Room, Stream, _cut


def upload(size):
    return SimpleNamespace(id=uuid4(), size=size)


def group(members, room, read=None):
    return Group(members, read=read or (lambda asked: {each.id: b"x" for each in asked}), room=room)


async def use(lender, each, *, until=None):
    with lender.borrower(each.id):
        content = await lender.lend(each.id)
        if until is not None:
            await until.wait()
        return content


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0.01)


def free(room):
    return room._free


def test_never_more_than_the_room_at_once():
    """A document that does not fit waits, without being read, until another has left."""

    async def scenario():
        room, read = Room(100), []
        over = asyncio.Event()

        def reading(asked):
            read.extend(each.id for each in asked)
            return {each.id: b"x" for each in asked}

        first, second = upload(70), upload(70)
        tasks = [asyncio.ensure_future(use(group([each], room, reading), each, until=over)) for each in (first, second)]
        await turns()
        early = list(read)
        over.set()
        await asyncio.gather(*tasks)
        return early == [first.id], read == [first.id, second.id], free(room)

    assert asyncio.run(scenario()) == (True, True, 100)


def test_what_is_larger_than_all_room_goes_alone():
    async def scenario():
        room = Room(100)
        big = upload(1000)
        content = await use(group([big], room), big)
        return content, free(room)

    assert asyncio.run(scenario()) == (b"x", 100)


def test_first_come_first_served():
    """A small document never passes a big one that waits: the big one would wait for ever."""

    async def scenario():
        room, order = Room(100), []
        held = await room.take(60)

        async def come(size):
            taken = await room.take(size)
            order.append(size)
            room.give_back(taken)

        tasks = [asyncio.ensure_future(come(size)) for size in (90, 10)]
        await turns()
        assert order == []
        room.give_back(held)
        await asyncio.gather(*tasks)
        return order, free(room)

    assert asyncio.run(scenario()) == ([90, 10], 100)


def test_one_question_for_a_group_and_room_back_bit_by_bit():
    async def scenario():
        room, asked = Room(100), []
        members = [upload(10) for _ in range(4)]

        def read(wanted):
            asked.append(len(wanted))
            return {each.id: str(each.id).encode() for each in wanted}

        lender = group(members, room, read)
        over = asyncio.Event()
        tasks = [asyncio.ensure_future(use(lender, each, until=over)) for each in members[:2]]
        others = await asyncio.gather(*(use(lender, each) for each in members[2:]))
        part = free(room)
        over.set()
        await asyncio.gather(*tasks)
        return asked, others == [str(each.id).encode() for each in members[2:]], part, free(room)

    assert asyncio.run(scenario()) == ([4], True, 80, 100)


@pytest.mark.parametrize(
    ("answer", "error"), [(ServiceUnavailableError("away"), ServiceUnavailableError), ({}, LookupError)]
)
def test_what_cannot_be_read_says_so_and_keeps_no_room(answer, error):
    def read(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario():
        room = Room(100)
        members = [upload(10), upload(10)]
        lender = group(members, room, read)
        failures = await asyncio.gather(*(use(lender, each) for each in members), return_exceptions=True)
        return [type(each) for each in failures], free(room)

    assert asyncio.run(scenario()) == ([error, error], 100)


@pytest.mark.parametrize("is_lent", [True, False])
def test_cancelled_borrowers_give_their_room_back(is_lent):
    """A worker that ends cancels what has not begun; nobody waits for its room afterwards."""

    async def scenario():
        room = Room(100)
        held = 0 if is_lent else await room.take(100)
        members = [upload(10), upload(10)]
        lender = group(members, room)
        tasks = [asyncio.ensure_future(use(lender, each, until=asyncio.Event())) for each in members]
        await turns()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await turns()
        room.give_back(held)
        return free(room), await asyncio.wait_for(room.take(100), 1)

    assert asyncio.run(scenario()) == (100, 100)


def test_groups_are_small_and_keep_the_order():
    members = [upload(size) for size in (GROUP_BYTES // 2, GROUP_BYTES // 2, 1, 20 * GROUP_BYTES, 5)]

    assert list(_cut(members)) == [members[:2], members[2:3], members[3:4], members[4:]]


def stream(content, room, *, away_at=None):
    def read(_, start):
        if start == away_at:
            raise ServiceUnavailableError("away")
        return content[start : start + 4] or None

    return Stream(upload(10), read=read, room=room)


async def collect(streamed):
    return b"".join([piece async for piece in streamed.read()])


def test_streamed_document_takes_some_slices_of_room():
    async def scenario():
        room = Room(2 * STREAM_BYTES)
        lender = stream(b"0123456789", room)
        with lender.borrower(None):
            streamed = await lender.lend(None)
            contents = [await collect(streamed), await collect(streamed)]
            part = free(room)
        return contents, part, free(room)

    assert asyncio.run(scenario()) == ([b"0123456789"] * 2, STREAM_BYTES, 2 * STREAM_BYTES)


@pytest.mark.parametrize(("content", "away_at"), [(b"0123456789", 8), (b"01234567", None)], ids=["away", "vanished"])
def test_stream_that_cannot_be_read_to_its_end_is_cut_off(content, away_at):
    async def scenario():
        lender = stream(content, Room(STREAM_BYTES), away_at=away_at)
        with lender.borrower(None):
            await collect(await lender.lend(None))

    with pytest.raises(ConnectionResetError):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "away_at", "error"), [(b"", None, LookupError), (b"x", 0, ServiceUnavailableError)]
)
def test_stream_without_a_beginning_is_not_lent(content, away_at, error):
    async def scenario():
        room = Room(STREAM_BYTES)
        lender = stream(content, room, away_at=away_at)
        with pytest.raises(error), lender.borrower(None):
            await lender.lend(None)
        return free(room)

    assert asyncio.run(scenario()) == STREAM_BYTES

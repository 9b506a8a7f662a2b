"""An upload that is answered 401 is sent once more with a fresh token; what left us before that is never forgotten."""

import asyncio

import httpx
import pytest

from pipeline.domain.pace import hold_back
from pipeline.domain.turnstile import Lane, OpenTurnstile
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.services.departure import DepartureGate
from pipeline.services.operator import MaventaOperator
from pipeline.services.send import Sender
from pipeline.settings import Installation

from .line import START


class Once(OpenTurnstile):
    """Lets one upload in; the next one finds the gate as the test wants it."""

    def __init__(self, then):
        self.then = then
        self.uploads = 0

    async def enter(self, _company_id, lane):
        self.uploads += lane is Lane.UPLOAD
        return await self.then() if lane is Lane.UPLOAD and self.uploads > 1 else None


class Door:
    """Answers token questions, and every upload with a 401; can break the second token question."""

    def __init__(self, *, break_token=False):
        self.break_token = break_token
        self.uploads = self.tokens = 0

    def __call__(self, request):
        if request.url.path == "/oauth2/token":
            self.tokens += 1
            if self.break_token and self.tokens > 1:
                raise httpx.ReadTimeout("silence", request=request)
            token = {"access_token": f"t{self.tokens}", "token_type": "bearer", "expires_in": 3600, "scope": "eui"}
            return httpx.Response(200, json=token)
        self.uploads += 1
        return httpx.Response(401, json={"code": "auth_unauthorized", "message": "Unauthorized", "details": []})


def send_through(line, door, then, *, drain=False):
    """Send what is due through the real client; drained as soon as the second upload waits, if told so."""
    (chunk,) = line.dispatch()

    async def scenario():
        turnstile = Once(then)
        gate = DepartureGate(turnstile)
        client = MaventaClient(
            hosts=OperatorHosts.of(Installation.TEST, override_url="http://operator.test"),
            token_store=InMemoryTokenStore(clock=line.clock),
            transport=httpx.MockTransport(door),
            clock=line.clock,
            turnstile=gate,
        )
        parts = {"database": line.database, "vault": line.vault, "settings": line.settings, "clock": line.clock}
        sender = Sender(**parts, operator=MaventaOperator(client), chance=lambda: 0.0, gate=gate)
        async with client:
            sending = asyncio.create_task(sender.send(line.company, chunk.invoice_ids, epoch=chunk.epoch))
            if drain:
                while turnstile.uploads < 2:  # noqa: ASYNC110 - the turnstile has no event to wait for
                    await asyncio.sleep(0.01)
                await sender.drain(seconds=0.1)
            await sending

    asyncio.run(asyncio.wait_for(scenario(), 20))


async def closed():
    return hold_back(20.0, why="the operator is left alone")


async def for_ever():
    await asyncio.Event().wait()


@pytest.mark.parametrize("break_token", [False, True], ids=["held back", "no token"])
def test_an_upload_whose_second_chance_never_left_is_asked_about(line, break_token):
    """The first one left and was answered: it stays counted, and nothing is sent before a probe."""
    (uuid,) = line.submit()
    door = Door(break_token=break_token)

    send_through(line, door, closed)

    assert door.uploads == 1
    row = line.row(uuid)
    assert (row.state, row.uploads, row.last_upload_at) == ("in_doubt", 1, START)
    assert [(attempt.kind, attempt.http_status) for attempt in line.attempts(uuid)] == [("upload", 401)]


def test_an_upload_whose_second_chance_is_cut_short_is_asked_about(line):
    """A process that ends between the two has let something out: it never counts as not begun."""
    (uuid,) = line.submit()
    door = Door()

    send_through(line, door, for_ever, drain=True)

    assert door.uploads == 1
    row = line.row(uuid)
    assert (row.state, row.uploads) == ("in_doubt", 1)
    assert len(line.attempts(uuid)) == 1

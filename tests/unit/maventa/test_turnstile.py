import asyncio
import uuid

import httpx

from pipeline.domain.pace import hold_back
from pipeline.domain.turnstile import Lane
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.schemas import UploadOptions
from pipeline.settings import Installation

from .fake_operator import COMPANY, CREDENTIALS, FakeOperator, answer, refusal, told

INVOICE = uuid.UUID("10000000-0000-4000-8000-000000000001")


class Recorder:
    """A turnstile that notes who passes, and holds back uploads if told so."""

    def __init__(self):
        self.entered, self.left = [], []
        self.closed = False

    async def enter(self, company_id, lane):
        if self.closed and lane is Lane.UPLOAD:
            return hold_back(3.0, why="closed")
        self.entered.append((company_id, lane))
        return None

    def leave(self, company_id, lane, outcome):
        self.left.append((company_id, lane, outcome and outcome.http_status))


def use(operator, turnstile):
    return MaventaClient(
        hosts=OperatorHosts.of(Installation.TEST, override_url="http://operator.test"),
        token_store=InMemoryTokenStore(clock=operator.clock),
        transport=httpx.MockTransport(operator._handle),
        clock=operator.clock,
        turnstile=turnstile,
    )


async def upload(client):
    async with client:
        return await client.upload(
            CREDENTIALS,
            uuid=INVOICE,
            content=b"<x/>",
            filename="x.xml",
            content_type="application/xml",
            options=UploadOptions(),
        )


def test_every_exchange_passes_in_its_lane():
    """Tokens and both uploads around a refused token pass the turnstile; only uploads count as such."""
    operator, turnstile = FakeOperator(), Recorder()
    answers = iter([refusal(401), answer(201, told(INVOICE))])
    operator.route("POST", "/v1/invoices", lambda _: next(answers))

    asyncio.run(upload(use(operator, turnstile)))

    lanes = [Lane.READ, Lane.UPLOAD, Lane.READ, Lane.UPLOAD]
    assert turnstile.entered == [(COMPANY, lane) for lane in lanes]
    assert [status for _, _, status in turnstile.left] == [None, 401, None, None]


def test_held_back_upload_never_leaves():
    operator, turnstile = FakeOperator(), Recorder()
    turnstile.closed = True

    outcome = asyncio.run(upload(use(operator, turnstile)))

    assert outcome.held_back_seconds == 3.0
    assert operator.asked("POST", "/v1/invoices") == []


def test_probe_passes_too():
    operator, turnstile = FakeOperator(), Recorder()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))
    operator.route("GET", f"/v1/invoices/{INVOICE}", lambda _: refusal(404, "not_found"))

    async def probe():
        async with use(operator, turnstile) as client:
            await client.probe(CREDENTIALS, [INVOICE])

    asyncio.run(probe())

    assert turnstile.entered == [(COMPANY, Lane.READ)] * len(operator.requests)
    assert len(turnstile.left) == len(operator.requests) == 4

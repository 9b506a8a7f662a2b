import asyncio
import hashlib
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.schemas import UploadOptions
from tests.unit.maventa.fake_operator import CREDENTIALS, FakeOperator, answer, refusal, told

CONTENT = '<?xml version="1.0" encoding="ISO-8859-15"?><Finvoice>Åäö €</Finvoice>'.encode("iso-8859-15")


async def send(client: MaventaClient, uuid: UUID, **options: object) -> Outcome:
    return await client.upload(
        CREDENTIALS,
        uuid=uuid,
        content=CONTENT,
        filename="invoice.xml",
        content_type="application/xml",
        options=UploadOptions.parse(options),
    )


def run_upload(operator: FakeOperator, uuid: UUID, **options: object) -> Outcome:
    async def run() -> Outcome:
        async with operator.client() as client:
            return await send(client, uuid, **options)

    return asyncio.run(run())


def test_upload_answered_with_our_uuid_is_accepted() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("POST", "/v1/invoices", lambda _: answer(201, told(uuid)))

    outcome = run_upload(operator, uuid)

    assert outcome.kind is OutcomeKind.ACCEPTED
    assert (outcome.http_status, outcome.operator_status) == (201, "PENDING")


def test_upload_carries_the_bytes_and_the_token() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("POST", "/v1/invoices", lambda _: answer(201, told(uuid)))

    run_upload(operator, uuid, disabled_routes=["print", "email"])

    (request,) = operator.asked("POST", "/v1/invoices")
    assert request.headers["authorization"] == "Bearer t1"
    assert request.content.count(b'name="disabled_routes"\r\n') == 2
    part = request.content.split(b"\r\n\r\n")[-1].rsplit(b"\r\n--", 1)[0]
    assert hashlib.sha256(part).digest() == hashlib.sha256(CONTENT).digest()


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b'{"status":"PENDING"}', b'{"id":"0b7c1d4e-0000-4000-8000-000000000009"}']
)
def test_created_answer_that_does_not_name_our_uuid_is_in_doubt(body: bytes) -> None:
    operator = FakeOperator()
    operator.route("POST", "/v1/invoices", lambda _: httpx.Response(201, content=body))

    assert run_upload(operator, uuid4()).kind is OutcomeKind.IN_DOUBT


def test_odd_field_in_the_answer_does_not_hide_the_creation() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("POST", "/v1/invoices", lambda _: answer(201, {"id": str(uuid).upper(), "status": None, "sum": "x"}))

    assert run_upload(operator, uuid).kind is OutcomeKind.ACCEPTED


def test_expired_token_is_replaced_once() -> None:
    operator, uuid = FakeOperator(), uuid4()

    def upload(request: httpx.Request) -> httpx.Response:
        good = request.headers["authorization"] == "Bearer t2"
        return answer(201, told(uuid)) if good else refusal(401, "auth_unauthorized")

    operator.route("POST", "/v1/invoices", upload)

    assert run_upload(operator, uuid).kind is OutcomeKind.ACCEPTED
    assert operator.tokens == 2


@pytest.mark.parametrize("status", [401, 403])
def test_second_denial_concerns_the_company(status: int) -> None:
    operator = FakeOperator()
    operator.route("POST", "/v1/invoices", lambda _: refusal(status, "auth_unauthorized", "Unauthorized"))

    outcome = run_upload(operator, uuid4())

    assert (outcome.kind, outcome.message) == (OutcomeKind.UNAUTHORIZED, "Unauthorized")
    assert len(operator.asked("POST", "/v1/invoices")) == 2
    assert operator.tokens == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, OutcomeKind.UNAUTHORIZED),
        (401, OutcomeKind.UNAUTHORIZED),
        (403, OutcomeKind.UNAUTHORIZED),
        (429, OutcomeKind.THROTTLED),
        (500, OutcomeKind.UNAVAILABLE),
        (503, OutcomeKind.UNAVAILABLE),
        (404, OutcomeKind.UNAVAILABLE),
        (302, OutcomeKind.UNAVAILABLE),
    ],
)
def test_without_a_token_nothing_is_uploaded(status: int, kind: OutcomeKind) -> None:
    operator = FakeOperator()
    operator.route("POST", "/oauth2/token", lambda _: refusal(status, "invalid_credentials", "no"))

    outcome = run_upload(operator, uuid4())

    assert outcome.kind is kind
    assert operator.asked("POST", "/v1/invoices") == []


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("x"), httpx.ConnectError("x"), httpx.RemoteProtocolError("x")])
def test_broken_token_request_proves_nothing_was_sent(failure: Exception) -> None:
    operator = FakeOperator()

    def broken(_: httpx.Request) -> httpx.Response:
        raise failure

    operator.route("POST", "/oauth2/token", broken)

    assert run_upload(operator, uuid4()).kind is OutcomeKind.UNAVAILABLE


def test_unreadable_token_is_no_token() -> None:
    operator = FakeOperator()
    operator.route("POST", "/oauth2/token", lambda _: answer(200, {"access_token": "a\r\nb", "expires_in": 3600}))

    assert run_upload(operator, uuid4()).kind is OutcomeKind.UNAVAILABLE


def test_redirect_is_not_followed() -> None:
    operator = FakeOperator()
    operator.route("POST", "/v1/invoices", lambda _: answer(307, headers={"location": "http://elsewhere.test/x"}))

    assert run_upload(operator, uuid4()).kind is OutcomeKind.IN_DOUBT
    assert {request.url.host for request in operator.requests} == {"operator.test"}


def test_cookie_of_one_answer_never_travels_on() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("POST", "/v1/invoices", lambda _: answer(201, told(uuid), {"set-cookie": "session=a; Path=/"}))

    async def run() -> None:
        async with operator.client() as client:
            await send(client, uuid)
            await send(client, uuid)

    asyncio.run(run())

    assert all("cookie" not in request.headers for request in operator.requests)


def test_gateways_own_page_refuses_no_upload() -> None:
    operator = FakeOperator()
    operator.route("POST", "/v1/invoices", lambda _: httpx.Response(404, content=b"<html>maintenance</html>"))

    assert run_upload(operator, uuid4()).kind is OutcomeKind.IN_DOUBT


def test_details_do_not_hide_a_legacy_text() -> None:
    operator = FakeOperator()
    body = {"code": "x", "message": "COMPANY ACCOUNT IS LOCKED", "details": ["since March"]}
    operator.route("POST", "/v1/invoices", lambda _: answer(422, body))

    outcome = run_upload(operator, uuid4())

    assert (outcome.kind, outcome.message) == (OutcomeKind.UNAUTHORIZED, "COMPANY ACCOUNT IS LOCKED (since March)")


@pytest.mark.parametrize(
    ("age_days", "message"),
    [
        (2, "the operator answered with an invoice created at 2026-02-27T12:00:00+00:00"),
        (0.5, "created"),
        (-0.5, "created"),
        (None, "created"),
    ],
    ids=["old", "of today", "clock ahead", "not told"],
)
def test_answer_with_an_older_invoice_is_noted(age_days: float | None, message: str) -> None:
    operator, uuid = FakeOperator(), uuid4()
    created = None if age_days is None else (operator.clock() - timedelta(days=age_days)).isoformat()
    operator.route("POST", "/v1/invoices", lambda _: answer(201, told(uuid, created_at=created)))

    outcome = run_upload(operator, uuid)

    assert (outcome.kind, outcome.message) == (OutcomeKind.ACCEPTED, message)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", 7e300])
def test_odd_instant_in_the_answer_does_not_hide_the_creation(at: object) -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("POST", "/v1/invoices", lambda _: answer(201, told(uuid, created_at=at)))

    assert run_upload(operator, uuid).kind is OutcomeKind.ACCEPTED

"""What a company's narrow scopes, or a token that may not be asked about, lead to."""

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs
from uuid import uuid4

import httpx
import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from tests.unit.maventa.fake_operator import COMPANY, CREDENTIALS, FakeOperator, answer, refusal

NARROW = replace(CREDENTIALS, scopes=("invoice:send", "invoice:receive"))


def grant(operator: FakeOperator, scope: str | None) -> None:
    body = {"access_token": "t", "token_type": "bearer", "expires_in": 3600, "scope": scope}
    operator.route("POST", "/oauth2/token", lambda _: answer(200, body))


def forbid_current(operator: FakeOperator, status: int) -> None:
    operator.route("GET", "/oauth2/current", lambda _: refusal(status, "forbidden", "scope global is missing"))


def check(operator: FakeOperator) -> Outcome | None:
    async def run() -> Outcome | None:
        async with operator.client() as client:
            return await client.check_access(NARROW)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("configured", "asked"),
    [
        (("invoice:send", "invoice:receive"), "invoice:send invoice:receive global"),
        (("eui",), "eui"),
        (("invoice:send", "global"), "invoice:send global"),
    ],
    ids=["narrow", "eui", "global"],
)
def test_right_to_prove_a_token_is_always_asked_for(configured: tuple[str, ...], asked: str) -> None:
    operator = FakeOperator()

    async def run() -> None:
        async with operator.client() as client:
            await client.probe(replace(CREDENTIALS, scopes=configured), [uuid4()])

    asyncio.run(run())

    (request,) = operator.asked("POST", "/oauth2/token")
    assert parse_qs(request.content.decode())["scope"] == [asked]


@pytest.mark.parametrize("status", [401, 403])
def test_forbidden_proof_is_a_doubt_about_the_invoice(status: int) -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))
    forbid_current(operator, status)

    async def run() -> dict:
        async with operator.client() as client:
            return await client.probe(NARROW, [uuid])

    assert asyncio.run(run())[uuid].kind is OutcomeKind.IN_DOUBT
    assert operator.asked("GET", f"/v1/invoices/{uuid}") == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("scope", ["invoice:send invoice:receive", "eui", None])
def test_company_with_invoice_rights_may_send_without_the_proof(status: int, scope: str | None) -> None:
    operator = FakeOperator()
    grant(operator, scope)
    forbid_current(operator, status)

    assert check(operator) is None


@pytest.mark.parametrize("scope", ["company:read lookup", "global company", "invoice:receive"])
def test_company_without_invoice_rights_stays_held(scope: str) -> None:
    operator = FakeOperator()
    grant(operator, scope)
    forbid_current(operator, 403)

    doubt = check(operator)

    assert doubt is not None
    assert (doubt.kind, doubt.error_code) == (OutcomeKind.UNAUTHORIZED, "missing_scope")


def test_unverified_company_stays_held_without_the_proof() -> None:
    operator = FakeOperator()
    grant(operator, "invoice:send")
    forbid_current(operator, 403)
    operator.route("GET", "/v1/company/authorization", lambda _: answer(200, {"company_state": "UNVERIFIED"}))

    doubt = check(operator)

    assert doubt is not None
    assert doubt.error_code == "unverified"


@pytest.mark.parametrize(
    "current",
    [
        lambda _: refusal(500),
        lambda _: httpx.Response(404, content=b"<html>"),
        lambda _: refusal(403, "x", "COMPANY ACCOUNT IS LOCKED"),
        lambda _: answer(200, {"company": {"id": str(COMPANY)}, "scopes": ["global"]}),
        lambda _: answer(200, {"company": {"id": str(uuid4())}, "scopes": ["eui"]}),
    ],
    ids=["500", "gateway", "locked", "narrower than granted", "another company"],
)
def test_company_stays_held_for_any_other_answer(current: object) -> None:
    operator = FakeOperator()
    grant(operator, "invoice:send")
    operator.route("GET", "/oauth2/current", current)

    assert check(operator) is not None

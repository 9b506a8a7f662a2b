"""When a probe believes that the operator does not have an invoice, and when it goes on asking."""

import asyncio
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from tests.unit.maventa.fake_operator import COMPANY, CREDENTIALS, FakeOperator, answer, refusal


def run_probe(operator: FakeOperator, uuids: list[UUID]) -> dict[UUID, Outcome]:
    async def run() -> dict[UUID, Outcome]:
        async with operator.client() as client:
            return await client.probe(CREDENTIALS, uuids)

    return asyncio.run(run())


def bearer(request: httpx.Request) -> str:
    return request.headers["authorization"]


@pytest.mark.parametrize("status", [401, 403])
def test_absence_is_not_believed_of_another_token_than_the_proven(status: int) -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))

    def single(request: httpx.Request) -> httpx.Response:
        # The proven token has just ended; its successor has fewer rights, and "not found" also means "no access".
        ended = bearer(request) == "Bearer t1"
        return refusal(status, "auth_unauthorized") if ended else refusal(404, "not_found", "Not found")

    operator.route("GET", f"/v1/invoices/{uuid}", single)

    assert run_probe(operator, [uuid])[uuid].kind is OutcomeKind.IN_DOUBT
    assert len(operator.asked("GET", f"/v1/invoices/{uuid}")) == 1


def test_refresh_in_the_middle_of_a_probe_changes_no_token() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))

    def current(_: httpx.Request) -> httpx.Response:
        operator.clock.advance(3500)
        return answer(200, {"company": {"id": str(COMPANY)}, "scopes": ["eui"]})

    operator.route("GET", "/oauth2/current", current)

    run_probe(operator, [uuid])

    (proof,), (single,) = operator.asked("GET", "/oauth2/current"), operator.asked("GET", f"/v1/invoices/{uuid}")
    assert bearer(single) == bearer(proof)

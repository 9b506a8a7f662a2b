"""When a probe believes that the operator does not have an invoice, and when it goes on asking."""

import asyncio
import json
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from tests.unit.maventa.fake_operator import COMPANY, CREDENTIALS, FakeOperator, answer, refusal, told


def run_probe(operator: FakeOperator, uuids: list[UUID]) -> dict[UUID, Outcome]:
    async def run() -> dict[UUID, Outcome]:
        async with operator.client() as client:
            return await client.probe(CREDENTIALS, uuids)

    return asyncio.run(run())


def bearer(request: httpx.Request) -> str:
    return request.headers["authorization"]


def test_probe_asks_for_sent_invoices_by_id() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, [told(uuid, status="FAILED", number="7")]))

    outcomes = run_probe(operator, [uuid])

    (request,) = operator.asked("GET", "/v1/invoices")
    assert request.url.params.multi_items() == [("ids[]", str(uuid)), ("direction", "SENT"), ("per_page", "100")]
    assert outcomes[uuid].kind is OutcomeKind.ALREADY_THERE
    assert outcomes[uuid].operator_status == "FAILED"


def test_absence_needs_a_proven_token_and_a_single_question() -> None:
    operator, there, lagging, gone = FakeOperator(), uuid4(), uuid4(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, [told(there)]))
    operator.route("GET", f"/v1/invoices/{lagging}", lambda _: answer(200, told(lagging)))

    outcomes = run_probe(operator, [there, lagging, gone])

    assert {uuid: outcome.kind for uuid, outcome in outcomes.items()} == {
        there: OutcomeKind.ALREADY_THERE,
        lagging: OutcomeKind.ALREADY_THERE,
        gone: OutcomeKind.ABSENT,
    }
    assert operator.asked("GET", f"/v1/invoices/{there}") == []


@pytest.mark.parametrize(
    "current",
    [
        lambda _: answer(200, {"company": {"id": str(uuid4())}, "scopes": ["eui"]}),
        lambda _: answer(200, {"company": {"id": str(COMPANY)}, "scopes": ["company:read", "lookup"]}),
        lambda _: answer(200, {"company": {"id": str(COMPANY)}}),
        lambda _: answer(200, "?"),
        lambda _: refusal(401),
        lambda _: refusal(404, "not_found"),
        lambda _: refusal(500),
        lambda _: refusal(503),
    ],
    ids=["other company", "no scope", "no scopes", "unreadable", "401", "404", "500", "503"],
)
def test_unproven_token_never_proves_absence(current: object) -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))
    operator.route("GET", "/oauth2/current", current)

    outcome = run_probe(operator, [uuid])[uuid]

    assert outcome.kind in {OutcomeKind.UNAUTHORIZED, OutcomeKind.IN_DOUBT, OutcomeKind.UNAVAILABLE}


@pytest.mark.parametrize("single", [500, 502, 400, 410, 204, 302])
def test_single_question_without_a_clear_no_is_not_absence(single: int) -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))
    operator.route("GET", f"/v1/invoices/{uuid}", lambda _: refusal(single, "x"))

    assert run_probe(operator, [uuid])[uuid].kind in {OutcomeKind.IN_DOUBT, OutcomeKind.UNAVAILABLE}


def test_gateways_own_404_is_not_absence() -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, []))
    operator.route("GET", f"/v1/invoices/{uuid}", lambda _: httpx.Response(404, content=b"<html>nginx</html>"))

    assert run_probe(operator, [uuid])[uuid].kind is OutcomeKind.IN_DOUBT


def test_probe_takes_a_hundred_and_no_more() -> None:
    with pytest.raises(ValueError, match="100"):
        run_probe(FakeOperator(), [uuid4() for _ in range(101)])


def test_probe_of_nothing_asks_nothing() -> None:
    operator = FakeOperator()

    assert run_probe(operator, []) == {}
    assert operator.requests == []


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


LATIN = "Käyttötili"


def latin_list(*rows: dict[str, object]) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(rows, ensure_ascii=False).encode("iso-8859-15"))


@pytest.mark.parametrize(
    "odd",
    [
        lambda uuid: {**told(uuid), "id": None},
        lambda uuid: {**told(uuid), "id": {"uuid": str(uuid)}},
        lambda _: {"status": "PENDING"},
        lambda _: None,
        lambda _: "?",
        lambda _: ["?"],
    ],
    ids=["id null", "id object", "no id", "null", "text", "list"],
)
def test_unreadable_row_hides_no_other(odd: object) -> None:
    operator, good, bad = FakeOperator(), uuid4(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: answer(200, [odd(bad), told(good, status="DELIVERED")]))
    operator.route("GET", f"/v1/invoices/{bad}", lambda _: answer(200, told(bad)))

    outcomes = run_probe(operator, [good, bad])

    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.ALREADY_THERE}
    assert outcomes[good].operator_status == "DELIVERED"
    assert operator.asked("GET", f"/v1/invoices/{good}") == []


def test_the_parties_are_told_as_the_operator_names_them() -> None:
    """Whoever compares an invoice met under our UUID learns its number, total, seller and buyer."""
    operator, named, bare = FakeOperator(), uuid4(), uuid4()
    parties = {"sender": {"name": "Seller Oy"}, "recipient": {"name": "Buyer Ab"}}
    operator.route("GET", "/v1/invoices", lambda _: answer(200, [told(named, **parties), told(bare, sender=None)]))

    outcomes = run_probe(operator, [named, bare])

    assert (outcomes[named].operator_seller, outcomes[named].operator_buyer) == ("Seller Oy", "Buyer Ab")
    assert outcomes[bare].operator_seller is None


@pytest.mark.parametrize(
    "page",
    [
        lambda good, bad: latin_list(told(good, number="7"), told(bad, comment=LATIN)),
        lambda good, bad: answer(200, [told(good, number="7"), told(bad, comment="\ud83d")]),
    ],
    ids=["not utf-8", "half a character"],
)
def test_odd_characters_hide_no_invoice(page: object) -> None:
    operator, good, bad = FakeOperator(), uuid4(), uuid4()
    operator.route("GET", "/v1/invoices", lambda _: page(good, bad))

    outcomes = run_probe(operator, [good, bad])

    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.ALREADY_THERE}
    assert (outcomes[good].operator_number, str(outcomes[good].operator_total)) == ("7", "12.4")
    assert len(operator.requests) == 2


@pytest.mark.parametrize(
    "listing",
    [
        lambda _: httpx.Response(414),
        lambda _: refusal(400, "invalid_parameters"),
        lambda _: httpx.Response(200, content=b"<html>"),
        lambda _: answer(200, {"invoices": []}),
    ],
    ids=["414", "400", "html", "object"],
)
def test_list_that_cannot_be_had_leads_to_single_questions(listing: object) -> None:
    operator, there, gone = FakeOperator(), uuid4(), uuid4()
    operator.route("GET", "/v1/invoices", listing)
    operator.route("GET", f"/v1/invoices/{there}", lambda _: answer(200, told(there)))

    outcomes = run_probe(operator, [there, gone])

    assert (outcomes[there].kind, outcomes[gone].kind) == (OutcomeKind.ALREADY_THERE, OutcomeKind.ABSENT)


@pytest.mark.parametrize(
    ("listing", "kind"),
    [
        (lambda _: refusal(401, "auth_unauthorized"), OutcomeKind.UNAUTHORIZED),
        (lambda _: refusal(403, "forbidden"), OutcomeKind.UNAUTHORIZED),
        (lambda _: refusal(429, "slow"), OutcomeKind.THROTTLED),
        (lambda _: refusal(400, "x", "COMPANY ACCOUNT IS LOCKED"), OutcomeKind.UNAUTHORIZED),
        (lambda _: refusal(500, "x"), OutcomeKind.IN_DOUBT),
        (lambda _: refusal(503, "x"), OutcomeKind.UNAVAILABLE),
    ],
    ids=["401", "403", "429", "locked", "500", "503"],
)
def test_list_not_given_to_us_leads_to_no_more_questions(listing: object, kind: OutcomeKind) -> None:
    operator, uuid = FakeOperator(), uuid4()
    operator.route("GET", "/v1/invoices", listing)

    assert run_probe(operator, [uuid])[uuid].kind is kind
    assert operator.asked("GET", "/oauth2/current") == []


def test_page_in_place_of_every_answer_costs_two_questions() -> None:
    operator, uuids = FakeOperator(), [uuid4() for _ in range(100)]
    for path in ("/v1/invoices", "/oauth2/current"):
        operator.route("GET", path, lambda _: httpx.Response(200, content=b"<html>maintenance</html>"))

    outcomes = run_probe(operator, uuids)

    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.IN_DOUBT}
    assert len(operator.requests) == 1 + 2

"""Reading the status of many invoices at once: none that can be read stays unread for another's sake."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.schemas import InvoiceAnswer
from tests.unit.maventa.fake_operator import CREDENTIALS, FakeOperator, answer, refusal, told

Page = Callable[[list[UUID]], httpx.Response]


def run_statuses(operator: FakeOperator, uuids: Sequence[UUID]) -> dict[UUID, InvoiceAnswer] | Outcome:
    async def run() -> dict[UUID, InvoiceAnswer] | Outcome:
        async with operator.client() as client:
            return await client.statuses(CREDENTIALS, uuids)

    return asyncio.run(run())


def listing(operator: FakeOperator, page: Page) -> None:
    def show(request: httpx.Request) -> httpx.Response:
        return page([UUID(text) for text in request.url.params.get_list("ids[]")])

    operator.route("GET", "/v1/invoices", show)


def calls(operator: FakeOperator) -> int:
    return len(operator.asked("GET", "/v1/invoices"))


def all_of(ids: list[UUID]) -> httpx.Response:
    return answer(200, [told(uuid, status="DELIVERED") for uuid in ids])


def test_statuses_are_read_a_hundred_a_call() -> None:
    operator, uuids = FakeOperator(), [uuid4() for _ in range(150)]

    def listing(request: httpx.Request) -> httpx.Response:
        return answer(200, [told(UUID(text)) for text in request.url.params.get_list("ids[]")])

    operator.route("GET", "/v1/invoices", listing)

    found = run_statuses(operator, uuids)

    assert isinstance(found, dict)
    assert set(found) == set(uuids)
    assert [len(r.url.params.get_list("ids[]")) for r in operator.asked("GET", "/v1/invoices")] == [100, 50]


@pytest.mark.parametrize("position", [0, 1, 50, 98, 99])
@pytest.mark.parametrize("status", [200, 400], ids=["unreadable", "refused"])
def test_one_poisoned_invoice_is_left_out(position: int, status: int) -> None:
    operator, uuids = FakeOperator(), [uuid4() for _ in range(100)]
    poisoned = uuids[position]
    listing(operator, lambda ids: httpx.Response(status, content=b"[{") if poisoned in ids else all_of(ids))

    found = run_statuses(operator, uuids)

    assert isinstance(found, dict)
    assert set(found) == set(uuids) - {poisoned}
    assert calls(operator) <= 15


def test_unreadable_row_is_left_out() -> None:
    operator, good, bad = FakeOperator(), uuid4(), uuid4()
    listing(operator, lambda _: answer(200, [{**told(bad), "id": None}, told(good)]))

    found = run_statuses(operator, [good, bad])

    assert isinstance(found, dict)
    assert set(found) == {good}
    assert calls(operator) == 1


def test_too_long_an_address_is_asked_in_halves() -> None:
    operator, uuids = FakeOperator(), [uuid4() for _ in range(100)]
    listing(operator, lambda ids: httpx.Response(414) if len(ids) > 30 else all_of(ids))

    found = run_statuses(operator, uuids)

    assert isinstance(found, dict)
    assert set(found) == set(uuids)
    assert calls(operator) == 1 + 2 + 4


def test_page_in_place_of_every_list_is_no_knowledge() -> None:
    operator, uuids = FakeOperator(), [uuid4() for _ in range(100)]
    listing(operator, lambda _: httpx.Response(200, content=b"<html>maintenance</html>"))

    found = run_statuses(operator, uuids)

    assert isinstance(found, Outcome)
    assert found.kind is OutcomeKind.IN_DOUBT
    assert calls(operator) <= 20


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, OutcomeKind.UNAUTHORIZED), (429, OutcomeKind.THROTTLED), (503, OutcomeKind.UNAVAILABLE)],
)
def test_list_not_given_to_us_is_not_asked_in_halves(status: int, kind: OutcomeKind) -> None:
    operator = FakeOperator()
    listing(operator, lambda _: refusal(status, "x"))

    found = run_statuses(operator, [uuid4(), uuid4()])

    assert isinstance(found, Outcome)
    assert found.kind is kind
    assert calls(operator) <= 2


def test_instant_outside_the_calendar_hides_nothing() -> None:
    operator, uuid = FakeOperator(), uuid4()
    listing(operator, lambda _: answer(200, [told(uuid, created_at="0001-01-01T00:00:00+14:00")]))

    found = run_statuses(operator, [uuid])

    assert isinstance(found, dict)
    assert found[uuid].created_at is None

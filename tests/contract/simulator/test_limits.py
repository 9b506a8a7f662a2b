"""The operator's limits: what is above them is answered 429, and what arrived is counted, second by second."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from simulator.errors import Refusal
from simulator.knobs import Knobs
from simulator.traffic import READS, SECONDS_KEPT, UPLOADS, Traffic, retry_after

A, B = "a", "b"


def let_in(traffic, instants, *, lane=UPLOADS, company=A, **knobs):
    """Let requests arrive at these instants; tell which were let in."""
    turned = Knobs(**knobs)
    return [at for at in instants if traffic.arrive(lane, company, knobs=turned, at=at) is None]


def fullest_second(instants):
    return max(sum(1 for one in instants if start <= one < start + 1) for start in instants)


def totals(operator):
    return operator.control("GET", "ledger/totals")


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2.5, 2), (10, 10), (33, 33)])
def test_no_second_holds_more_than_the_limit(limit, most):
    """In no second, wherever it begins, are more let in than the limit; a steady sender just below it never waits."""
    hurried = let_in(Traffic(), [n * 0.007 for n in range(600)], limit_uploads_per_second=limit)
    steady = let_in(Traffic(), [n * 1.001 / most for n in range(200)], limit_uploads_per_second=limit)

    assert fullest_second(hurried) == most
    assert len(steady) == 200


def test_limit_below_one_is_one_in_its_time():
    """A limit of 0.5 lets one in every 2 seconds."""
    assert let_in(Traffic(), [0, 1, 1.99, 2, 3.9, 4.1], limit_uploads_per_second=0.5) == [0, 2, 4.1]


def test_limit_is_of_a_company_or_of_all():
    """Scope company: each has its own; scope operator: all share one. The other lane is free."""
    apart, together = Traffic(), Traffic()
    knobs = {"limit_uploads_per_second": 1.0}

    assert let_in(apart, [0], **knobs)
    assert let_in(apart, [0.1], company=B, **knobs)
    assert let_in(together, [0], limit_scope="operator", **knobs)
    assert not let_in(together, [0.1], company=B, limit_scope="operator", **knobs)
    assert len(let_in(together, [0.1] * 9, lane=READS, limit_scope="operator", **knobs)) == 9


def test_busiest_second_counts_what_was_refused_too():
    """The fullest second is of arrivals, of all and of each company, and slides."""
    traffic = Traffic()
    for company, instants in ((A, [0.0, 0.6, 0.9, 1.2]), (B, [1.3]), (A, [1.59, 1.6, 5])):
        let_in(traffic, instants, company=company, limit_uploads_per_second=1.0)

    shown = traffic.shown()

    assert shown["companies"][A][UPLOADS] == {"arrived": 7, "busiest_second": 4, "throttled": 4}
    assert shown["companies"][B][UPLOADS]["busiest_second"] == 1
    assert shown["operator"][UPLOADS] == {"arrived": 8, "busiest_second": 1 + 4, "throttled": 4}
    assert shown["throttled_by_second"] == {"1970-01-01T00:00:00Z": 2, "1970-01-01T00:00:01Z": 2}


def test_counts_need_no_more_room_with_time():
    """However long it runs, a gauge holds the instants of one second and refusals of the last minutes."""
    traffic = Traffic()
    let_in(traffic, [n * 0.1 for n in range(20_000)], limit_uploads_per_second=1.0)

    kept = [len(gauge._arrivals) + len(gauge._admitted) for gauge in traffic._gauges.values()]
    assert max(kept) <= 11
    assert len(traffic.shown()["throttled_by_second"]) == SECONDS_KEPT


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("none", None),
        ("7", "7"),
        ("date:0", "Thu, 01 Jan 1970 00:01:41 GMT"),
        ("date:5", "Thu, 01 Jan 1970 00:01:46 GMT"),
    ],
)
def test_retry_after_has_the_form_of_the_knob(form, told):
    """Nothing, seconds, or an HTTP date that is never too early."""
    assert retry_after(form, 100.25) == told


def test_what_is_above_the_limit_gets_429(operator, companies):
    """Of a burst of uploads the limit's number is taken, the others get 429 with Retry-After and leave nothing."""
    for company in companies:
        operator.bearer(company)
    operator.control("PUT", "knobs", {"limit_uploads_per_second": 3, "limit_retry_after": "date:2"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: operator.upload(), range(8)))
    other = operator.upload(company=companies[1])
    found = totals(operator)

    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 5
    wanted = next(answer for answer in answers if answer.status_code == 429).headers["Retry-After"]
    assert 0 < (parsedate_to_datetime(wanted) - datetime.now(UTC)).total_seconds() <= 3
    assert other.status_code == 201
    assert found["held"] == 4
    counts = found["arrivals"]["companies"]
    assert counts[companies[0]]["uploads"] == {"arrived": 8, "busiest_second": 8, "throttled": 5}
    assert counts[companies[1]]["uploads"] == {"arrived": 1, "busiest_second": 1, "throttled": 0}
    assert sum(found["arrivals"]["throttled_by_second"].values()) == 5


def test_limit_of_reads_spares_uploads(operator):
    """A limit of reads refuses questions and tokens, not uploads."""
    operator.bearer()
    operator.control("PUT", "knobs", {"limit_reads_per_second": 0.01, "limit_scope": "operator"})

    first, second = (operator.call("GET", "/v1/invoices?direction=SENT") for _ in range(2))

    assert (first.status_code, second.status_code, operator.ask_token().status_code) == (200, 429, 429)
    assert "Retry-After" not in second.headers
    assert operator.upload().status_code == 201


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("limit_retry_after", "soon", "limit_retry_after takes"),
        ("limit_retry_after", "-1", "limit_retry_after takes"),
        ("limit_scope", "world", "takes one of company, operator"),
        ("limit_uploads_per_second", -1, "out of range"),
    ],
)
def test_wrong_limit_is_refused(operator, name, value, complaint):
    """A wrong limit answers 400 and says what the knob takes."""
    answer = operator.http.put("/_simulator/knobs", json={name: value})

    assert answer.status_code == 400
    assert complaint in answer.json()["message"]


def test_refusal_of_a_limit_is_an_answer():
    """The refusal is in the operator's error shape."""
    traffic = Traffic()
    assert let_in(traffic, [0], limit_uploads_per_second=1.0)

    refusal = traffic.arrive(UPLOADS, A, knobs=Knobs(limit_uploads_per_second=1.0), at=0.5)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.body()["code"]) == (429, "too_many_requests")

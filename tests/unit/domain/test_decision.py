"""What follows from each outcome, as one table: kind, standing, decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from pipeline.domain.decision import Finish, Hold, Probe, RetryAt, Standing, decide, explain
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.retry import RetrySchedule
from pipeline.domain.state import State

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule(waits_seconds=(0.0, 2.0, 10.0), absence_settle_seconds=30.0)
UPLOAD = Standing(
    uploads=1, tries=0, give_up_at=NOW + timedelta(days=7), last_upload_at=NOW, probing=False, refusal=None
)
PROBE = replace(UPLOAD, probing=True)
SPENT = {"give_up_at": NOW}
K = OutcomeKind


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def finish(state: State):
    return Finish, {"state": state}


def retry(seconds: float, *, free: bool):
    return RetryAt, {"at": after(seconds), "free": free}


def probe(seconds: float, *, free: bool = False):
    return Probe, {"at": after(seconds), "free": free}


def hold(*, company: bool):
    return Hold, {"company": company}


TABLE = [
    # kind, standing, what differs, expected
    (K.ACCEPTED, UPLOAD, {}, finish(State.ACCEPTED)),
    (K.ACCEPTED, UPLOAD, SPENT, finish(State.ACCEPTED)),
    (K.ACCEPTED, PROBE, {"refusal": "no"}, finish(State.ACCEPTED)),
    (K.ALREADY_THERE, PROBE, {}, finish(State.ACCEPTED)),
    (K.ALREADY_THERE, PROBE, {"refusal": "no", "uploads": 3}, finish(State.ACCEPTED)),
    (K.ALREADY_THERE, PROBE, SPENT, finish(State.ACCEPTED)),
    (K.UNAUTHORIZED, UPLOAD, {}, hold(company=True)),
    (K.UNAUTHORIZED, PROBE, SPENT, hold(company=True)),
    (K.REFUSED, UPLOAD, {}, probe(0)),
    (K.REFUSED, UPLOAD, {"uploads": 4, "tries": 9} | SPENT, probe(0)),
    (K.REFUSED, PROBE, {"tries": 2}, probe(10)),  # a refused question says nothing of the invoice, and waits
    (K.REFUSED, PROBE, SPENT, hold(company=False)),
    (K.ABSENT, PROBE, {}, retry(0, free=False)),
    (K.ABSENT, PROBE, {"tries": 1}, retry(2, free=False)),
    (K.ABSENT, PROBE, SPENT, hold(company=False)),
    (K.ABSENT, PROBE, {"refusal": "no"}, finish(State.REFUSED)),  # the only upload, so nothing older can be there
    (K.ABSENT, PROBE, {"refusal": "no", "uploads": 2}, probe(30)),  # last upload now + 30 s to settle
    (K.ABSENT, PROBE, {"refusal": "no", "uploads": 2, "last_upload_at": after(-29)}, probe(1)),
    (K.ABSENT, PROBE, {"refusal": "no", "uploads": 2, "last_upload_at": after(-30)}, finish(State.REFUSED)),
    (K.ABSENT, PROBE, {"refusal": "no", "uploads": 2, "last_upload_at": after(-30)} | SPENT, finish(State.REFUSED)),
    (K.THROTTLED, UPLOAD, {}, retry(2, free=True)),  # who is busy is never asked again at once: tries + 1
    (K.THROTTLED, UPLOAD, SPENT, retry(2, free=True)),
    (K.THROTTLED, PROBE, {}, probe(2, free=True)),
    (K.THROTTLED, PROBE, SPENT, probe(2, free=True)),
    (K.UNAVAILABLE, UPLOAD, {"tries": 1}, retry(10, free=True)),
    (K.UNAVAILABLE, UPLOAD, {"tries": 99} | SPENT, retry(10, free=True)),
    (K.UNAVAILABLE, PROBE, {"tries": 1, "refusal": "no"}, probe(10, free=True)),
    (K.IN_DOUBT, UPLOAD, {}, probe(0)),
    (K.IN_DOUBT, UPLOAD, {"tries": 1}, probe(2)),
    (K.IN_DOUBT, UPLOAD, SPENT, hold(company=False)),
    (K.IN_DOUBT, PROBE, {"tries": 1}, probe(2)),
    (K.IN_DOUBT, PROBE, SPENT, hold(company=False)),
]


@pytest.mark.parametrize(
    ("kind", "standing", "differs", "expected"),
    TABLE,
    ids=[f"{kind.value}-{'probe' if base.probing else 'upload'}-{n}" for n, (kind, base, _, _) in enumerate(TABLE)],
)
def test_each_outcome_leads_to_its_decision(kind, standing, differs, expected):
    decision = decide(Outcome(kind=kind), replace(standing, **differs), now=NOW, schedule=SCHEDULE)

    expected_type, fields = expected
    assert type(decision) is expected_type
    assert {name: getattr(decision, name) for name in fields} == fields
    assert decision.reason


def test_the_table_has_every_kind():
    assert {kind for kind, *_ in TABLE} == set(OutcomeKind)


@pytest.mark.parametrize("kind", [K.THROTTLED, K.UNAVAILABLE])
def test_retry_after_is_obeyed(kind):
    decision = decide(Outcome(kind=kind, retry_after_seconds=600.0), UPLOAD, now=NOW, schedule=SCHEDULE)

    assert decision.at == after(600)


def test_the_refusal_is_told_in_the_operators_words():
    decision = decide(Outcome(kind=K.ABSENT), replace(PROBE, refusal="HTTP 422, no VAT"), now=NOW, schedule=SCHEDULE)

    assert decision == Finish(state=State.REFUSED, reason="HTTP 422, no VAT")


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Outcome(kind=K.IN_DOUBT), "ours"),
        (Outcome(kind=K.IN_DOUBT, http_status=500), "ours (HTTP 500)"),
        (Outcome(kind=K.IN_DOUBT, error_code="read_timeout"), "ours (read_timeout)"),
        (Outcome(kind=K.REFUSED, http_status=422, error_code="x", message="no VAT"), "ours (HTTP 422, no VAT)"),
    ],
)
def test_an_outcome_is_explained_in_one_line(outcome, line):
    assert explain(outcome, "ours") == line


OURS = {
    "refusal": "exists",
    "number": "1001",
    "total": Decimal("12.50"),
    "seller": "Acme Oy",
    "buyer": "Buyer Ab",
}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (OURS, {"number": "1001", "total": Decimal("12.5")}, Finish),
        (OURS, {"number": "1001"}, Finish),
        (OURS, {"number": "1001", "seller": "ACME  oy", "buyer": " "}, Finish),
        (OURS, {}, Hold),
        (OURS, {"seller": "Acme Oy", "buyer": "Buyer Ab"}, Hold),
        (OURS, {"number": "1002", "total": Decimal("12.50")}, Hold),
        (OURS, {"number": "1001", "total": Decimal("99.00")}, Hold),
        (OURS, {"number": "1001", "total": Decimal("12.50"), "seller": "Other Oy"}, Hold),
        (OURS, {"number": "1001", "total": Decimal("12.50"), "buyer": "Other Ab"}, Hold),
        ({"refusal": "exists"}, {"number": "1001", "total": Decimal("12.50")}, Hold),
        ({"uploads": 0, "number": "1001"}, {"number": "1002"}, Hold),
        ({"uploads": 0, "number": "1001"}, {"number": "1001"}, Finish),
        ({"uploads": 0}, {"number": "1001"}, Finish),
    ],
    ids=[
        *("the same", "number only", "names in another manner", "nothing to compare", "parties only"),
        *("other number", "other total", "other seller", "other buyer", "ours unknown"),
        *("a copy's other", "a copy's same", "a copy's unreadable"),
    ],
)
def test_a_uuid_met_from_outside_is_compared(ours, theirs, expected):
    """An invoice that was there before our first upload is adopted only if it is the same; else a person sees both."""
    found = Outcome(kind=K.ALREADY_THERE, **{f"operator_{name}": value for name, value in theirs.items()})

    decision = decide(found, replace(PROBE, **ours), now=NOW, schedule=SCHEDULE)

    assert isinstance(decision, expected)
    if isinstance(decision, Hold):
        assert not decision.company
        for value in (*theirs.values(), ours.get("number"), ours.get("seller")):
            assert " ".join(str(value or "").split()) in decision.reason


@pytest.mark.parametrize(("deaths", "expected"), [(4, RetryAt), (5, Hold)])
def test_what_ended_its_worker_too_often_is_set_aside(deaths, expected):
    """An invoice that killed its worker n times and is not at the operator is held, and its document is named."""
    standing = replace(PROBE, unfinished=deaths, document="UBL, 1,234 bytes")

    decision = decide(Outcome(kind=K.ABSENT), standing, now=NOW, schedule=SCHEDULE)

    assert isinstance(decision, expected)
    if isinstance(decision, Hold):
        assert "5 times" in decision.reason
        assert "UBL, 1,234 bytes" in decision.reason
        assert not decision.company


def test_what_killed_its_worker_and_arrived_is_accepted():
    decision = decide(Outcome(kind=K.ALREADY_THERE), replace(PROBE, unfinished=9), now=NOW, schedule=SCHEDULE)

    assert decision == Finish(state=State.ACCEPTED, reason=decision.reason)


def test_what_we_cut_short_is_asked_about_at_once():
    """An exchange that our own end cut short costs no wait, however many tries came before it."""
    cut = Outcome(kind=K.IN_DOUBT, cut_short=True)

    decision = decide(cut, replace(UPLOAD, tries=2), now=NOW, schedule=SCHEDULE)

    assert decision == Probe(at=NOW, reason=decision.reason, free=True)


def test_a_503_may_have_lied():
    """An answer of 503 is probed, free of budget; a connection that never came about is retried."""
    answered = decide(Outcome(kind=K.UNAVAILABLE, http_status=503), UPLOAD, now=NOW, schedule=SCHEDULE)
    never_sent = decide(Outcome(kind=K.UNAVAILABLE), UPLOAD, now=NOW, schedule=SCHEDULE)

    assert isinstance(answered, Probe)
    assert answered.free
    assert isinstance(never_sent, RetryAt)


def test_words_of_the_operator_are_made_storable():
    """NUL, lone surrogates and line breaks of an answer reach neither database nor terminal."""
    outcome = Outcome(kind=K.REFUSED, message="a\x00b\nc\ud800", operator_status="DELIVERED\x00", error_code="\x00")

    assert (outcome.message, outcome.operator_status, outcome.error_code) == ("ab c", "DELIVERED", None)


@pytest.mark.parametrize("standing", [UPLOAD, PROBE], ids=["upload", "probe"])
def test_what_we_cut_short_ourselves_is_asked_about_even_when_the_budget_is_used_up(standing):
    """A deploy sends no innocent invoice to a person: the operator may hold it, and one question tells."""
    outcome = Outcome(kind=K.IN_DOUBT, cut_short=True)

    decision = decide(outcome, replace(standing, **SPENT), now=NOW, schedule=SCHEDULE)

    assert isinstance(decision, Probe)
    assert decision.at == NOW

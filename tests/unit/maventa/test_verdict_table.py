"""The verdict table is complete, and no row of it takes a doubt for proof."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.outcome import OutcomeKind
from pipeline.maventa.failure import NOT_SENT, TransportFailureKind
from pipeline.maventa.verdict import (
    ANSWERS,
    MESSAGE_LIMIT,
    RETRY_AFTER_LIMIT_SECONDS,
    Phase,
    judge_answer,
    judge_failure,
    one_line,
    read_retry_after,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
texts = st.none() | st.text(max_size=2000)
QUIET = {OutcomeKind.IN_DOUBT, OutcomeKind.UNAVAILABLE}


@given(phase=st.sampled_from(Phase), status=st.integers(100, 599), code=texts, message=texts)
def test_every_answer_has_a_row(phase: Phase, status: int, code: str | None, message: str | None) -> None:
    rows = [row for row in ANSWERS if row.matches(phase, status, code, message)]

    outcome = judge_answer(phase, status, code=code, message=message, now=NOW)

    assert rows
    assert outcome.kind is rows[0].kind
    assert outcome.message
    assert len(outcome.message) <= MESSAGE_LIMIT
    assert outcome.message.isprintable()


@given(status=st.integers(-1, 99) | st.integers(600, 1000), phase=st.sampled_from(Phase))
def test_status_outside_http_is_in_doubt(phase: Phase, status: int) -> None:
    assert judge_answer(phase, status, now=NOW).kind is OutcomeKind.IN_DOUBT


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("failure", TransportFailureKind)
def test_every_failure_is_unavailable_only_with_proof(phase: Phase, failure: TransportFailureKind) -> None:
    proven = failure in NOT_SENT or phase is Phase.TOKEN

    outcome = judge_failure(phase, failure)

    assert outcome.kind is (OutcomeKind.UNAVAILABLE if proven else OutcomeKind.IN_DOUBT)
    assert outcome.error_code == failure.value


@given(status=st.integers(100, 599), code=texts)
def test_only_a_created_upload_is_accepted(status: int, code: str | None) -> None:
    accepted = {
        phase for phase in Phase if judge_answer(phase, status, code=code, now=NOW).kind is OutcomeKind.ACCEPTED
    }

    assert accepted == ({Phase.UPLOAD} if status == 201 else set())


@given(status=st.integers(100, 599), code=texts, message=texts)
def test_only_a_proven_probe_tells_absence(status: int, code: str | None, message: str | None) -> None:
    absent = {
        phase
        for phase in Phase
        if judge_answer(phase, status, code=code, message=message, now=NOW).kind is OutcomeKind.ABSENT
    }

    assert absent <= {Phase.PROVEN_PROBE}
    assert not absent or (status == 404 and code and code.strip())


@pytest.mark.parametrize(
    "status", [*range(100, 201), *range(202, 400), 408, 425, 499, *range(500, 503), *range(504, 600)]
)
def test_unclear_upload_is_in_doubt(status: int) -> None:
    assert judge_answer(Phase.UPLOAD, status, code="x", now=NOW).kind is OutcomeKind.IN_DOUBT


@pytest.mark.parametrize("status", [*range(100, 400), 404, *range(500, 600)])
def test_no_answer_without_a_token_blames_the_company(status: int) -> None:
    assert judge_answer(Phase.TOKEN, status, code="x", now=NOW).kind in QUIET


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("999999999", RETRY_AFTER_LIMIT_SECONDS),
        ("9" * 5000, None),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("NaN", None),
        ("inf", None),
        ("١٢", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), RETRY_AFTER_LIMIT_SECONDS),
        ("Mon, 99 Mar 2026 25:00:00 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_within_bounds(status: int, text: str, seconds: float | None) -> None:
    outcome = judge_answer(Phase.UPLOAD, status, headers={"retry-after": text}, now=NOW)

    assert outcome.retry_after_seconds == seconds


@given(text=st.text(max_size=60), date=st.text(max_size=60))
def test_no_retry_after_breaks_anything(text: str, date: str) -> None:
    seconds = read_retry_after({"retry-after": text, "date": date}, now=NOW)

    assert seconds is None or 0 <= seconds <= RETRY_AFTER_LIMIT_SECONDS


def test_retry_date_is_measured_by_the_operators_clock() -> None:
    theirs = NOW - timedelta(hours=3)
    headers = {
        "retry-after": format_datetime(theirs + timedelta(seconds=30), usegmt=True),
        "date": format_datetime(theirs, usegmt=True),
    }

    assert read_retry_after(headers, now=NOW) == 30.0


@pytest.mark.parametrize(
    ("text", "line"),
    [(None, None), ("", ""), ("a\r\nb\tc\x00d\u2028e", "a b c d e"), ("x" * 600, "x" * 499 + "…")],
    ids=["none", "empty", "controls", "long"],
)
def test_message_becomes_one_short_line(text: str | None, line: str | None) -> None:
    assert one_line(text) == line

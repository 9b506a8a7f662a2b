"""What an answer proves: the rows of the verdict table that a mistake would make dear."""

from datetime import UTC, datetime

import pytest

from pipeline.domain.outcome import OutcomeKind
from pipeline.maventa.verdict import Phase, judge_answer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [400, 402, 404, 405, 406, 409, 410, 421, 422, 431, 451])
@pytest.mark.parametrize("code", [None, "", " "], ids=["no code", "empty", "blank"])
def test_bare_refusal_of_an_upload_is_in_doubt(status: int, code: str | None) -> None:
    outcome = judge_answer(Phase.UPLOAD, status, code=code, now=NOW)

    assert outcome.kind is OutcomeKind.IN_DOUBT


@pytest.mark.parametrize("status", [413, 414, 415])
def test_bare_refusal_about_the_request_itself_is_a_refusal(status: int) -> None:
    assert judge_answer(Phase.UPLOAD, status, now=NOW).kind is OutcomeKind.REFUSED


@pytest.mark.parametrize("status", [400, 404, 409, 415, 422])
def test_refusal_with_the_operators_code_is_a_refusal(status: int) -> None:
    assert judge_answer(Phase.UPLOAD, status, code="invalid_parameters", now=NOW).kind is OutcomeKind.REFUSED

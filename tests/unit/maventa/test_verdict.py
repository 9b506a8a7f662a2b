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


@pytest.mark.parametrize(
    "message",
    [
        "Recipient company not found in the directory",
        "COMPANY NOT FOUND IN THE DIRECTORY",
        "RECIPIENT COMPANY NOT FOUND",
        "company not found",
        "Error: COMPANY NOT FOUND",
        "The buyer's reference says USER NOT FOUND",
        "DAILY INVOICE LIMIT",
        "RECIPIENT DAILY INVOICE LIMIT (5) REACHED",
    ],
)
def test_refusal_about_the_invoice_does_not_hold_the_company(message: str) -> None:
    outcome = judge_answer(Phase.UPLOAD, 422, code="invalid_parameters", message=message, now=NOW)

    assert outcome.kind is OutcomeKind.REFUSED


@pytest.mark.parametrize("prefix", ["", "ERROR: "])
@pytest.mark.parametrize(
    "text",
    [
        "VENDOR API KEY DISABLED",
        "USER NOT ACTIVATED",
        "USER HAS NO RIGHTS TO COMPANY",
        "USER BELONGS TO MULTIPLE COMPANIES, NO COMPANY ID GIVEN",
        "USER NOT FOUND",
        "COMPANY NOT FOUND",
        "COMPANY ACCOUNT IS LOCKED",
        "COMPANY HAS NOT COMPLETED FIRST TIME WIZARD",
        "USER DAILY INVOICE LIMIT (100) REACHED",
        "VENDOR API KEY DAILY INVOICE LIMIT (@5000) REACHED",
        "GLOBAL DAILY INVOICE LIMIT (1) REACHED",
    ],
)
@pytest.mark.parametrize("phase", list(Phase))
def test_legacy_text_about_the_company_holds_it(phase: Phase, text: str, prefix: str) -> None:
    outcome = judge_answer(phase, 422, code="x", message=f" {prefix}{text}\n", now=NOW)

    assert outcome.kind is OutcomeKind.UNAUTHORIZED

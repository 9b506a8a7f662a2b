"""The table of hold causes: every documented text has its row, and every row says what to do."""

import pytest

from pipeline.domain.company_hold import NOT_LET_IN, ROWS, HoldKind, judge_hold, judge_words
from pipeline.domain.decision import explain
from pipeline.domain.outcome import Outcome, OutcomeKind

K = HoldKind


def outcome(status=None, code=None, message=None):
    return Outcome(kind=OutcomeKind.UNAUTHORIZED, http_status=status, error_code=code, message=message)


CASES = {
    "unverified": (outcome(401, "auth_unauthorized", "Unauthorized"), K.UNVERIFIED, "auth_email"),
    "unverified, by 403": (outcome(403, "forbidden", "Unauthorized"), K.UNVERIFIED, "auth_email"),
    "unverified, by our check": (
        outcome(None, "unverified", "the company is not verified at the operator: have its authorisation signed"),
        K.UNVERIFIED,
        "signed",
    ),
    "scope": (outcome(401, "auth_unauthorized", "Unauthorized: scope is missing"), K.SCOPE, "--scope"),
    "scope, by our check": (
        outcome(
            200, "missing_scope", "the token has no right to the company's sent invoices; is the company verified?"
        ),
        K.SCOPE,
        "invoice:send",
    ),
    "credentials": (outcome(401, "invalid_credentials", "Invalid credentials"), K.CREDENTIALS, "company add"),
    "credentials, in our words": (
        outcome(403, None, "the operator does not let these credentials in"),
        K.CREDENTIALS,
        "company add",
    ),
    "token not taken twice": (outcome(401, "auth_unauthorized", "Invalid token"), K.CREDENTIALS, "company add"),
    "another company's keys": (
        outcome(200, "other_company", "the token belongs to another company"),
        K.CREDENTIALS,
        "UUID",
    ),
    "user limit": (outcome(422, "x", "ERROR: USER DAILY INVOICE LIMIT (@500) REACHED"), K.DAILY_LIMIT, "limit"),
    "key limit": (outcome(403, "x", "VENDOR API KEY DAILY INVOICE LIMIT (1000) REACHED"), K.DAILY_LIMIT, "limit"),
    "global limit": (outcome(400, "x", "GLOBAL DAILY INVOICE LIMIT (@9) REACHED"), K.DAILY_LIMIT, "limit"),
    "key disabled": (outcome(401, "x", "VENDOR API KEY DISABLED"), K.KEY_DISABLED, "enable"),
    "user not activated": (outcome(403, "x", "USER NOT ACTIVATED"), K.ACCOUNT, "activation"),
    "user without rights": (outcome(403, "x", "USER HAS NO RIGHTS TO COMPANY"), K.ACCOUNT, "administrator"),
    "several companies": (
        outcome(400, "x", "USER BELONGS TO MULTIPLE COMPANIES, NO COMPANY ID GIVEN"),
        K.CREDENTIALS,
        "UUID",
    ),
    "user not found": (outcome(404, "x", "USER NOT FOUND"), K.CREDENTIALS, "company add"),
    "company not found": (outcome(404, "x", "COMPANY NOT FOUND"), K.CREDENTIALS, "company add"),
    "locked": (outcome(403, "x", "COMPANY ACCOUNT IS LOCKED"), K.ACCOUNT, "unlock"),
    "not set up": (outcome(403, "x", "COMPANY HAS NOT COMPLETED FIRST TIME WIZARD"), K.ACCOUNT, "first-time"),
    "a bare 403": (outcome(403, "forbidden", "Forbidden"), K.NO_ACCESS, "portal"),
    "nothing at all": (outcome(), K.NO_ACCESS, "portal"),
    "a body that means nothing": (outcome(401, None, "\u202e((((, Unauthorized ("), K.NO_ACCESS, "portal"),
}


@pytest.mark.parametrize(("said", "kind", "todo"), CASES.values(), ids=CASES)
def test_every_stop_has_its_row(said, kind, todo):
    """Each documented stop of a company is recognised, and the advice says what to do."""
    cause = judge_hold(said)

    assert cause.kind is kind
    assert todo in cause.advice
    assert not said.http_status or str(said.http_status) in cause.words


@pytest.mark.parametrize("said", [case[0] for case in CASES.values()], ids=CASES)
def test_words_alone_tell_nearly_the_same(said):
    """A cause known in words only, as the check of a hold gives it, leads to the same advice unless a code decided."""
    by_words = judge_words(explain(said, NOT_LET_IN))

    assert by_words.kind is judge_hold(said).kind
    assert judge_words(by_words.words).kind is by_words.kind


def test_words_of_the_operator_alone_are_kept():
    assert judge_words("Unauthorized").words.endswith("(Unauthorized)")
    assert judge_words("something new").words == "something new"
    assert judge_words("").advice


def test_every_row_has_its_source_and_advice():
    assert {row.kind for row in ROWS} == set(HoldKind)
    for row in ROWS:
        assert row.source.startswith("contract section"), row.words
        assert len(row.advice) > 40, row.words

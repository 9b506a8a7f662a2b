"""The verdict table: every text, code and key of the contract, written out by hand with what it must mean."""

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.domain.cause import OWNERS, Cause, Owner
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.routing_verdicts import Failure
from pipeline.domain.way import REROUTES, Way

ANY_WAY = {*REROUTES, Way.RESEND, Way.CLOSE}
NO_EINVOICE = {Way.EMAIL, Way.PRINT, Way.RESEND, Way.CLOSE}
NO_PRINT = {Way.EINVOICE, Way.EMAIL, Way.RESEND, Way.CLOSE}
AS_NEW = {Way.RESEND, Way.CLOSE}
AGAIN = {Way.RETRY, Way.RESEND, Way.CLOSE}

# What the operator says after it had taken the invoice: text, row, cause, ways.
TEXTS = [
    ("The invoice could not be sent to the print service. Print service is not enabled", "print-not-enabled", Cause.COMPANY_SETTINGS, ANY_WAY),
    ("Print disabled", "print-not-enabled", Cause.COMPANY_SETTINGS, ANY_WAY),
    ("Bank network is not activated", "bank-network-not-activated", Cause.COMPANY_SETTINGS, ANY_WAY),
    ("bank network not activated", "bank-network-not-activated", Cause.COMPANY_SETTINGS, ANY_WAY),
    ("Duplicate invoice number 1001", "duplicate-number", Cause.COMPANY_SETTINGS, AS_NEW),
    ("Invoice number 1001 has already been sent", "duplicate-number", Cause.COMPANY_SETTINGS, AS_NEW),
    ("Blocked by stop_duplicate_numbers", "duplicate-number", Cause.COMPANY_SETTINGS, AS_NEW),
    ("Held: multiple recipients found", "several-recipients", Cause.COMPANY_SETTINGS, ANY_WAY),
    ("Not enough recipient information", "not-enough-recipient-details", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("ERROR: NO CUSTOMER INFORMATION FOUND", "not-enough-recipient-details", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("Invalid recipient email address", "invalid-email", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("invalid recipient email", "invalid-email", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("Recipient e-mail address is not valid", "invalid-email", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("Operator id missing or unknown and recipient was not found in the directory", "operator-not-found", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("operator id missing and recipient not in directory", "operator-not-found", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("Wrong operator", "operator-not-found", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("No routing found for the invoice", "no-route", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("wrong e-address", "no-route", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("Recipient was not found in the directory", "no-route", Cause.RECIPIENT_ADDRESS, ANY_WAY),
    ("The receiving operator could not deliver the invoice", "not-delivered", Cause.RECIPIENT_UNREACHABLE, ANY_WAY),
    ("Network was not being able to deliver the invoice", "not-delivered", Cause.RECIPIENT_UNREACHABLE, ANY_WAY),
    ("[BR-CO-10]-Sum of Invoice line net amount differs", "validation-rule", Cause.CONTENT, NO_EINVOICE),
    ("PEPPOL-EN16931-R010 Buyer electronic address MUST be provided", "validation-rule", Cause.CONTENT, NO_EINVOICE),
    ("Schematron validation failed", "validation-rule", Cause.CONTENT, NO_EINVOICE),
    ("Missing due date", "due-date-or-payment-details", Cause.CONTENT, NO_EINVOICE),
    ("Due date is missing", "due-date-or-payment-details", Cause.CONTENT, NO_EINVOICE),
    ("EPI details are invalid", "due-date-or-payment-details", Cause.CONTENT, NO_EINVOICE),
    ("ERROR: DATE FORMAT INVALID FOR due_date", "due-date-or-payment-details", Cause.CONTENT, NO_EINVOICE),
    ("Too many attachments", "attachments-too-many", Cause.CONTENT, NO_PRINT),
    ("The attachments have too many pages", "attachments-too-many", Cause.CONTENT, NO_PRINT),
    ("Attachment exceeds 50 MB", "attachments-too-many", Cause.CONTENT, NO_PRINT),
]  # fmt: skip

# What it says instead of taking the invoice: text, code, row, cause, ways.
REFUSALS = [
    ("Unauthorized", None, "company-not-verified", Cause.COMPANY, AGAIN),
    ("ERROR: GLOBAL DAILY INVOICE LIMIT (@500) REACHED", None, "company-daily-limit", Cause.COMPANY, AGAIN),
    ("USER DAILY INVOICE LIMIT (5) REACHED", None, "company-daily-limit", Cause.COMPANY, AGAIN),
    ("ERROR: VENDOR API KEY DISABLED", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: USER NOT ACTIVATED", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: USER HAS NO RIGHTS TO COMPANY", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: USER BELONGS TO MULTIPLE COMPANIES, NO COMPANY ID GIVEN", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: USER NOT FOUND", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: COMPANY NOT FOUND", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: COMPANY ACCOUNT IS LOCKED", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: COMPANY HAS NOT COMPLETED FIRST TIME WIZARD", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: BID ALREADY TAKEN", None, "company-account", Cause.COMPANY, AGAIN),
    ("ERROR: FILE a.xml NOT FOUND, INVOICE WAS NOT CREATED", None, "file-lost", Cause.OPERATOR, AGAIN),
    ("Request parameters are invalid (file is empty)", "invalid_parameters", "refused-as-invalid", Cause.CONTENT, AS_NEW),
    ("such a request is not taken", "413", "refused-as-too-large", Cause.CONTENT, AS_NEW),
    ("such a request is not taken", "415", "refused-as-wrong-kind", Cause.CONTENT, AS_NEW),
    ("no access", "auth_unauthorized", "refused-company", Cause.COMPANY, AGAIN),
    (None, "invalid_credentials", "refused-company", Cause.COMPANY, AGAIN),
    (None, "forbidden", "refused-company", Cause.COMPANY, AGAIN),
    ("taken", "profile_eia_conflict", "refused-company", Cause.COMPANY, AGAIN),
    ("Transmission id in use", "document_duplicate_transmission_id", "refused-uuid-taken", Cause.OPERATOR, AS_NEW),
    ("wrong state", "document_in_invalid_state", "refused-by-state", Cause.OPERATOR, AGAIN),
    ("not there", "not_found", "refused-by-state", Cause.OPERATOR, AGAIN),
    ("Invalid recipient email", "invalid_parameters", "invalid-email", Cause.RECIPIENT_ADDRESS, AS_NEW),
]  # fmt: skip

# An action key where the operator gave no text.
KEYS = [
    ("action_route_failed", "route-failed", Cause.RECIPIENT_ADDRESS),
    ("action_sent_email_failed", "email-failed", Cause.RECIPIENT_ADDRESS),
    ("action_delivery_failed", "delivery-failed", Cause.RECIPIENT_UNREACHABLE),
    ("action_trx_fail", "delivery-failed", Cause.RECIPIENT_UNREACHABLE),
]

LANES = {
    Cause.RECIPIENT_ADDRESS: "accountant",
    Cause.RECIPIENT_UNREACHABLE: "accountant",
    Cause.CONTENT: "accountant",
    Cause.COMPANY_SETTINGS: "accountant",
    Cause.COMPANY: "engineer",
    Cause.OPERATOR: "engineer",
    Cause.UNKNOWN: "engineer",
}


def judge(**failure):
    return builtin_table().judge(Failure(**{"refused": False, **failure}))


@pytest.mark.parametrize(("text", "row", "cause", "ways"), TEXTS, ids=[each[0] for each in TEXTS])
def test_each_failure_text_has_its_verdict(text, row, cause, ways):
    verdict = judge(text=text, key="action_error", channel="EINVOICE")

    assert (verdict.row, verdict.cause, verdict.owner) == (row, cause, LANES[cause])
    assert verdict.ways == ways


@pytest.mark.parametrize(
    ("text", "code", "row", "cause", "ways"), REFUSALS, ids=[f"{each[0]}-{each[1]}" for each in REFUSALS]
)
def test_each_refusal_has_its_verdict(text, code, row, cause, ways):
    verdict = judge(refused=True, text=text, code=code)

    assert (verdict.row, verdict.cause, verdict.owner) == (row, cause, LANES[cause])
    assert verdict.ways == ways


@pytest.mark.parametrize(("key", "row", "cause"), KEYS, ids=[each[0] for each in KEYS])
def test_each_key_has_its_verdict_without_text(key, row, cause):
    verdict = judge(key=key, text=" ")

    assert (verdict.row, verdict.cause, verdict.ways) == (row, cause, ANY_WAY)


@pytest.mark.parametrize("key", [each[0] for each in KEYS])
def test_key_never_judges_an_unknown_text(key):
    assert judge(key=key, text="Snow on the line").row == "unknown"


@pytest.mark.parametrize("key", [None, "action_error", "action_send_fail", "action_seen"])
def test_failure_without_reason_is_unknown(key):
    assert judge(key=key).row == "unknown"


@pytest.mark.parametrize(
    "text",
    [
        "Recipient company not found",
        "Unauthorized use of the logo on page 2",
        "Unknown operator error",
        "The invoice was printed and then lost",
        "Deliver this due tomorrow",
        "The print service is on holiday",
    ],
)
def test_text_that_only_resembles_a_row_is_unknown(text):
    assert judge(text=text).row == "unknown"


def test_code_speaks_of_refusals_only():
    assert judge(refused=False, code="invalid_parameters", text="x").row == "unknown"


def test_text_is_found_across_line_breaks():
    assert judge(text="no\n  routing\tFOUND").row == "no-route"


def test_every_row_is_reached():
    reached = {each[1] for each in TEXTS} | {each[2] for each in REFUSALS} | {each[1] for each in KEYS}

    assert reached == builtin_table().names()


def test_every_row_names_the_lane_of_its_cause():
    assert {cause: owner.value for cause, owner in OWNERS.items()} == LANES
    assert all(row.owner is OWNERS[row.cause] for row in builtin_table().rows)


def test_no_row_allows_what_its_conditions_make_impossible():
    refused_rows = [row for row in builtin_table().rows if row.refused]

    assert not any(row.ways & REROUTES for row in refused_rows)


def test_unknown_is_open_to_everything_a_person_may_do():
    held, refused = judge(text="Snow on the line"), judge(text="Snow on the line", refused=True)

    assert (held.cause, held.owner) == (Cause.UNKNOWN, Owner.ENGINEER)
    assert held.ways == ANY_WAY
    assert refused.ways == AGAIN


# Every row of the table has one of these in its pattern; a text without any of them is one that nobody knows.
WORDS = [
    "unauthorized",
    "limit",
    "key",
    "user",
    "company",
    "bid",
    "print",
    "bank",
    "number",
    "recipient",
    "customer",
    "mail",
    "operator",
    "rout",
    "address",
    "deliver",
    "schematron",
    "br-",
    "peppol-",
    "si-",
    "date",
    "epi",
    "attachment",
    "pages",
    "file",
]


@settings(deadline=None)
@given(
    text=st.text(min_size=1),
    key=st.sampled_from([None, "action_error", *(each[0] for each in KEYS)]),
    channel=st.sampled_from([None, "EINVOICE", "EMAIL", "PRINT", "SCAN"]),
    refused=st.booleans(),
)
def test_any_text_nobody_knows_is_unknown(text, key, channel, refused):
    assume(text.strip() and not any(word in text.casefold() for word in WORDS))

    verdict = judge(text=text, key=key, channel=channel, refused=refused)

    assert (verdict.row, verdict.cause, verdict.owner) == ("unknown", Cause.UNKNOWN, Owner.ENGINEER)


@settings(deadline=None)
@given(
    text=st.none() | st.sampled_from([each[0] for each in TEXTS]) | st.text(),
    code=st.none() | st.sampled_from([each[1] for each in REFUSALS]),
    key=st.none() | st.sampled_from([each[0] for each in KEYS]),
    refused=st.booleans(),
)
def test_close_is_always_allowed_and_the_impossible_never(text, code, key, refused):
    verdict = judge(text=text, code=code, key=key, refused=refused)

    assert Way.CLOSE in verdict.ways
    assert not verdict.ways & (REROUTES if refused else {Way.RETRY})


def test_own_rows_are_asked_first():
    table = builtin_table()
    own = dataclasses.replace(table.rows[0], name="ours", text=None, codes=frozenset({"413"}), refused=True)

    judged = table.with_rows_before([own]).judge(Failure(refused=True, code="413"))

    assert judged.row == "ours"
    assert table.judge(Failure(refused=True, code="413")).row == "refused-as-too-large"

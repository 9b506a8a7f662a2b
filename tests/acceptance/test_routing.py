"""Failures on their way through the reroute-or-resend queue, with real workers, broker, database and operator."""

import pytest

from .installation import Installation
from .operator_side import COMPANY_A, COMPANY_B
from .papers import papers

BY_EMAIL = f"""
[[rule]]
name = "wrong address: by e-mail"
cause = "recipient_address"
way = "email"

[company."{COMPANY_A}"]
automatic = ["email", "resend"]
"""
ANEW = f"""
[[rule]]
name = "bank network: anew"
verdict = "bank-network-not-activated"
way = "resend"

[company."{COMPANY_A}"]
automatic = ["email", "resend"]
"""
NO_ROUTE = {"fault": "failed", "text": "No routing found for the invoice", "key": "action_route_failed"}

UNCLEAR = {
    "timeout before it was done": {"fault": "silence"},
    "timeout after it was done": {"fault": "accept-then-silence"},
    "reset before it was done": {"fault": "reset-before"},
    "reset after it was done": {"fault": "reset-after-accept"},
    "500 that lied": {"fault": "lying-500"},
    "500 that did not": {"fault": "500"},
    "503 that lied": {"fault": "lying-503"},
}


@pytest.mark.parametrize("fault", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_an_unclear_reroute_ends_with_one_delivery(line: Installation, fault: dict):
    """Whatever the first answer to a reroute was, the operator carries out exactly one, and it is delivered."""
    line.rules(BY_EMAIL)
    line.operator.faults([NO_ROUTE, {**fault, "on": "reroute", "attempt": "first"}])

    sent = line.submit(papers(3))

    line.wait_for_state(sent, "delivered", seconds=60)
    ledger = line.assert_once(sent)
    for one in sent:
        assert [each["channel"] for each in ledger[one.uuid]["reroutes"]] == ["EMAIL"]
        assert ledger[one.uuid]["status"] == "DELIVERED"
    assert {case.status for case in line.cases(sent).values()} == {"resolved"}


def test_a_resend_is_one_new_invoice(line: Installation):
    """What is sent anew is held once under a new UUID of its own; the old one stays as it failed."""
    line.rules(ANEW)
    bank = {"fault": "failed", "text": "Bank network is not activated", "key": "action_error"}
    uploads_lost = {"fault": "accept-then-silence", "attempt": "first"}
    line.operator.faults([bank, uploads_lost])
    sent = line.submit(papers(2))
    line.wait_until_taken(sent, seconds=30)
    line.operator.faults([uploads_lost])

    line.wait_for_state(sent, "superseded", seconds=60)

    successors = line.successors(sent)
    line.wait_for_state(successors, "delivered", seconds=60)
    ledger = line.operator.ledger()
    assert len(successors) == len(sent)
    assert all(ledger[one.uuid]["held"] == 1 for one in [*sent, *successors])
    assert {ledger[one.uuid]["status"] for one in sent} == {"FAILED"}


OWNERS = {
    "Not enough recipient information": ("recipient_address", "accountant"),
    "Invalid recipient email address": ("recipient_address", "accountant"),
    "No routing found for the invoice": ("recipient_address", "accountant"),
    "The receiving operator could not deliver the invoice": ("recipient_unreachable", "accountant"),
    "The invoice could not be sent to the print service. Print service is not enabled": (
        "company_settings",
        "accountant",
    ),
    "Bank network is not activated": ("company_settings", "accountant"),
    "Internal processing code 7731": ("unknown", "engineer"),
}


def test_each_failure_is_a_case_of_the_right_owner(line: Installation):
    """Failures of different causes each become one case with cause and owner; nothing is done about them unasked."""
    sent = line.submit(papers(len(OWNERS)), company=COMPANY_B, wait_seconds=3)
    told = dict(zip((one.uuid for one in sent), OWNERS, strict=True))
    line.operator.faults([{"fault": "failed", "uuid": uuid, "text": text} for uuid, text in told.items()])

    line.wait_for_state(sent, "failed", seconds=30)
    line.wait_for(lambda: len(line.cases(sent)) == len(sent), "a case each", sent, seconds=20)

    for uuid, case in line.cases(sent).items():
        assert (case.cause, case.owner) == OWNERS[told[uuid]]
        assert case.status == "open"
        assert told[uuid] in line.reason(uuid)
    ledger = line.operator.ledger()
    assert not any(ledger[one.uuid]["reroutes"] for one in sent)


def test_a_delivery_that_fails_late_becomes_a_case(line: Installation):
    """DELIVERED that turns FAILED afterwards is seen, and becomes a case like any other."""
    line.operator.faults([{"fault": "delivered-then-failed", "seconds": 3}])

    sent = line.submit(papers(5))

    line.wait_for_state(sent, "delivered", seconds=30)
    line.wait_for_state(sent, "failed", seconds=40)
    line.wait_for(lambda: len(line.cases(sent)) == len(sent), "a case each", sent, seconds=20)
    assert {case.owner for case in line.cases(sent).values()} == {"accountant"}


def test_an_invoice_the_operator_lost_is_sent_again_under_its_uuid(line: Installation):
    """What the operator accepted and then does not know is proven absent, and uploaded again under the same UUID."""
    line.operator.knobs(settle_seconds=600)
    sent = line.submit(papers(3))
    line.wait_until_taken(sent, seconds=30)

    line.operator.lose(sent[0].uuid)

    line.wait_for(lambda: line.events(sent)[sent[0].uuid]["accepted_unknown"] > 0, "the incident", sent, seconds=40)
    line.wait_until_taken(sent, seconds=40)
    ledger = line.assert_once(sent)
    assert [ledger[one.uuid]["uploads"] for one in sent] == [2, 1, 1]

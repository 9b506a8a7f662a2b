from collections import Counter
from uuid import UUID

import httpx
import pytest

MIXTURE_TEXTS = {
    "Not enough recipient information": ("action_route_failed", "EINVOICE"),
    "The invoice could not be sent to the print service. Print service is not enabled": ("action_send_fail", "PRINT"),
    "Invalid recipient email address": ("action_sent_email_failed", "EMAIL"),
    "No routing found for the invoice": ("action_route_failed", "EINVOICE"),
    "Operator id missing or unknown and recipient was not found in the directory": ("action_send_fail", "EINVOICE"),
    "Bank network is not activated": ("action_error", "EINVOICE"),
    "The receiving operator could not deliver the invoice": ("action_trx_fail", "EINVOICE"),
    "Internal processing code 7731": ("action_error", "EINVOICE"),
}
SAMPLE = 500
EMAIL = {"recipient_email": "a@example.invalid"}


def failed(found):
    return found["status"] == "FAILED"


def last_error(operator, uuid):
    found = operator.until(f"/v1/invoices/{uuid}", failed)
    action = [one for one in found["actions"] if one["type"] == "ERROR"][-1]
    return action.get("message"), action.get("key"), action.get("channel"), found["destination"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            {"text": "Post box is full", "key": "action_sent_email_failed", "channel": "EMAIL"},
            ("Post box is full", "action_sent_email_failed", "EMAIL", "EMAIL"),
        ),
        ({"text": "Post box is full"}, ("Post box is full", "action_route_failed", "EINVOICE", "EINVOICE")),
        (
            {"text": "Post box is full", "channel": "PRINT"},
            ("Post box is full", "action_send_fail", "PRINT", "PRINT"),
        ),
    ],
    ids=["all", "text alone", "text and channel"],
)
def test_failure_says_what_the_script_says(operator, uuid, rule, expected):
    """A rule names message, key and channel of the ERROR action that its invoices get."""
    operator.control("PUT", "faults", [{"fault": "failed", **rule}])
    operator.upload(uuid=uuid)

    assert last_error(operator, uuid) == expected


def test_late_failure_says_what_the_script_says(operator, uuid):
    """A late failure has the message and key of its rule too."""
    rule = {"fault": "delivered-then-failed", "seconds": 0.1, "text": "Came back", "key": "action_trx_fail"}
    operator.control("PUT", "faults", [rule])
    operator.upload(uuid=uuid)

    assert last_error(operator, uuid) == ("Came back", "action_trx_fail", "EINVOICE", "EINVOICE")


@pytest.mark.parametrize("fault", ["status", "lying-status"])
def test_refusal_has_the_code_and_message_of_the_script(operator, uuid, fault):
    """A rule names status, code and message of the error body; whether an invoice exists is the fault's affair."""
    words = {"status": 422, "code": "invalid_parameters", "message": "Not enough recipient information"}
    operator.control("PUT", "faults", [{"fault": fault, "attempt": "first", **words}])

    answer = operator.upload(uuid=uuid)

    assert answer.status_code == 422
    assert answer.json() == {"code": words["code"], "message": words["message"], "details": []}
    assert operator.held(uuid)["held"] == (fault == "lying-status")


def test_rule_for_always_decides_once_for_each_invoice(operator):
    """`always` draws once per UUID: what is refused is refused at every upload, the others never."""
    operator.control("PUT", "faults", [{"fault": "status", "status": 422, "probability": 0.5, "attempt": "always"}])
    operator.control("PUT", "knobs", {"duplicate_status": 201})
    uuids = [str(UUID(int=at)) for at in range(1, 21)]

    seen = {uuid: {operator.upload(uuid=uuid).status_code for _ in range(3)} for uuid in uuids}

    assert set(map(frozenset, seen.values())) == {frozenset({201}), frozenset({422})}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"fault": "503", "text": "x"}, "are of invoices that fail"),
        ({"fault": "pending-long", "key": "action_error"}, "are of invoices that fail"),
        ({"fault": "failed", "code": "x"}, "are of faults that answer a status"),
        ({"fault": "silence", "message": "x"}, "are of faults that answer a status"),
        ({"fault": "failed", "key": "action_gone"}, "`key` is an action key of the specification"),
        ({"fault": "failed", "channel": "PIGEON"}, "`channel` is one of"),
        ({"fault": "failed", "text": 5}, "`text` cannot be 5"),
        ({"fault": "failed", "on": "show"}, "works on upload or reroute"),
        ({"fault": "failed", "attempt": "never"}, "`attempt` is any, first or a number"),
    ],
)
def test_words_without_a_speaker_are_refused(operator, rule, complaint):
    """Words on a fault that says nothing, and words that the specification does not know, are mistakes of the script."""
    answer = operator.http.put("/_simulator/faults", json=[rule])

    assert answer.status_code == 400
    assert complaint in answer.json()["message"]


def test_script_is_told_in_the_form_it_is_taken(operator):
    """What GET tells of a script with words can be PUT again."""
    told = operator.control("PUT", "faults", "mixed-failures")

    assert operator.control("PUT", "faults", {"rules": told["rules"]})["rules"] == told["rules"]


def test_rerouted_invoice_fails_again_by_script(operator, uuid):
    """A reroute has a fate of its own: the script lets it fail again, once, and the ledger says so."""
    operator.upload(uuid=uuid)
    rule = {"fault": "failed", "on": "reroute", "attempt": "first", "text": "Again", "key": "action_trx_fail"}
    operator.control("PUT", "faults", [rule])

    assert operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json=EMAIL).status_code == 200
    assert last_error(operator, uuid)[:2] == ("Again", "action_trx_fail")
    operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json=EMAIL)

    operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] == "DELIVERED")
    assert operator.held(uuid)["faults"] == ["reroute failed"]


@pytest.fixture
def mixture(operator):
    """mixed-failures without its silences, played on a sample of first uploads and then on a reroute of each."""
    script = operator.control("PUT", "faults", {"name": "mixed-failures", "seed": 1})
    rules = [rule | {"seconds": 0.0} if "seconds" in rule else rule for rule in script["rules"]]
    operator.control("PUT", "faults", {"rules": rules, "seed": 1})
    operator.control("PUT", "knobs", {"settle_seconds": 0})
    answers = {}
    for uuid in (str(UUID(int=at << 64)) for at in range(1, SAMPLE + 1)):
        try:
            answers[uuid] = operator.upload(uuid=uuid)
        except httpx.TransportError:
            answers[uuid] = None
    return operator, answers


def errors_of(operator, uuids):
    for uuid in uuids:
        for action in operator.call("GET", f"/v1/invoices/{uuid}/actions?type[]=ERROR").json():
            yield uuid, action


def test_mixture_fails_one_in_ten_for_every_reason(mixture):
    """mixed-failures brings every text with its key and channel, one that nobody knows, and late failures."""
    operator, _ = mixture
    invoices = operator.control("GET", "ledger")["invoices"]
    uuids = [uuid for uuid, entry in invoices.items() if entry["held"]]
    late = {uuid for uuid, entry in invoices.items() if "delivered-then-failed" in entry["faults"]}

    seen = Counter()
    for uuid, action in errors_of(operator, uuids):
        if uuid not in late:
            seen[action["message"], action["key"], action["channel"]] += 1

    known = {(text, *words) for text, words in MIXTURE_TEXTS.items()}
    assert known < set(seen)
    assert [words[0].partition(":")[0] for words in set(seen) - known] == ["Validation of the invoice failed"]
    assert 0.07 * SAMPLE < sum(seen.values()) < 0.13 * SAMPLE
    assert 0.004 * SAMPLE < len(late) < 0.03 * SAMPLE


def test_mixture_refuses_some_for_good(mixture):
    """About one in a hundred is refused at upload with the operator's code, creates nothing, and is refused again."""
    operator, answers = mixture
    refused = [uuid for uuid, answer in answers.items() if answer is not None and answer.status_code == 422]

    assert 1 <= len(refused) < 0.03 * SAMPLE
    assert {answers[uuid].json()["code"] for uuid in refused} == {"invalid_parameters"}
    assert {operator.held(uuid)["held"] for uuid in refused} == {0}
    assert {operator.upload(uuid=uuid).status_code for uuid in refused} == {422}


def test_mixture_answers_badly(mixture):
    """Uploads and reroutes get unclear answers; few reroutes fail, and what was executed is counted."""
    operator, answers = mixture
    failures = [u for u, one in operator.control("GET", "ledger")["invoices"].items() if one["status"] == "FAILED"]

    reroutes = Counter()
    for uuid in [*failures, *[uuid for uuid, answer in answers.items() if answer is not None][:150]]:
        try:
            answer = operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json=EMAIL)
            reroutes[str(answer.status_code)] += 1
        except httpx.TransportError:
            reroutes["none"] += 1

    entries = operator.control("GET", "ledger")["invoices"].values()
    struck = Counter(name for entry in entries for name in entry["faults"] if name.startswith("reroute "))
    assert Counter(answer is None for answer in answers.values())[True] >= 0.02 * SAMPLE
    assert set(struck) == {
        "reroute accept-then-silence", "reroute reset-after-accept", "reroute reset-before", "reroute lying-500",
        "reroute silence", "reroute failed",
    }  # fmt: skip
    assert reroutes["200"] > 0.6 * reroutes.total()
    lost_before = struck["reroute reset-before"] + struck["reroute silence"]
    executed = reroutes.total() - lost_before - reroutes["404"]
    assert operator.control("GET", "ledger/totals")["reroutes"] == executed

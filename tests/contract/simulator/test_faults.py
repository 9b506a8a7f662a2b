import json
import time
from collections import Counter
from uuid import UUID, uuid4

import httpx
import pytest

from simulator.faults import Fault

DONE = {"accept-then-silence", "reset-after-accept", "slow", "lying-500", "lying-502", "lying-503", "lying-504"}


def exchange(operator, uuid):
    """Upload once and tell what the sender sees."""
    try:
        return str(operator.upload(uuid=uuid, timeout=1).status_code)
    except httpx.ReadTimeout:
        return "silence"
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return "reset"


@pytest.mark.parametrize(
    ("fault", "seen", "held"),
    [
        ("accept-then-silence", "silence", 1), ("reset-after-accept", "reset", 1), ("reset-before", "reset", 0),
        ("silence", "silence", 0), ("lying-500", "500", 1), ("lying-502", "502", 1), ("lying-503", "503", 1),
        ("lying-504", "504", 1), ("500", "500", 0), ("502", "502", 0), ("503", "503", 0), ("504", "504", 0),
        ("429", "429", 0), ("slow", "201", 1), ("token-storm", "401", 0),
    ],
)  # fmt: skip
def test_fault_does_what_it_says_once(operator, uuid, fault, seen, held):
    """Each fault shows the sender one thing and leaves the operator with what it says; the ledger tells both."""
    rule = {"fault": fault, "attempt": "first"} | ({"seconds": 0.1} if fault == "slow" else {})
    operator.control("PUT", "faults", [rule])

    assert exchange(operator, uuid) == seen
    assert (operator.held(uuid)["held"], operator.held(uuid)["faults"]) == (held, [fault])

    operator.tokens.clear()
    assert exchange(operator, uuid) == ("422" if held else "201")
    assert (operator.held(uuid)["held"], operator.held(uuid)["uploads"]) == (1, 2)
    assert operator.control("GET", "ledger/totals")["faults"] == {fault: 1}


@pytest.mark.parametrize("name", ["accept-then-silence", "reset-after-accept", "lying-500"])
def test_named_script_strikes_every_first_upload(operator, name):
    """These three scripts strike the first upload of every UUID, and only the first."""
    operator.control("PUT", "faults", name)
    uuids = [str(uuid4()) for _ in range(3)]

    first = [exchange(operator, uuid) for uuid in uuids]
    second = [exchange(operator, uuid) for uuid in uuids]

    assert set(first) == {{"accept-then-silence": "silence", "reset-after-accept": "reset", "lying-500": "500"}[name]}
    assert set(second) == {"422"}


def test_silence_ends_when_the_cap_is_reached(operator, uuid):
    """A connection that is never answered is reset at last, even if the client waits."""
    operator.control("PUT", "knobs", {"silence_seconds": 0.2})
    operator.control("PUT", "faults", "accept-then-silence")

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        operator.upload(uuid=uuid, timeout=10)


@pytest.mark.parametrize("retry_after", [None, 7, "Wed, 01 Jan 2031 00:00:00 GMT"])
@pytest.mark.parametrize("fault", ["429", "503"])
def test_retry_after_is_sent_as_scripted(operator, fault, retry_after):
    """429 and 503 come with Retry-After in seconds, as a date, or without."""
    rule = {"fault": fault} | ({"retry_after": retry_after} if retry_after else {})
    operator.control("PUT", "faults", [rule])

    answer = operator.upload()

    assert answer.headers.get("Retry-After") == (str(retry_after) if retry_after else None)
    assert set(answer.json()) == {"code", "message", "details"}


def test_rule_strikes_only_whom_it_names(operator, companies, uuid):
    """A rule for a company or a UUID leaves the others alone."""
    operator.control("PUT", "faults", [{"fault": "503", "company": companies[1]}, {"fault": "500", "uuid": uuid}])

    statuses = [
        operator.upload().status_code,
        operator.upload(company=companies[1]).status_code,
        operator.upload(uuid=uuid).status_code,
    ]

    assert statuses == [201, 503, 500]


def test_numbered_attempt_is_struck(operator, uuid):
    """A rule may strike the n-th upload of a UUID."""
    operator.control("PUT", "faults", [{"fault": "503", "attempt": 2}])
    operator.control("PUT", "knobs", {"duplicate_status": 201})

    assert [exchange(operator, uuid) for _ in range(3)] == ["201", "503", "201"]


@pytest.mark.parametrize(
    ("channel", "method", "path"),
    [
        ("list", "GET", "/v1/invoices"),
        ("show", "GET", "/v1/invoices/{uuid}"),
        ("actions", "GET", "/v1/invoices/{uuid}/actions"),
        ("read", "GET", "/v1/invoices/{uuid}"),
        ("any", "GET", "/v1/invoices"),
    ],
)
def test_reading_can_be_struck_too(operator, uuid, channel, method, path):
    """Faults work on lists, invoices and actions."""
    operator.upload(uuid=uuid)
    operator.control("PUT", "faults", [{"fault": "503", "on": channel, "attempt": "first"}])

    statuses = [operator.call(method, path.format(uuid=uuid)).status_code for _ in range(2)]

    assert statuses == [503, 200]


@pytest.mark.parametrize("fault", ["503", "reset-before"])
def test_token_endpoint_can_be_struck(operator, companies, fault):
    """Faults work on the token endpoint, for one company if the rule says so."""
    operator.control("PUT", "faults", [{"fault": fault, "on": "token", "attempt": "first", "company": companies[0]}])

    assert operator.ask_token(companies[1]).status_code == 200
    if fault == "503":
        assert operator.ask_token().status_code == 503
    else:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            operator.ask_token()
    assert operator.ask_token().status_code == 200


def test_token_storm_ends_all_tokens(operator, companies):
    """One storm and nobody's token works any more."""
    operator.bearer(companies[0])
    operator.bearer(companies[1])
    operator.control("PUT", "faults", [{"fault": "token-storm", "company": companies[0], "attempt": "first"}])

    assert operator.upload().status_code == 401
    assert operator.upload(company=companies[1]).status_code == 401
    operator.tokens.clear()
    assert operator.upload(company=companies[1]).status_code == 201


def test_invoice_stays_pending_for_long(operator, uuid):
    """pending-long keeps an invoice PENDING far beyond the settle time."""
    operator.control("PUT", "faults", [{"fault": "pending-long", "seconds": 1.5}])
    operator.upload(uuid=uuid)
    started = time.monotonic()

    operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] == "DELIVERED")

    assert time.monotonic() - started > 1.2


def test_invoice_fails_at_once(operator, uuid):
    """failed answers 201 PENDING, and the next look says FAILED with the cause in an ERROR action."""
    operator.control("PUT", "faults", [{"fault": "failed"}])

    assert operator.upload(uuid=uuid).json()["status"] == "PENDING"
    assert operator.call("GET", f"/v1/invoices/{uuid}").json()["status"] == "FAILED"
    last = operator.call("GET", f"/v1/invoices/{uuid}/actions").json()[-1]
    assert last["type"] == "ERROR"
    assert last["message"]


def test_delivered_invoice_fails_later(operator, uuid):
    """delivered-then-failed is DELIVERED first and FAILED after."""
    operator.control("PUT", "faults", [{"fault": "delivered-then-failed", "seconds": 0.5}])
    operator.upload(uuid=uuid)

    operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] == "DELIVERED")
    operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] == "FAILED")

    types = [action["type"] for action in operator.call("GET", f"/v1/invoices/{uuid}/actions").json()]
    assert types == ["CREATED", "SENT", "ERROR"]


def test_same_seed_strikes_the_same_uploads_in_any_order(operator):
    """What strikes a UUID depends on seed, UUID and upload number, not on who came first."""
    rules = {"rules": [{"fault": "503", "probability": 0.5}, {"fault": "429", "probability": 0.5}], "seed": 42}
    uuids = [str(UUID(int=at)) for at in range(1, 41)]

    def strikes(order, seed):
        operator.fresh()
        operator.control("PUT", "faults", rules | {"seed": seed})
        return {uuid: exchange(operator, uuid) for uuid in order}

    assert strikes(uuids, 42) == strikes(list(reversed(uuids)), 42)
    assert strikes(uuids, 42) != strikes(uuids, 43)


@pytest.mark.parametrize(("name", "kinds"), [("everyday", 2), ("storm", 6)])
def test_named_scripts_bring_a_mix(operator, name, kinds):
    """everyday strikes a few per cent, storm a large part, with many kinds of faults."""
    operator.control("PUT", "faults", [])
    script = operator.control("PUT", "faults", {"name": name, "seed": 3})
    quick = [rule | {"seconds": 0.01} for rule in script["rules"] if rule["fault"] != "accept-then-silence"]
    operator.control("PUT", "faults", {"rules": quick, "seed": 3})
    seen = Counter()

    for at in range(120):
        operator.tokens.setdefault(("", ""), "")
        try:
            seen[exchange(operator, str(UUID(int=at + 1)))] += 1
        except (KeyError, httpx.HTTPError, json.JSONDecodeError):
            operator.tokens.clear()
            seen["no token"] += 1
        if seen["401"]:
            operator.tokens.clear()

    struck = operator.control("GET", "ledger/totals")["faults"]
    assert len(struck) >= kinds
    assert (seen["201"] > 100) == (name == "everyday")


def test_every_fault_is_accepted_by_the_script(operator):
    """The list of faults has no member that a script could not name."""
    script = operator.control("PUT", "faults", [{"fault": fault.value} for fault in Fault])

    assert [rule["fault"] for rule in script["rules"]] == [fault.value for fault in Fault]
    assert set(script["rules"][0]) >= {"fault", "on", "probability", "attempt"}


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("thunder", "no fault script called 'thunder'"),
        ([{"fault": "thunder"}], "rule 1: `fault` is one of"),
        ([{"fault": "503"}, {"fault": "503", "on": "moon"}], "rule 2: `on` is one of"),
        ([{"fault": "503", "probability": 2}], "`probability` lies between 0 and 1"),
        ([{"fault": "503", "probability": "often"}], "`probability` cannot be 'often'"),
        ([{"fault": "503", "attempt": 0}], "`attempt` is any, first or a number"),
        ([{"fault": "slow", "seconds": -1}], "`seconds` is not negative"),
        ([{"fault": "status", "status": 200}], "`status` lies between 400 and 599"),
        ([{"fault": "503", "when": 1}], "has no field 'when'"),
        ([{"fault": "failed", "on": "list"}], "fate of an invoice"),
        ([5], "rule 1: is not a table"),
        (5, "a fault script is"),
    ],
)
def test_wrong_script_is_refused_and_changes_nothing(operator, script, complaint):
    """A wrong script answers 400 saying which rule is wrong and how; the old one stays."""
    answer = operator.http.put("/_simulator/faults", json=script)

    assert answer.status_code == 400
    assert complaint in answer.json()["message"]
    assert operator.control("GET", "faults")["name"] == "calm"

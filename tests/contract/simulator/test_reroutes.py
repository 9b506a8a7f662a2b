import httpx
import pytest

EMAIL = {"recipient_email": "a@example.invalid"}
EINVOICE = {"recipient_eia": "003712345678", "recipient_operator": "DABAFIHH"}
PRINT = {
    "recipient_name": "Ostaja", "recipient_address1": "Katu 1", "recipient_post_code": "00100",
    "recipient_post_office": "Helsinki", "recipient_country": "FI",
}  # fmt: skip
BODIES = {"email": EMAIL, "einvoice": EINVOICE, "print": PRINT}


def reroute(operator, uuid, channel="email", timeout=10):
    return operator.call("PUT", f"/v1/invoices/{uuid}/reroute/{channel}", json=BODIES[channel], timeout=timeout)


def shown(operator, uuid):
    return operator.call("GET", f"/v1/invoices/{uuid}").json()


def test_executed_reroutes_are_in_the_ledger(operator, uuid):
    """Every executed reroute is listed in order, with channel, fields and instant, and counted in the totals."""
    operator.upload(uuid=uuid)
    for channel in BODIES:
        reroute(operator, uuid, channel)

    listed = operator.held(uuid)["reroutes"]

    assert [(one["channel"], one["fields"]) for one in listed] == [
        ("EMAIL", EMAIL), ("EINVOICE", EINVOICE), ("PRINT", PRINT),
    ]  # fmt: skip
    assert [one["at"] for one in listed] == sorted(one["at"] for one in listed)
    assert operator.control("GET", "ledger/totals")["reroutes"] == 3


@pytest.mark.parametrize(
    ("fault", "executed"),
    [
        ("accept-then-silence", 1), ("reset-after-accept", 1), ("lying-500", 1), ("lying-503", 1), ("slow", 1),
        ("reset-before", 0), ("silence", 0), ("500", 0), ("429", 0), ("status", 0),
    ],
)  # fmt: skip
def test_reroute_counts_as_it_was_executed(operator, uuid, fault, executed):
    """A reroute whose answer was lost counts, one that was lost on the way does not; the actions tell the same."""
    operator.upload(uuid=uuid)
    rule = {"fault": fault, "on": "reroute", "attempt": "first"} | ({"seconds": 0.1} if fault == "slow" else {})
    operator.control("PUT", "faults", [rule])

    try:
        seen = reroute(operator, uuid, timeout=0.5).status_code
    except httpx.TransportError:
        seen = None

    actions = operator.call("GET", f"/v1/invoices/{uuid}/actions?type[]=INFO").json()
    assert (seen == 200) == (fault == "slow")
    assert (len(operator.held(uuid)["reroutes"]), len(actions)) == (executed, executed)
    assert operator.held(uuid)["faults"] == [f"reroute {fault}"]
    assert reroute(operator, uuid).status_code == 200
    assert len(operator.held(uuid)["reroutes"]) == executed + 1


def test_only_failed_invoices_are_rerouted_by_knob(operator, uuid):
    """With the knob on, a second reroute of an invoice that is on its way again answers 409 and is not executed."""
    operator.control("PUT", "knobs", {"reroute_needs_failed": True, "settle_seconds": 100})
    operator.control("PUT", "faults", [{"fault": "failed"}])
    operator.upload(uuid=uuid)

    answers = [reroute(operator, uuid) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["code"] == "document_in_invalid_state"
    assert len(operator.held(uuid)["reroutes"]) == 1


def test_silent_reroute_leaves_no_action(operator, uuid):
    """With the knob on, a reroute makes the invoice PENDING and says nothing of itself."""
    operator.control("PUT", "knobs", {"reroute_silent": True, "settle_seconds": 0})
    operator.upload(uuid=uuid)
    operator.control("PUT", "knobs", {"settle_seconds": 100})

    reroute(operator, uuid)

    every = "type[]=RECEIVED&type[]=CREATED&type[]=SENT&type[]=DELIVERED&type[]=INFO&type[]=ERROR"
    actions = operator.call("GET", f"/v1/invoices/{uuid}/actions?{every}").json()
    assert [one["type"] for one in actions] == ["CREATED", "SENT", "DELIVERED"]
    assert (shown(operator, uuid)["status"], shown(operator, uuid)["destination"]) == ("PENDING", "EMAIL")


def test_reroute_shows_later_by_knob(operator, uuid):
    """For so long a rerouted invoice looks as before, and the ledger has the reroute all the same."""
    operator.control("PUT", "knobs", {"reroute_lag_seconds": 0.6})
    operator.control("PUT", "faults", [{"fault": "failed", "on": "upload"}])
    operator.upload(uuid=uuid)

    reroute(operator, uuid)
    before = shown(operator, uuid)
    operator.until(f"/v1/invoices/{uuid}/actions?type[]=INFO", bool)
    after = operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] == "DELIVERED")

    assert (before["status"], before["destination"], before["actions"][-1]["type"]) == ("FAILED", "EINVOICE", "ERROR")
    assert after["destination"] == "EMAIL"
    assert len(operator.held(uuid)["reroutes"]) == 1

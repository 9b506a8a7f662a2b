"""What a person does in the operator's own console, and what the operator does by mistake."""

from uuid import uuid4

import pytest


def shown(operator, uuid):
    return operator.call("GET", f"/v1/invoices/{uuid}").json()


def test_lost_invoice_is_unknown_and_can_come_again(operator, uuid):
    """A lost invoice is nowhere to be read; uploaded again it is held once and nothing is doubled."""
    operator.upload(uuid=uuid)
    other = operator.upload().json()["id"]

    operator.control("DELETE", f"invoices/{uuid}")
    gone = operator.held(uuid)
    listed = operator.call("GET", "/v1/invoices?direction=SENT").json()
    totals = operator.control("GET", "ledger/totals")
    again = operator.upload(uuid=uuid)

    assert (gone["held"], gone["status"], gone["lost"], gone["uploads"]) == (0, None, 1, 1)
    assert [one["id"] for one in listed] == [other]
    assert (totals["held"], totals["lost"]) == (1, 1)
    assert again.status_code == 201
    assert (operator.held(uuid)["held"], operator.held(uuid)["held_sha256"]) == (1, gone["sha256"][0])
    after = operator.control("GET", "ledger/totals")
    assert (after["held"], after["doubled"]) == (2, 0)


def test_lost_invoice_cannot_be_read_at_all(operator, uuid):
    """GET by id and the actions of a lost invoice answer 404."""
    operator.upload(uuid=uuid)

    operator.control("DELETE", f"invoices/{uuid}")

    paths = (f"/v1/invoices/{uuid}", f"/v1/invoices/{uuid}/actions")
    assert [operator.call("GET", path).status_code for path in paths] == [404, 404]


def test_invoice_is_set_to_failed_by_hand(operator, uuid):
    """FAILED by hand has the text and key given, and is in the partner's list of errors."""
    operator.upload(uuid=uuid)
    operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] == "DELIVERED")

    words = {"text": "Returned by the recipient", "key": "action_delivery_failed"}
    answer = operator.control("PUT", f"invoices/{uuid}", {"status": "FAILED", **words})

    found = shown(operator, uuid)
    assert answer == {"id": uuid, "status": "FAILED"}
    assert found["status"] == "FAILED"
    assert (found["actions"][-1]["message"], found["actions"][-1]["key"]) == (words["text"], words["key"])
    path = "/v1/partner/invoice_delivery_actions/outbound_errors?happened_after=2020-01-01T00:00:00Z"
    listed = operator.call("GET", path, scope="partner:invoice_delivery_actions").json()
    assert [one["invoice_id"] for one in listed] == [uuid]


@pytest.mark.parametrize("status", ["DELIVERED", "PENDING"])
def test_failed_invoice_is_set_on_another_course(operator, uuid, status):
    """A failed invoice can be set to delivered or back to pending, and stays so."""
    operator.control("PUT", "faults", [{"fault": "failed"}])
    operator.upload(uuid=uuid)

    operator.control("PUT", f"invoices/{uuid}", {"status": status})

    assert shown(operator, uuid)["status"] == status
    assert operator.held(uuid)["status"] == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("{uuid}", {"status": "GONE"}, 400),
        ("{uuid}", {}, 400),
        ("{uuid}", {"status": "FAILED", "key": "action_gone"}, 400),
        ("{uuid}", {"status": "FAILED", "channel": "PIGEON"}, 400),
        ("{uuid}", [], 400),
        (str(uuid4()), {"status": "FAILED"}, 404),
    ],
    ids=["status", "nothing", "key", "channel", "list", "unknown"],
)
def test_wrong_course_is_refused(operator, uuid, path, body, status):
    """What the console cannot do it says, and nothing changes."""
    operator.upload(uuid=uuid)

    answer = operator.http.put(f"/_simulator/invoices/{path.format(uuid=uuid)}", json=body)

    assert answer.status_code == status
    assert shown(operator, uuid)["status"] != "FAILED"


def test_unknown_invoice_cannot_be_lost(operator):
    """Losing what is not there answers 404."""
    assert operator.http.delete(f"/_simulator/invoices/{uuid4()}").status_code == 404


def test_company_is_verified_from_outside(operator, companies):
    """An unverified company reads its own state, sends nothing, and goes on with a fresh token once verified."""
    path = "/v1/company/authorization"
    operator.control("PUT", f"companies/{companies[0]}", {"company_state": "UNVERIFIED"})
    before = operator.call("GET", path).json()
    refused = operator.upload()

    operator.control("PUT", f"companies/{companies[0]}", {"company_state": "VERIFIED"})
    after = operator.call("GET", path).json()
    operator.tokens.clear()

    assert (before["company_state"], before["auth_state"]) == ("UNVERIFIED", "NONE")
    assert (refused.status_code, refused.json()["message"]) == (401, "Unauthorized")
    assert (after["company_state"], after["auth_state"]) == ("VERIFIED", "SIGNED")
    assert operator.upload().status_code == 201


def test_unverified_company_keeps_a_part_of_an_alias(operator, companies):
    """Of `eui` an unverified company gets what it may have, and none of the invoice scopes."""
    operator.control("PUT", f"companies/{companies[0]}", {"company_state": "UNVERIFIED"})

    scopes = operator.ask_token(scope="eui global").json()["scope"].split()

    assert sorted(scopes) == ["company:read", "company:write", "lookup"]


def test_partner_scopes_are_granted_by_knob(operator):
    """Whether a company is a partner is a knob; without it the list of errors cannot be read."""
    operator.control("PUT", "knobs", {"partner_scopes": False})

    scope = "company:read partner:invoice_delivery_actions"
    granted = operator.ask_token(scope=scope).json()["scope"]
    path = "/v1/partner/invoice_delivery_actions/outbound_errors?happened_after=2020-01-01T00:00:00Z"

    assert granted == "company:read"
    assert operator.call("GET", path, scope=scope).status_code == 401


def test_daily_limit_speaks_the_operators_words(operator, companies):
    """Beyond the daily limit the answer has the published text; without the limit the company goes on."""
    operator.control("PUT", f"companies/{companies[0]}", {"daily_limit": 1})
    operator.upload()

    refused = operator.upload()
    operator.control("PUT", f"companies/{companies[0]}", {"daily_limit": 0})

    assert refused.json()["message"] == "USER DAILY INVOICE LIMIT (1) REACHED"
    assert operator.upload().status_code == 201


def test_partner_list_has_pages_and_a_window(operator):
    """The list of errors is cut by happened_after and happened_before and comes in pages, oldest first."""
    operator.control("PUT", "faults", [{"fault": "failed"}])
    uuids = [operator.upload().json()["id"] for _ in range(3)]
    path, scope = "/v1/partner/invoice_delivery_actions/outbound_errors", "partner:invoice_delivery_actions"

    def found(**params):
        params = {"happened_after": "2020-01-01T00:00:00Z", **params}
        return [one["invoice_id"] for one in operator.call("GET", path, scope=scope, params=params).json()]

    assert found(per_page=2) == uuids[:2]
    assert found(per_page=2, page=2) == uuids[2:]
    assert found(happened_before="2021-01-01T00:00:00Z") == []
    created_at = shown(operator, uuids[1])["actions"][-1]["happened_at"]
    assert set(found(happened_after=created_at)) >= {uuids[2]}
    assert uuids[0] not in found(happened_after=created_at)

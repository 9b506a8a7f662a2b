from uuid import uuid4

import pytest


def delivered(found):
    return found["status"] == "DELIVERED"


def test_invoice_is_delivered_with_its_actions(operator, uuid):
    """PENDING turns DELIVERED after the settle time, with CREATED, SENT and DELIVERED actions."""
    operator.upload(uuid=uuid)
    operator.until(f"/v1/invoices/{uuid}", delivered)

    actions = operator.call("GET", f"/v1/invoices/{uuid}/actions").json()

    assert [(one["type"], one["key"]) for one in actions] == [
        ("CREATED", "action_created"), ("SENT", "action_trx_ok"), ("DELIVERED", "action_delivered"),
    ]  # fmt: skip


def test_list_shows_sent_invoices_only_when_asked(operator, uuid):
    """Direction defaults to RECEIVED, where nothing is."""
    operator.upload(uuid=uuid)

    assert operator.call("GET", "/v1/invoices").json() == []
    assert [one["id"] for one in operator.call("GET", "/v1/invoices?direction=SENT").json()] == [uuid]


@pytest.mark.parametrize("name", ["ids", "ids[]"])
def test_list_by_ids(operator, companies, name):
    """Up to 100 ids are asked at once; unknown ones and another company's are left out."""
    mine = [operator.upload().json()["id"] for _ in range(3)]
    theirs = operator.upload(company=companies[1]).json()["id"]
    params = {"direction": "SENT", "per_page": 100, name: [*mine[:2], theirs, str(uuid4())]}

    found = operator.call("GET", "/v1/invoices", params=params).json()

    assert {one["id"] for one in found} == set(mine[:2])


def test_more_than_100_ids_are_refused(operator):
    """The 101st id is one too many."""
    ids = [str(uuid4()) for _ in range(101)]

    assert operator.call("GET", "/v1/invoices", params={"ids[]": ids}).status_code == 400


@pytest.mark.parametrize(("form", "name", "understood"), [
    ("both", "ids", True), ("both", "ids[]", True), ("plain", "ids", True), ("plain", "ids[]", False),
    ("brackets", "ids", False), ("brackets", "ids[]", True),
])  # fmt: skip
def test_array_spelling_follows_the_knob(operator, form, name, understood):
    """An array in the spelling that is not understood is ignored, as if it had not been sent."""
    operator.control("PUT", "knobs", {"array_form": form})
    operator.upload()

    found = operator.call("GET", "/v1/invoices", params={"direction": "SENT", name: str(uuid4())}).json()

    assert (found == []) is understood


def test_list_filters(operator, uuid):
    """Status, number and creation time narrow the list."""
    operator.upload(uuid=uuid)
    created_at = operator.until(f"/v1/invoices/{uuid}", delivered)["created_at"]

    def found(**params):
        return len(operator.call("GET", "/v1/invoices", params={"direction": "SENT", **params}).json())

    assert [found(status="DELIVERED"), found(status="FAILED")] == [1, 0]
    assert [found(number="T-1"), found(number="T-2")] == [1, 0]
    assert [found(created_at_start="2020-01-01T00:00:00Z"), found(created_at_end="2020-01-01T00:00:00Z")] == [1, 0]
    assert created_at.endswith("Z")


@pytest.mark.parametrize(
    "params",
    [
        {"direction": "BOTH"},
        {"status": "SENT"},
        {"per_page": 101},
        {"page": 0},
        {"page": "x"},
        {"created_at_start": "x"},
    ],
)
def test_wrong_query_is_refused(operator, params):
    """Queries are held to the specification."""
    assert operator.call("GET", "/v1/invoices", params=params).json()["code"] == "invalid_parameters"


def test_paging_headers_follow_the_knob(operator):
    """Pages are 10 long by default; the totals in the headers can be switched off."""
    for _ in range(11):
        operator.upload()

    first = operator.call("GET", "/v1/invoices?direction=SENT")
    second = operator.call("GET", "/v1/invoices?direction=SENT&page=2")
    operator.control("PUT", "knobs", {"paging_headers": False})

    assert (len(first.json()), len(second.json())) == (10, 1)
    assert (first.headers["X-Total"], first.headers["X-Total-Pages"], first.headers["X-Next-Page"]) == ("11", "2", "2")
    assert "X-Total" not in operator.call("GET", "/v1/invoices?direction=SENT").headers


@pytest.mark.parametrize(("knob", "path"), [
    ("list_lag_seconds", "/v1/invoices?direction=SENT"), ("show_lag_seconds", "/v1/invoices/{uuid}"),
])  # fmt: skip
def test_new_invoice_lags_by_knob(operator, uuid, knob, path):
    """A new invoice can be missing from lists, or from its own address, for a while."""
    operator.control("PUT", "knobs", {knob: 1000})
    operator.upload(uuid=uuid)
    path = path.format(uuid=uuid)

    lagging = operator.call("GET", path).text
    operator.control("PUT", "knobs", {knob: 0})

    assert uuid not in lagging
    assert uuid in operator.call("GET", path).text


@pytest.mark.parametrize("path", ["", "/actions", "/files/x", "/assignment"])
def test_other_companys_invoice_is_not_found(operator, uuid, companies, path):
    """Another company's invoice looks exactly like one that does not exist."""
    operator.upload(uuid=uuid)

    theirs = operator.call("GET", f"/v1/invoices/{uuid}{path}", company=companies[1])
    nobodys = operator.call("GET", f"/v1/invoices/{uuid4()}{path}", company=companies[1])

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == nobodys.json()


def test_actions_leave_information_out_unless_asked(operator, uuid):
    """INFO actions come only when their type is asked for."""
    operator.upload(uuid=uuid)
    operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json={"recipient_email": "a@example.invalid"})

    default = operator.call("GET", f"/v1/invoices/{uuid}/actions").json()
    asked = operator.call("GET", f"/v1/invoices/{uuid}/actions?type[]=INFO&type[]=CREATED").json()

    assert "INFO" not in {one["type"] for one in default}
    assert {one["type"] for one in asked} == {"INFO", "CREATED"}


EMAIL = {"recipient_email": "a@example.invalid"}
EINVOICE = {"recipient_eia": "003712345678", "recipient_operator": "DABAFIHH"}
PRINT = {
    "recipient_name": "Ostaja", "recipient_address1": "Katu 1", "recipient_post_code": "00100",
    "recipient_post_office": "Helsinki", "recipient_country": "FI",
}  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "body", "status", "key"),
    [
        ("email", EMAIL, "DELIVERED", "action_delivered"),
        ("einvoice", EINVOICE, "DELIVERED", "action_delivered"),
        ("email", {"recipient_email": "nonsense"}, "FAILED", "action_sent_email_failed"),
        ("einvoice", EINVOICE | {"recipient_operator": "NOBODY"}, "FAILED", "action_route_failed"),
        ("print", PRINT, "FAILED", "action_send_fail"),
    ],
    ids=["email", "einvoice", "bad address", "unknown operator", "print off"],
)
def test_reroute_puts_the_invoice_on_a_new_way(operator, uuid, channel, body, *, status, key):
    """A reroute makes the invoice PENDING again and takes it to the end of the new channel."""
    operator.upload(uuid=uuid)
    operator.until(f"/v1/invoices/{uuid}", delivered)
    operator.control("PUT", "knobs", {"settle_seconds": 0.5})

    answer = operator.call("PUT", f"/v1/invoices/{uuid}/reroute/{channel}", json=body)
    after = operator.call("GET", f"/v1/invoices/{uuid}").json()
    end = operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] != "PENDING")

    assert (answer.status_code, answer.content) == (200, b"")
    assert (after["status"], after["destination"]) == ("PENDING", channel.upper())
    assert end["status"] == status
    assert end["actions"][-1]["key"] == key


def test_print_fails_until_the_company_switches_it_on(operator, uuid):
    """Print is off by default and fails with the operator's own words; the settings switch it on."""
    operator.upload(uuid=uuid)
    path = f"/v1/invoices/{uuid}"
    operator.call("PUT", f"{path}/reroute/print", json=PRINT)
    failed = operator.until(path, lambda found: found["status"] == "FAILED")

    settings = {"send_invoice_print": {"enabled": True}, "details": {}, "address": {}, "invoice_notifications": {}}
    assert operator.call("PATCH", "/v1/company/settings", json=settings).status_code == 204
    operator.call("PUT", f"{path}/reroute/print", json=PRINT)

    assert failed["actions"][-1]["message"].endswith("Print service is not enabled")
    assert operator.until(path, delivered)["actions"][-1]["key"] == "action_sent_paper"


def test_reroute_is_refused_by_knob(operator, uuid):
    """The operator may refuse reroutes with 409; the invoice goes on as it was."""
    operator.control("PUT", "knobs", {"reroute_status": 409})
    operator.upload(uuid=uuid)

    answer = operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json=EMAIL)

    assert (answer.status_code, answer.json()["code"]) == (409, "document_in_invalid_state")
    assert operator.call("GET", f"/v1/invoices/{uuid}").json()["destination"] == "EINVOICE"


@pytest.mark.parametrize(
    ("fields", "destination", "status"),
    [
        ({}, "EINVOICE", "DELIVERED"),
        ({"recipient_eia": "EMAIL", "recipient_email": "a@example.invalid"}, "EMAIL", "DELIVERED"),
        ({"email_settings[xml_format]": "FINVOICE30", "recipient_email": "a@example.invalid"}, "EMAIL", "DELIVERED"),
        ({"disabled_routes": "einvoice", "recipient_email": "a@example.invalid"}, "EMAIL", "DELIVERED"),
        ({"disabled_routes": ["einvoice", "email"]}, "PRINT", "FAILED"),
        ({"disabled_routes": ["einvoice", "email", "print"]}, "EINVOICE", "FAILED"),
        ({"recipient_eia": "0037", "recipient_operator": "NOBODY", "recipient_email": "a@b.c"}, "EINVOICE", "FAILED"),
        ({"recipient_eia": "EMAIL", "recipient_email": "a@b.c, d@e.f"}, "EMAIL", "FAILED"),
        ({"prevent_routing": "true"}, None, "DELIVERED"),
    ],
    ids=[
        "default",
        "EMAIL",
        "xml by email",
        "no einvoice",
        "print only",
        "nothing left",
        "no fallback",
        "list",
        "none",
    ],
)
def test_route_follows_the_senders_word(operator, uuid, fields, destination, status):
    """E-invoice, then e-mail, then print; an address with operator has no fallback."""
    operator.upload(uuid=uuid, **fields)

    end = operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] != "PENDING")

    assert (end.get("destination"), end["status"]) == (destination, status)


def test_failures_are_listed_for_the_partner(operator, companies, uuid):
    """A partner sees failed invoices of all linked companies in one list, under both names of it."""
    operator.control("PUT", "faults", [{"fault": "failed", "uuid": uuid}])
    operator.upload(uuid=uuid, company=companies[1])
    operator.upload()
    scope = "partner:invoice_delivery_actions"

    for path in ("invoice_delivery_actions/outbound_errors", "invoice_events/sent_errors"):
        found = operator.call("GET", f"/v1/partner/{path}?happened_after=2020-01-01T00:00:00Z", scope=scope).json()
        assert found == [{"company_id": companies[1], "invoice_id": uuid}]
    late = "/v1/partner/invoice_events/sent_errors?happened_after=2100-01-01T00:00:00Z"
    assert operator.call("GET", late, scope=scope).json() == []


def test_small_endpoints_answer_by_the_specification(operator, uuid, companies):
    """Events, assignments, authorisation and look-ups do the least that a client needs."""
    operator.upload(uuid=uuid)
    path = f"/v1/invoices/{uuid}"

    assert operator.call("PATCH", f"{path}/invoice_events", json={"state": "HANDLED"}).status_code == 204
    assert operator.call("GET", f"{path}/assignment").status_code == 404
    assert operator.call("POST", f"{path}/assignment", json={"collection_type": "collection"}).status_code == 202
    assert operator.call("GET", f"{path}/assignment").json() == {"status": "pending"}
    assert operator.call("GET", f"{path}/detect_results").status_code == 200
    assert operator.call("GET", f"/v1/companies/{companies[1]}/status").json()["company_state"] == "VERIFIED"
    sign = {"auth_email": "a@example.invalid", "locale": "FI"}
    assert operator.call("POST", "/v1/company/authorization", json=sign).json()["count"] == 1
    assert operator.call("GET", "/v1/definitions/operators").json()[0]["operator_id"] == "PEPPOL"
    assert len(operator.call("GET", "/v1/lookup/receivers?network[]=PEPPOL&eia=0216:1").json()) == 1
    assert operator.call("GET", "/v1/nowhere").status_code == 404

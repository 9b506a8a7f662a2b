import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

EVENTS = ["DOCUMENTS.INVOICE.DELIVERED", "DOCUMENTS.INVOICE.DELIVERY_CONFIRMED", "DOCUMENTS.INVOICE.FAILED"]


@pytest.fixture
def listener():
    """A subscriber on this machine that notes what it gets and answers as told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    got = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.got = 200, got
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def subscribe(operator, url, events=EVENTS, **more):
    body = {"destination_type": "WEBHOOK", "destination": url, "events": events, **more}
    return operator.call("POST", "/v1/company/notifications", json=body)


def posted(operator, count):
    """Wait until so many webhooks were posted or lost."""

    def enough(totals):
        return sum(n for name, n in totals["requests"].items() if name.startswith("webhook")) >= count

    return operator.until_control("ledger/totals", enough)["requests"]


def test_delivery_is_told_to_the_subscriber(operator, listener, uuid):
    """DELIVERED and DELIVERY_CONFIRMED are posted with company, invoice and number."""
    subscribe(operator, listener.url)
    operator.upload(uuid=uuid)

    posted(operator, 2)

    assert sorted(one["event"] for one in listener.got) == EVENTS[:2]
    assert listener.got[0]["event_data"]["invoice_id"] == uuid
    assert listener.got[0]["event_data"]["invoice_number"] == "T-1"


def test_failure_is_told_with_its_message(operator, listener, uuid):
    """FAILED carries the error message."""
    operator.control("PUT", "faults", [{"fault": "failed"}])
    subscribe(operator, listener.url, EVENTS[2:])
    operator.upload(uuid=uuid)

    posted(operator, 1)

    assert listener.got[0]["event_data"]["error_message"]


def test_vendor_hears_of_all_linked_companies(operator, listener, companies):
    """A vendor's webhook hears of other companies with the vendor's key; a company's does not."""
    subscribe(operator, listener.url, EVENTS[:1], destination_type="VENDOR_WEBHOOK", vendor_key="demo-vendor-key")
    subscribe(operator, listener.url + "/own", EVENTS[:1])
    operator.upload(company=companies[1])

    posted(operator, 1)

    assert [one["company_id"] for one in listener.got] == [companies[1]]


@pytest.mark.parametrize(
    ("knobs", "count"),
    [({"webhook_lost": 1}, 0), ({"webhook_duplicated": 1}, 2), ({}, 1)],
    ids=["lost", "doubled", "plain"],
)
def test_webhook_is_lost_or_doubled_by_knob(operator, listener, knobs, count):
    """Webhooks can be lost or come twice."""
    operator.control("PUT", "knobs", knobs)
    subscribe(operator, listener.url, EVENTS[:1])
    operator.upload()

    posted(operator, max(count, 1))

    assert len(listener.got) == count


def test_webhook_is_overtaken_by_knob(operator, listener):
    """A reordered webhook still comes, later than it should."""
    operator.control("PUT", "knobs", {"webhook_reordered": 1})
    subscribe(operator, listener.url, EVENTS[:1])
    operator.upload()

    posted(operator, 1)

    assert len(listener.got) == 1


def test_unacknowledged_webhook_is_sent_again_when_asked(operator, listener):
    """Only 2xx acknowledges; what nobody acknowledged comes again on request, once acknowledged it does not."""
    listener.status = 500
    subscribe(operator, listener.url, EVENTS[:1])
    first = operator.upload().json()["id"]
    posted(operator, 1)

    listener.status = 200
    resend = "/v1/company/notifications_resend_unacknowledged"
    assert operator.call("POST", resend).status_code == 200
    posted(operator, 2)
    operator.call("POST", resend)
    later = operator.upload().json()["id"]

    def ids():
        return [one["event_data"]["invoice_id"] for one in listener.got]

    operator.until_control("health", lambda _: later in ids())  # by then a wrong third copy would have come
    assert ids() == [first, first, later]


def test_nothing_is_posted_to_another_machine(operator):
    """Destinations beyond loopback are taken but never posted to."""
    subscribe(operator, "http://203.0.113.1/hook", EVENTS[:1])
    operator.upload()

    assert posted(operator, 1)["webhook refused-destination"] == 1


def test_subscriptions_are_made_listed_shown_and_removed(operator, companies):
    """A subscription can be made, found and removed by its owner alone."""
    made = subscribe(operator, "http://127.0.0.1:9/hook").json()
    path = f"/v1/company/notifications/{made['id']}"

    assert operator.call("GET", "/v1/company/notifications").json() == [made]
    assert operator.call("GET", path).json() == made
    assert operator.call("DELETE", path, company=companies[1]).status_code == 404
    assert operator.call("DELETE", path).status_code == 204
    assert operator.call("GET", "/v1/company/notifications").json() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"destination_type": "EMAIL"},
        {"destination": "ftp://x"},
        {"events": ["NEWS"]},
        {"destination_type": "VENDOR_WEBHOOK"},
    ],
    ids=["type", "url", "event", "vendor without key"],
)
def test_wrong_subscription_is_refused(operator, wrong):
    """What cannot be posted to is not taken."""
    body = {"destination_type": "WEBHOOK", "destination": "http://127.0.0.1:9/", "events": EVENTS} | wrong

    assert operator.call("POST", "/v1/company/notifications", json=body).status_code == 400


@pytest.mark.parametrize("status", [301, 404, 503])
def test_only_success_acknowledges(operator, listener, status):
    """Redirects and errors acknowledge nothing: the webhook comes again when asked for."""
    listener.status = status
    subscribe(operator, listener.url, EVENTS[:1])
    operator.upload()
    posted(operator, 1)

    operator.call("POST", "/v1/company/notifications_resend_unacknowledged")
    posted(operator, 2)

    assert len(listener.got) == 2


def test_lost_webhook_comes_when_asked_for(operator, listener):
    """A webhook that was lost is unacknowledged, so resending brings it."""
    operator.control("PUT", "knobs", {"webhook_lost": 1})
    subscribe(operator, listener.url, EVENTS[:1])
    operator.upload()
    posted(operator, 1)

    operator.call("POST", "/v1/company/notifications_resend_unacknowledged")
    posted(operator, 2)

    assert len(listener.got) == 1


@pytest.mark.parametrize(
    ("status", "events"), [("FAILED", EVENTS[2:]), ("DELIVERED", EVENTS[:2]), ("PENDING", [])], ids=str
)
def test_change_by_hand_is_told(operator, listener, uuid, status, events):
    """What a person does in the operator's console is posted like anything else."""
    operator.control("PUT", "knobs", {"settle_seconds": 100})
    subscribe(operator, listener.url)
    operator.upload(uuid=uuid)

    operator.control("PUT", f"invoices/{uuid}", {"status": status, "text": "By hand"})
    other = operator.upload().json()["id"]
    operator.control("PUT", f"invoices/{other}", {"status": "DELIVERED"})

    def of_other(_):
        return {one["event"] for one in listener.got if one["event_data"]["invoice_id"] == other} == set(EVENTS[:2])

    operator.until_control("health", of_other)  # by then anything of the first has come
    own = [one for one in listener.got if one["event_data"]["invoice_id"] == uuid]
    assert sorted(one["event"] for one in own) == events
    assert {one["event_data"].get("error_message") for one in own if status == "FAILED"} <= {"By hand"}


def test_lost_invoice_is_told_of_no_more(operator, listener, uuid):
    """What lay ahead of an invoice that the operator lost is never posted."""
    subscribe(operator, listener.url, EVENTS[:1])
    operator.upload(uuid=uuid)
    operator.control("DELETE", f"invoices/{uuid}")
    other = operator.upload().json()["id"]

    operator.until_control("health", lambda _: listener.got)

    assert [one["event_data"]["invoice_id"] for one in listener.got] == [other]


def test_reroute_is_told_with_its_new_destination(operator, listener, uuid):
    """After a reroute the webhook names the channel that the invoice went by in the end."""
    operator.control("PUT", "faults", [{"fault": "failed"}])
    subscribe(operator, listener.url, EVENTS[:1])
    operator.upload(uuid=uuid)

    operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json={"recipient_email": "a@example.invalid"})
    posted(operator, 1)

    assert listener.got[0]["event_data"]["destination"] == "EMAIL"


def test_second_failure_has_a_luck_of_its_own(operator, listener):
    """Losses are drawn for each event: an invoice whose first failure was lost may still tell of its second."""
    operator.control("PUT", "knobs", {"webhook_lost": 0.5, "settle_seconds": 100})
    subscribe(operator, listener.url, EVENTS[2:])
    uuids = [operator.upload(uuid=str(UUID(int=at << 64))).json()["id"] for at in range(1, 21)]

    for text in ("first", "second"):
        for uuid in uuids:
            operator.control("PUT", f"invoices/{uuid}", {"status": "FAILED", "text": text})
    posted(operator, 40)

    told = {uuid: [] for uuid in uuids}
    for one in listener.got:
        told[one["event_data"]["invoice_id"]].append(one["event_data"]["error_message"])
    assert ["first"] in told.values()
    assert ["second"] in told.values()

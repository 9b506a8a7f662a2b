"""Invoices that somebody else put into the operator's books."""

import pytest


def test_invoice_from_outside_is_in_the_books(operator, companies, uuid):
    """An invoice entered by another hand is read like any other, and an upload under its UUID is a duplicate."""
    words = {"number": "X-9", "sum_tax": "12.50", "recipient": {"name": "Toinen Oy"}}
    answer = operator.control(
        "POST",
        f"invoices/{uuid}",
        {"company": companies[0], "document": operator.finvoice.decode("iso-8859-15"), **words},
    )

    shown = operator.call("GET", f"/v1/invoices/{uuid}").json()
    second = operator.upload(uuid=uuid)
    entry = operator.held(uuid)

    assert answer["id"] == uuid
    assert (shown["number"], shown["sum_tax"], shown["sum"]) == ("X-9", 12.5, 1000.0)
    assert (shown["recipient"]["name"], shown["sender"]["name"]) == ("Toinen Oy", "Myyjä Oy")
    assert second.status_code == 422
    assert (entry["from_outside"], entry["held"], entry["uploads"]) == (True, 1, 1)
    assert operator.control("GET", "ledger/totals")["doubled"] == 0


def test_invoice_from_outside_needs_no_document(operator, companies, uuid):
    """What the call states is enough; it is delivered and listed."""
    operator.control("POST", f"invoices/{uuid}", {"company": companies[0], "number": "7", "sum_tax": 3})

    found = operator.until(f"/v1/invoices/{uuid}", lambda found: found["status"] != "PENDING")

    assert (found["number"], found["sum_tax"]) == ("7", 3.0)
    assert [one["id"] for one in operator.call("GET", "/v1/invoices?direction=SENT").json()] == [uuid]


def test_second_invoice_from_outside_is_refused(operator, companies, uuid):
    """The books hold one invoice under a UUID."""
    operator.upload(uuid=uuid)

    answer = operator.http.post(f"/_simulator/invoices/{uuid}", json={"company": companies[0]})

    assert answer.status_code == 409
    assert operator.held(uuid)["from_outside"] is False


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "company is a text"),
        ({"company": "nobody"}, "company is the UUID of a company"),
        ({"colour": "red"}, "has no colour"),
        ({"sum": "much"}, "sum is an amount"),
        ({"recipient": {"shoe": "44"}}, "recipient is a table"),
    ],
)
def test_wrong_invoice_from_outside_is_refused(operator, companies, uuid, body, complaint):
    """A wrong entry answers 400 and leaves no invoice."""
    content = body if not body or "company" in body else {"company": companies[0], **body}

    answer = operator.http.post(f"/_simulator/invoices/{uuid}", json=content)

    assert (answer.status_code, operator.held(uuid)) == (400, {})
    assert complaint in answer.json()["message"]

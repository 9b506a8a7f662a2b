"""What can be done to an invoice that exists: reroute it, mark it handled, hand it to receivables, report it."""

from simulator import routing
from simulator.errors import Refusal, invalid_parameters, not_found
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import Invoice
from simulator.parameters import Parameter, table_of

SEND = ("invoice:send",)
RECEIVE = ("invoice:receive",)
COUNTRY_LENGTH = 2
EINVOICE = table_of(Parameter("recipient_eia", required=True), Parameter("recipient_operator", required=True))
EMAIL = table_of(Parameter("recipient_email", required=True))
PRINT = table_of(
    Parameter("recipient_name", required=True),
    Parameter("recipient_address1", required=True),
    Parameter("recipient_address2"),
    Parameter("recipient_post_code", required=True),
    Parameter("recipient_post_office", required=True),
    Parameter("recipient_state"),
    Parameter("recipient_country", required=True),
)
EVENTS = table_of(Parameter("state", choices=frozenset({"CREATED", "HANDLED"}), required=True))
ASSIGNMENT = table_of(
    Parameter("collection_type", choices=frozenset({"reminder_and_collection", "collection"}), required=True)
)
LANGUAGES = table_of(Parameter("lang", choices=frozenset({"FI", "SE", "NO", "DK", "NL", "EN"})))


def reroute_einvoice(call: Call) -> Answer:
    """PUT /v1/invoices/{id}/reroute/einvoice."""
    values = call.json_values(EINVOICE)
    wish = routing.Wish(eia=values.text("recipient_eia"), operator=values.text("recipient_operator"), own_operator=True)
    return _rerouted(call, wish, routing.EINVOICE)


def reroute_email(call: Call) -> Answer:
    """PUT /v1/invoices/{id}/reroute/email."""
    wish = routing.Wish(email=call.json_values(EMAIL).text("recipient_email"), force_email=True)
    return _rerouted(call, wish, routing.EMAIL)


def reroute_print(call: Call) -> Answer:
    """PUT /v1/invoices/{id}/reroute/print."""
    country = call.json_values(PRINT).text("recipient_country")
    if len(country) != COUNTRY_LENGTH or not country.isupper():
        raise invalid_parameters("recipient_country does not have a valid value")
    return _rerouted(call, routing.Wish(disabled=frozenset({"einvoice", "email"})), routing.PRINT)


def set_event(call: Call) -> Answer:
    """PATCH /v1/invoices/{id}/invoice_events."""
    state = call.json_values(EVENTS).text("state")
    call.invoice().event_state = state
    return Answer(204)


def show_assignment(call: Call) -> Answer:
    """GET /v1/invoices/{id}/assignment."""
    assignment = call.invoice().assignment
    if assignment is None:
        raise not_found()
    return Answer(body=assignment)


def assign(call: Call) -> Answer:
    """POST /v1/invoices/{id}/assignment: noted, and left pending; receivables are another service."""
    invoice = call.invoice()
    call.json_values(ASSIGNMENT)
    amount = call.json().get("collectable_amount")
    extra = {"collectable_amount": amount} if isinstance(amount, int | float) else {}
    invoice.assignment = {"status": "pending", **extra}
    return Answer(202)


def detect_results(call: Call) -> Answer:
    """GET /v1/invoices/{id}/detect_results: only received invoices are checked, so there is none."""
    call.query_values(LANGUAGES)
    call.invoice()
    return Answer(body={"status": ["DISABLED"], "executed_checks": [], "findings": []})


def reports(call: Call) -> Answer:
    """GET /v1/invoices/{id}/reports."""
    call.invoice()
    return Answer(body=[])


def report_definitions(_call: Call) -> Answer:
    """GET /v1/invoices/reports/definitions."""
    return Answer(body={"criteria": [], "disclaimer_text": ""})


def _rerouted(call: Call, wish: routing.Wish, channel: str) -> Answer:
    invoice = call.invoice()
    knobs = call.simulation.knobs
    if knobs.reroute_status != 200:  # noqa: PLR2004 - HTTP OK
        raise Refusal(knobs.reroute_status, "document_in_invalid_state", "Invoice cannot be rerouted in its state")
    way = routing.choose(wish, print_enabled=call.company.print_enabled)
    _divert(call, invoice, way, channel)
    return Answer(200)


def _divert(call: Call, invoice: Invoice, way: routing.Way, channel: str) -> None:
    invoice.destination = channel
    steps = routing.timeline(way, at=call.now, knobs=call.simulation.knobs, fate=None, uuid=invoice.id)
    invoice.divert([routing.rerouted(call.now, channel), *steps], call.now)
    call.simulation.announce(invoice, since=call.now)


ENDPOINTS = (
    Endpoint("PUT", "/v1/invoices/{id}/reroute/einvoice", reroute_einvoice, SEND, "reroute", needs_verified=True),
    Endpoint("PUT", "/v1/invoices/{id}/reroute/email", reroute_email, SEND, "reroute", needs_verified=True),
    Endpoint("PUT", "/v1/invoices/{id}/reroute/print", reroute_print, SEND, "reroute", needs_verified=True),
    Endpoint("PATCH", "/v1/invoices/{id}/invoice_events", set_event, SEND + RECEIVE),
    Endpoint("GET", "/v1/invoices/{id}/assignment", show_assignment, SEND),
    Endpoint("POST", "/v1/invoices/{id}/assignment", assign, SEND),
    Endpoint("GET", "/v1/invoices/{id}/detect_results", detect_results, RECEIVE),
    Endpoint("GET", "/v1/invoices/{id}/reports", reports, RECEIVE),
    Endpoint("GET", "/v1/invoices/reports/definitions", report_definitions),
)

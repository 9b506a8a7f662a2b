"""What can be done to an invoice that exists: reroute it, mark it handled, hand it to receivables, report it."""

from http import HTTPStatus

from simulator import routing
from simulator.errors import Refusal, invalid_parameters, not_found
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import FAILED, Invoice, instant
from simulator.parameters import Parameter, Values, table_of

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
    return _rerouted(call, wish, routing.EINVOICE, values)


def reroute_email(call: Call) -> Answer:
    """PUT /v1/invoices/{id}/reroute/email."""
    values = call.json_values(EMAIL)
    return _rerouted(call, routing.Wish(email=values.text("recipient_email"), force_email=True), routing.EMAIL, values)


def reroute_print(call: Call) -> Answer:
    """PUT /v1/invoices/{id}/reroute/print."""
    values = call.json_values(PRINT)
    country = values.text("recipient_country")
    if len(country) != COUNTRY_LENGTH or not country.isupper():
        raise invalid_parameters("recipient_country does not have a valid value")
    return _rerouted(call, routing.Wish(disabled=frozenset({"einvoice", "email"})), routing.PRINT, values)


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


def _rerouted(call: Call, wish: routing.Wish, channel: str, values: Values) -> Answer:
    invoice = call.invoice()
    _check_state(call, invoice)
    way = routing.fated(routing.choose(wish, print_enabled=call.company.print_enabled), call.fate)
    fields = {name: sent[-1] for name, sent in values.as_table().items()}
    call.simulation.ledger.reroute(invoice.id, channel=channel, fields=fields, at=instant(call.now))
    _divert(call, invoice, way, channel)
    return Answer(200)


def _check_state(call: Call, invoice: Invoice) -> None:
    knobs = call.simulation.knobs
    wrong_state = knobs.reroute_needs_failed and invoice.status(call.now) != FAILED
    if wrong_state or knobs.reroute_status != HTTPStatus.OK:
        status = HTTPStatus.CONFLICT if wrong_state else knobs.reroute_status
        raise Refusal(status, "document_in_invalid_state", "Invoice cannot be rerouted in its state")


def _divert(call: Call, invoice: Invoice, way: routing.Way, channel: str) -> None:
    knobs = call.simulation.knobs
    at = call.now + knobs.reroute_lag_seconds
    steps = routing.timeline(way, at=at, knobs=knobs, fate=call.fate, uuid=invoice.id)
    turn = routing.rerouted(at, channel, silent=knobs.reroute_silent)
    call.simulation.divert(invoice, [turn, *steps], call.now)


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

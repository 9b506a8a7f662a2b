"""The company's own affairs: authorisation, settings, webhook subscriptions."""

from simulator.companies import Company
from simulator.errors import invalid_parameters, not_found
from simulator.exchange import Answer, Call, Endpoint
from simulator.notifications import EVENTS, Subscription
from simulator.parameters import Parameter, table_of

READ = ("company:read",)
WRITE = ("company:write",)
OPERATOR = ("operator:notifications",)
SUBSCRIPTION = table_of(
    Parameter("destination_type", choices=frozenset({"WEBHOOK", "VENDOR_WEBHOOK"}), required=True),
    Parameter("destination", longest=2000, required=True),
    Parameter("vendor_key"),
    Parameter("events", many=True, required=True),
)
AUTHORIZATION = table_of(
    Parameter("auth_email", longest=255, required=True),
    Parameter("locale", choices=frozenset({"FI", "NO", "SE", "EN", "NL", "BE"}), required=True),
    Parameter("options"),
)


def show_authorization(call: Call) -> Answer:
    """GET /v1/company/authorization."""
    return Answer(body=_authorization(call.company))


def authorize(call: Call) -> Answer:
    """POST /v1/company/authorization: the sign request goes out; who signs it is PUT /_simulator/companies."""
    values = call.json_values(AUTHORIZATION)
    company = call.company
    company.auth_email = values.text("auth_email")
    if not company.verified:
        company.auth_state = "SENT"
    return Answer(body={"status": "SENT", "count": 1})


def show_status(call: Call) -> Answer:
    """GET /v1/companies/{id}/status: of companies with the same user key."""
    company = call.simulation.companies.get(call.names["id"])
    if company is None or company.user_key != call.company.user_key:
        raise not_found()
    return Answer(body=_authorization(company))


def list_companies(call: Call) -> Answer:
    """GET /v1/companies: those that the user of the token has access to."""
    key = call.company.user_key
    mine = [company for company in call.simulation.companies.all() if company.user_key == key]
    return Answer(body=[{"id": company.id, "name": company.name, "bid": company.bid} for company in mine])


def show_vendors(_call: Call) -> Answer:
    """GET /v1/company/vendors."""
    return Answer(body={"state": "LINKED"})


def show_settings(call: Call) -> Answer:
    """GET /v1/company/settings."""
    company = call.company
    details = {"name": company.name, "country": company.country, "bid": company.bid, "email": company.auth_email}
    general = {"stop_duplicate_numbers": company.stop_duplicate_numbers}
    printing = {"enabled": company.print_enabled}
    return Answer(body={"details": details, "send_invoice_print": printing, "send_invoice_general": general})


def change_settings(call: Call) -> Answer:
    """PATCH /v1/company/settings: printing and the stop for duplicate numbers take effect."""
    body = call.json()
    company = call.company
    company.print_enabled = _switch(body, "send_invoice_print", "enabled", default=company.print_enabled)
    company.stop_duplicate_numbers = _switch(
        body, "send_invoice_general", "stop_duplicate_numbers", default=company.stop_duplicate_numbers
    )
    return Answer(204)


def subscribe(call: Call) -> Answer:
    """POST …/notifications."""
    values = call.json_values(SUBSCRIPTION)
    kind, vendor_key = values.text("destination_type"), values.text("vendor_key")
    if kind == "VENDOR_WEBHOOK" and (call.token is None or vendor_key != call.token.vendor_key):
        raise invalid_parameters("vendor_key is missing or not the one of the token")
    events = values.many("events") or []
    unknown = [event for event in events if event not in EVENTS]
    if unknown:
        raise invalid_parameters(f"events does not have a valid value: {', '.join(unknown)}")
    if not values.text("destination").startswith(("http://", "https://")):
        raise invalid_parameters("destination is not a URL")
    made = call.simulation.notifications.subscribe(
        owner=_owner(call),
        destination_type=kind,
        destination=values.text("destination"),
        events=events,
        vendor_key=vendor_key,
    )
    _announce_open(call, made)
    return Answer(201, made.shown())


def list_subscriptions(call: Call) -> Answer:
    """GET …/notifications."""
    return Answer(body=[one.shown() for one in call.simulation.notifications.of(_owner(call))])


def show_subscription(call: Call) -> Answer:
    """GET …/notifications/{id}."""
    return Answer(body=_subscription(call).shown())


def unsubscribe(call: Call) -> Answer:
    """DELETE …/notifications/{id}."""
    del call.simulation.notifications.subscriptions[_subscription(call).id]
    return Answer(204)


def resend(call: Call) -> Answer:
    """POST /v1/company/notifications_resend_unacknowledged."""
    call.simulation.notifications.resend_unacknowledged(call.company.id, call.now)
    return Answer(200)


def _authorization(company: Company) -> dict[str, str]:
    return {"auth_state": company.auth_state, "auth_email": company.auth_email, "company_state": company.state}


def _switch(body: dict[str, object], group: str, name: str, *, default: bool) -> bool:
    settings = body.get(group)
    value = settings.get(name, default) if isinstance(settings, dict) else default
    if not isinstance(value, bool):
        raise invalid_parameters(f"{group}.{name} is not a boolean")
    return value


def _owner(call: Call) -> str:
    return call.token.client_id if call.token else ""


def _subscription(call: Call) -> Subscription:
    one = call.simulation.notifications.subscriptions.get(call.names["id"])
    if one is None or one.owner != _owner(call):
        raise not_found()
    return one


def _announce_open(call: Call, made: Subscription) -> None:
    """Let a new subscription hear of invoices that are already on their way."""
    simulation = call.simulation
    for company in simulation.companies.all():
        for invoice in simulation.of_company.get(company.id, []):
            simulation.notifications.plan(invoice, company, call.now, only=made)


def _notifications(prefix: str, read: tuple[str, ...], write: tuple[str, ...]) -> tuple[Endpoint, ...]:
    return (
        Endpoint("GET", prefix, list_subscriptions, read),
        Endpoint("POST", prefix, subscribe, write),
        Endpoint("GET", prefix + "/{id}", show_subscription, read),
        Endpoint("DELETE", prefix + "/{id}", unsubscribe, write),
    )


ENDPOINTS = (
    Endpoint("GET", "/v1/company/authorization", show_authorization, READ),
    Endpoint("POST", "/v1/company/authorization", authorize, WRITE),
    Endpoint("GET", "/v1/companies", list_companies, READ),
    Endpoint("GET", "/v1/companies/{id}/status", show_status, READ),
    Endpoint("GET", "/v1/company/vendors", show_vendors, WRITE),
    Endpoint("GET", "/v1/company/settings", show_settings, READ),
    Endpoint("PATCH", "/v1/company/settings", change_settings, WRITE),
    Endpoint("POST", "/v1/company/notifications_resend_unacknowledged", resend, WRITE),
    *_notifications("/v1/company/notifications", READ, WRITE),
    *_notifications("/v1/operator/notifications", OPERATOR, OPERATOR),
)

"""What spans companies: the partner's list of failures, operators, receivers."""

from simulator.endpoints.reading import paging, paging_headers
from simulator.errors import invalid_parameters
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import Invoice
from simulator.operators import INTERNAL, OPERATORS
from simulator.parameters import Parameter, table_of
from simulator.routing import UNLISTED

PARTNER = ("partner:invoice_delivery_actions",)
PAGING = (Parameter("page", kind="integer"), Parameter("per_page", kind="integer"))
ERRORS = table_of(
    Parameter("happened_after", kind="instant", required=True), Parameter("happened_before", kind="instant"), *PAGING
)
INBOUND = table_of(Parameter("state", choices=frozenset({"CREATED", "HANDLED"})), *PAGING)
NETWORKS = ("PEPPOL", "INTERNAL", "EXTERNAL")
RECEIVERS = table_of(
    Parameter("network", many=True, required=True),
    Parameter("eia"),
    Parameter("bid"),
    Parameter("name"),
    Parameter("country", many=True),
    Parameter("document_type", many=True),
    Parameter("allow_eia_variants", kind="boolean"),
    *PAGING,
)


def outbound_errors(call: Call) -> Answer:
    """GET …/outbound_errors and …/sent_errors: failures of all companies linked to the token's vendor key."""
    values = call.query_values(ERRORS)
    page, per_page = paging(values, 100)
    after = values.instant("happened_after") or 0.0
    before = values.instant("happened_before")
    failed = _failed(call, after, call.now if before is None else before)
    start = (page - 1) * per_page
    body = [{"company_id": one.company_id, "invoice_id": one.id} for _, one in failed[start : start + per_page]]
    return Answer(body=body, headers=paging_headers(call, total=len(failed), page=page, per_page=per_page))


def inbound(call: Call) -> Answer:
    """GET …/inbound and …/received: nothing is ever received here."""
    paging(call.query_values(INBOUND), 100)
    return Answer(body=[])


def operators(_call: Call) -> Answer:
    """GET /v1/definitions/operators."""
    return Answer(
        body=[{"operator_id": key, "name": name, "country": country} for key, (name, country) in OPERATORS.items()]
    )


def receivers(call: Call) -> Answer:
    """GET /v1/lookup/receivers: every address is found, unless it says that it is unknown."""
    values = call.query_values(RECEIVERS)
    paging(values, 100)
    networks = values.many("network") or []
    if not set(networks) <= set(NETWORKS):
        raise invalid_parameters(f"network is one of {', '.join(NETWORKS)}")
    address = values.text("eia") or values.text("bid")
    if not address or UNLISTED in address:
        return Answer(body=[])
    network = "PEPPOL" if "PEPPOL" in networks else networks[0]
    entry = {"eia": address, "network": network, "operator": "PEPPOL" if network == "PEPPOL" else INTERNAL}
    return Answer(body=[entry])


def _failed(call: Call, after: float, before: float) -> list[tuple[float, Invoice]]:
    simulation = call.simulation
    companies = simulation.companies.with_vendor(call.token.vendor_key) if call.token else []
    found: list[tuple[float, Invoice]] = []
    for company in companies:
        for invoice in simulation.of_company.get(company.id, []):
            failed_at = invoice.failed_at(call.now)
            if failed_at is not None and after <= failed_at <= before:
                found.append((failed_at, invoice))
    return sorted(found, key=lambda pair: pair[0])


ENDPOINTS = (
    Endpoint("GET", "/v1/partner/invoice_delivery_actions/outbound_errors", outbound_errors, PARTNER),
    Endpoint("GET", "/v1/partner/invoice_events/sent_errors", outbound_errors, PARTNER),
    Endpoint("GET", "/v1/partner/invoice_delivery_actions/inbound", inbound, PARTNER),
    Endpoint("GET", "/v1/partner/invoice_events/received", inbound, PARTNER),
    Endpoint("GET", "/v1/definitions/operators", operators, ("lookup",)),
    Endpoint("GET", "/v1/lookup/receivers", receivers, ("lookup", "operator:lookup")),
)

"""/_simulator/*: what the operator would never show - the ledger, the fault script, the knobs."""

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from simulator import companies, knobs, outside, routing, scripts
from simulator.actions import ACTION_CHANNELS, ACTION_KEYS
from simulator.errors import Refusal, SettingError, not_found
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import DELIVERED, FAILED, PENDING, Invoice
from simulator.parameters import Parameter, pairs_of, read, table_of

Result = TypeVar("Result")
COURSE = table_of(
    Parameter("status", choices=frozenset({PENDING, DELIVERED, FAILED}), required=True),
    Parameter("text"),
    Parameter("key", choices=ACTION_KEYS),
    Parameter("channel", choices=frozenset(ACTION_CHANNELS)),
)


def ledger(call: Call) -> Answer:
    """GET /_simulator/ledger, all or by ?company= and ?uuid=."""
    query = list(call.query)
    company_id = next((value for name, value in query if name == "company"), None)
    uuids = frozenset(value.lower() for name, value in query if name in ("uuid", "uuid[]"))
    simulation = call.simulation
    entries = simulation.ledger.shown(simulation.status_of, company_id=company_id, uuids=uuids)
    return Answer(body={"invoices": entries, "totals": simulation.totals()})


def totals(call: Call) -> Answer:
    """GET /_simulator/ledger/totals, with what arrived in each lane and its fullest second, and with the outages."""
    return Answer(body=call.simulation.totals())


def show_faults(call: Call) -> Answer:
    """GET /_simulator/faults."""
    return Answer(body=scripts.as_content(call.simulation.script))


def change_faults(call: Call) -> Answer:
    """PUT /_simulator/faults: a name, a list of rules, or a table with rules and seed."""
    seed = call.simulation.script.seed
    call.simulation.script = _settled(lambda: scripts.from_content(_content(call), seed))
    return show_faults(call)


def show_knobs(call: Call) -> Answer:
    """GET /_simulator/knobs."""
    return Answer(body=knobs.as_table(call.simulation.knobs))


def change_knobs(call: Call) -> Answer:
    """PUT /_simulator/knobs: those named change, the others stay."""
    call.simulation.knobs = _settled(lambda: knobs.turned(call.simulation.knobs, _table(call)))
    return show_knobs(call)


def list_companies(call: Call) -> Answer:
    """GET /_simulator/companies."""
    return Answer(body=[companies.shown(one) for one in call.simulation.companies.all()])


def put_company(call: Call) -> Answer:
    """PUT /_simulator/companies/{id}: creates a company or changes the fields named, {"company_state": "VERIFIED"}."""
    changes = _settled(lambda: _table(call))
    return Answer(body=companies.shown(_settled(lambda: call.simulation.companies.put(call.names["id"], changes))))


def lose_invoice(call: Call) -> Answer:
    """DELETE /_simulator/invoices/{id}: the operator loses an invoice that it had accepted; the ledger remembers."""
    call.simulation.lose(_invoice(call))
    return Answer(204)


def set_invoice(call: Call) -> Answer:
    """PUT /_simulator/invoices/{id}: what a person does in the operator's own console.

    Takes `status` (PENDING, DELIVERED or FAILED) and, for the action, `text`, `key` and `channel`. Webhooks tell it.
    """
    invoice = _invoice(call)
    values = read(COURSE, pairs_of(_settled(lambda: dict(_table(call)))), "both")
    status, channel = values.text("status"), values.text("channel") or invoice.destination_at(call.now)
    text, key = values.text("text") or None, values.text("key") or None
    steps = routing.by_hand(status, at=call.now, channel=channel, text=text, key=key)
    call.simulation.divert(invoice, steps, call.now)
    return Answer(body={"id": invoice.id, "status": invoice.status(call.now)})


def enter_invoice(call: Call) -> Answer:
    """POST /_simulator/invoices/{id}: an invoice under this UUID that somebody else put there, {"company": UUID, …}.

    Takes `document` (the invoice's text) and, instead of or over what it says, `number`, `date`, `sum`, `sum_tax`,
    `currency`, and `sender` and `recipient` as tables of `name`, `bid`, `eia`, `country`. 409 when there is one.
    """
    invoice, content = _settled(lambda: outside.invoice(call, _table(call)))
    if invoice.id in call.simulation.invoices:
        raise Refusal(409, "document_in_invalid_state", f"an invoice {invoice.id} is there already")
    call.simulation.ledger.enter(invoice.id, company_id=invoice.company_id)
    call.simulation.hold(invoice, content)
    return Answer(201, {"id": invoice.id, "status": invoice.status(call.now)})


def show_outage(call: Call) -> Answer:
    """GET /_simulator/outage: the outage that is, or {}."""
    outage = call.simulation.outages.now(call.now)
    return Answer(body=outage.shown() if outage is not None else {})


def begin_outage(call: Call) -> Answer:
    """PUT /_simulator/outage (or POST): {"kind": "refuse" (reset), "503" or "silence", "seconds"?, "retry_after"?}."""
    return Answer(body=_settled(lambda: call.simulation.outages.begin(dict(_table(call)), call.now)).shown())


def end_outage(call: Call) -> Answer:
    """DELETE /_simulator/outage: serves everybody again."""
    call.simulation.outages.end(call.now)
    return Answer(204)


def reset(call: Call) -> Answer:
    """POST /_simulator/reset: forgets all that happened; knobs and fault script stay."""
    call.simulation.reset()
    return Answer(204)


def expire_tokens(call: Call) -> Answer:
    """POST /_simulator/expire_tokens: the token storm, on demand."""
    call.simulation.tokens.expire_all()
    return Answer(204)


def health(_call: Call) -> Answer:
    """GET /_simulator/health."""
    return Answer(body={"status": "ok"})


def _invoice(call: Call) -> Invoice:
    invoice = call.simulation.invoices.get(call.names["id"].lower())
    if invoice is None:
        raise not_found()
    return invoice


def _settled(change: Callable[[], Result]) -> Result:
    try:
        return change()
    except SettingError as exc:
        raise Refusal(400, "invalid_setting", str(exc)) from exc


def _content(call: Call) -> object:
    text = call.body.decode("utf-8", "replace").strip()
    try:
        content: object = json.loads(text)
    except ValueError:
        return text  # a bare name is convenient: curl -X PUT -d storm
    return content


def _table(call: Call) -> Mapping[str, object]:
    content = _content(call)
    if not isinstance(content, dict):
        raise SettingError("body is not a JSON object")
    return content


ENDPOINTS = (
    Endpoint("GET", "/_simulator/ledger", ledger),
    Endpoint("GET", "/_simulator/ledger/totals", totals),
    Endpoint("GET", "/_simulator/faults", show_faults),
    Endpoint("PUT", "/_simulator/faults", change_faults),
    Endpoint("GET", "/_simulator/knobs", show_knobs),
    Endpoint("PUT", "/_simulator/knobs", change_knobs),
    Endpoint("GET", "/_simulator/companies", list_companies),
    Endpoint("PUT", "/_simulator/companies/{id}", put_company),
    Endpoint("PUT", "/_simulator/invoices/{id}", set_invoice),
    Endpoint("POST", "/_simulator/invoices/{id}", enter_invoice),
    Endpoint("DELETE", "/_simulator/invoices/{id}", lose_invoice),
    Endpoint("GET", "/_simulator/outage", show_outage),
    Endpoint("PUT", "/_simulator/outage", begin_outage),
    Endpoint("POST", "/_simulator/outage", begin_outage),
    Endpoint("DELETE", "/_simulator/outage", end_outage),
    Endpoint("POST", "/_simulator/expire_tokens", expire_tokens),
    Endpoint("POST", "/_simulator/reset", reset),
    Endpoint("GET", "/_simulator/health", health),
)

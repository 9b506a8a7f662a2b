"""What can be read of invoices: list, one, actions, files."""

from collections.abc import Callable, Iterable

from simulator import archive
from simulator.errors import invalid_parameters, not_found
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import DEFAULT_ACTION_TYPES, Invoice, shown, shown_actions
from simulator.parameters import Parameter, Values, table_of

READ = ("invoice:send", "invoice:receive")
IDS_LIMIT = 100
PER_PAGE_LIMIT = 100
LIST = table_of(
    Parameter("direction", choices=frozenset({"RECEIVED", "SENT"})),
    Parameter("status", choices=frozenset({"PENDING", "DELIVERED", "FAILED"}), many=True),
    Parameter("ids", many=True),
    Parameter("number"),
    Parameter("reference"),
    Parameter("received_at_start", kind="instant"),
    Parameter("received_at_end", kind="instant"),
    Parameter("created_at_start", kind="instant"),
    Parameter("created_at_end", kind="instant"),
    Parameter("sort", choices=frozenset({"received_at", "-received_at"}), many=True),
    Parameter("page", kind="integer"),
    Parameter("per_page", kind="integer"),
)
RETURN_FORMATS = frozenset(
    {
        "VISMAXML60", "PEPPOLBIS30", "SIUBL20", "OIOUBL21", "VISMAUBL30", "FINVOICE30", "TEAPPS30",
        "XRECHNUNG23UBL", "XRECHNUNG23CII", "XRECHNUNG23EXTUBL", "XRECHNUNG23EXTCII", "XRECHNUNG30UBL",
        "XRECHNUNG30CII", "XRECHNUNG30EXTUBL", "XRECHNUNG30EXTCII", "FATTURAPA12", "ORIGINAL_IMAGE",
        "GENERATED_IMAGE", "ORIGINAL_OR_GENERATED_IMAGE", "EXTENDED_DETAILS"
    }
)  # fmt: skip
SHOW = table_of(Parameter("return_format", choices=RETURN_FORMATS))
ACTIONS = table_of(
    Parameter("type", choices=frozenset({"RECEIVED", "CREATED", "SENT", "DELIVERED", "INFO", "ERROR"}), many=True),
    Parameter("channel_details_version", kind="integer", choices=frozenset({"1"})),
)


def index(call: Call) -> Answer:
    """GET /v1/invoices: of the token's company; nothing is ever received here."""
    values = call.query_values(LIST)
    page, per_page = paging(values, 10)
    ids = values.many("ids")
    if ids is not None and len(ids) > IDS_LIMIT:
        raise invalid_parameters(f"ids has more than {IDS_LIMIT} values")
    matches = _matches(call, values, ids) if values.text("direction", "RECEIVED") == "SENT" else []
    if "-received_at" in (values.many("sort") or ()):
        matches.reverse()
    start = (page - 1) * per_page
    body = [_view(call, invoice) for invoice in matches[start : start + per_page]]
    headers = paging_headers(call, total=len(matches), page=page, per_page=per_page)
    return Answer(body=body, headers=headers)


def show(call: Call) -> Answer:
    """GET /v1/invoices/{id}."""
    call.query_values(SHOW)
    return Answer(body=_view(call, call.invoice()))


def actions(call: Call) -> Answer:
    """GET /v1/invoices/{id}/actions."""
    types = call.query_values(ACTIONS).many("type")
    wanted = frozenset(types) if types else DEFAULT_ACTION_TYPES
    return Answer(body=shown_actions(call.invoice(), call.now, wanted))


def file(call: Call) -> Answer:
    """GET /v1/invoices/{id}/files/{file_id}: the upload itself, or one file out of its ZIP."""
    invoice = call.invoice()
    names = invoice.file_names()
    position = next((at for at in range(len(names)) if invoice.file_id(at) == call.names["file_id"]), None)
    content = call.simulation.documents.get(invoice.sha256)
    if position is None or content is None:  # bytes are kept up to a limit, see the knob document_bytes_kept
        raise not_found()
    if position > 0:
        content = archive.member(content, names[position])
    return Answer(body=content, content_type=archive.media_type(names[position]))


def paging(values: Values, default: int) -> tuple[int, int]:
    """Read page and per_page and hold them to their limits."""
    page, per_page = values.integer("page", 1), values.integer("per_page", default)
    if page < 1 or not 1 <= per_page <= PER_PAGE_LIMIT:
        raise invalid_parameters(f"page starts at 1 and per_page lies between 1 and {PER_PAGE_LIMIT}")
    return page, per_page


def paging_headers(call: Call, *, total: int, page: int, per_page: int) -> dict[str, str]:
    """Write the paging headers, if the knob has them on."""
    if not call.simulation.knobs.paging_headers:
        return {}
    pages = -(-total // per_page)
    headers = {"X-Total": total, "X-Total-Pages": pages, "X-Page": page, "X-Per-Page": per_page}
    neighbours = {"X-Next-Page": page + 1 if page < pages else "", "X-Prev-Page": page - 1 if page > 1 else ""}
    return {name: str(value) for name, value in (headers | neighbours).items()}


def _view(call: Call, invoice: Invoice) -> dict[str, object]:
    return shown(invoice, call.now, base_url=call.base_url, with_actions=call.simulation.knobs.list_actions)


def _matches(call: Call, values: Values, ids: list[str] | None) -> list[Invoice]:
    simulation, company = call.simulation, call.company
    candidates: Iterable[Invoice] = simulation.of_company.get(company.id, [])
    if ids is not None:
        found = (simulation.invoices.get(one.lower()) for one in dict.fromkeys(ids))
        candidates = (one for one in found if one is not None and one.company_id == company.id)
    tests = _tests(call, values)
    return [invoice for invoice in candidates if all(test(invoice) for test in tests)]


def _tests(call: Call, values: Values) -> list[Callable[[Invoice], bool]]:
    newest = call.now - call.simulation.knobs.list_lag_seconds
    tests: list[Callable[[Invoice], bool]] = [lambda one: one.created_at <= newest]
    start, end = values.instant("created_at_start"), values.instant("created_at_end")
    if start is not None:
        tests.append(lambda one: one.created_at >= start)
    if end is not None:
        tests.append(lambda one: one.created_at <= end)
    if number := values.text("number"):
        tests.append(lambda one: one.facts.number == number)
    if reference := values.text("reference"):
        tests.append(lambda one: one.facts.reference == reference)
    if values.text("received_at_start") or values.text("received_at_end"):
        tests.append(lambda _: False)  # a sent invoice was not received
    statuses = frozenset(values.many("status") or ())
    if statuses:
        tests.append(lambda one: one.status(call.now) in statuses)
    return tests


ENDPOINTS = (
    Endpoint("GET", "/v1/invoices", index, READ, channel="list", needs_verified=True),
    Endpoint("GET", "/v1/invoices/{id}", show, READ, channel="show", needs_verified=True),
    Endpoint("GET", "/v1/invoices/{id}/actions", actions, READ, channel="actions", needs_verified=True),
    Endpoint("GET", "/v1/invoices/{id}/files/{file_id}", file, READ, channel="show", needs_verified=True),
)

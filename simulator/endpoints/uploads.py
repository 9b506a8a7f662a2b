"""POST /v1/invoices: takes a document in and makes exactly one invoice of it."""

from hashlib import sha256
from uuid import UUID, uuid4

from simulator import archive, documents, multipart, routing
from simulator.companies import Company
from simulator.documents import Facts
from simulator.errors import Refusal, invalid_parameters
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import FAILED, Invoice, shown
from simulator.parameters import Parameter, Values, read, table_of

# Source: swagger.json 0.85.550, POST /v1/invoices.
FORMATS = frozenset(
    {
        "VISMAXML53", "VISMAXML60", "SVEFAKTURA10", "SEDI", "E2B", "EHF20", "PEPPOLBIS20", "PEPPOLBIS30",
        "SIUBL11", "SIUBL12", "SIUBL20", "OIOUBL", "OIOUBL21", "VISMAUBL10", "VISMAUBL30", "FINVOICE13",
        "FINVOICE20", "FINVOICE30", "TEAPPS27", "TEAPPS30", "XRECHNUNG23UBL", "XRECHNUNG23CII",
        "XRECHNUNG23EXTUBL", "XRECHNUNG23EXTCII", "XRECHNUNG30UBL", "XRECHNUNG30CII", "XRECHNUNG30EXTUBL",
        "XRECHNUNG30EXTCII", "FATTURAPA12"
    }
)  # fmt: skip
ROUTES = frozenset({"print", "email", "einvoice"})
NORWEGIAN_ROUTES = frozenset({"netbank", "netbank_cvl", "netbank_cvl_hold", "vipps", "dpi", "silent_failure"})
CONSUMER_ROUTES = NORWEGIAN_ROUTES | {"email", "print"}
UUID_LENGTH = 36
TABLE = table_of(
    Parameter("format", choices=FORMATS),
    Parameter("recipient_type", choices=frozenset({"b2b", "consumer"})),
    Parameter("recipient_eia", longest=128),
    Parameter("recipient_email", longest=255),
    Parameter("recipient_operator", longest=128),
    Parameter("disabled_routes", choices=ROUTES, many=True),
    Parameter("sender_comment", longest=1024),
    Parameter("uuid", longest=UUID_LENGTH),
    Parameter("lang", choices=frozenset({"FI", "SE", "NO", "DK", "NL", "EN"})),
    Parameter("route_order", choices=CONSUMER_ROUTES, many=True),
    Parameter("recipient_phone_number", longest=30),
    Parameter("recipient_date_of_birth", kind="date"),
    Parameter("recipient_ssn"),
    Parameter("recipient_efaktura_id"),
    Parameter("b2cno_document_type", choices=frozenset({"INVOICE", "CREDIT_NOTE", "REMINDER", "COLLECTION_NOTICE"})),
    Parameter("payment_instruction_identifier"),
    Parameter("print_settings[color]", kind="boolean"),
    Parameter("print_settings[letter_class]", choices=frozenset({"PRIORITY", "ECONOMY"})),
    Parameter("print_settings[prevent_digital_post]", kind="boolean"),
    Parameter("print_settings[print_own_image]", kind="boolean"),
    Parameter("print_settings[allow_kivra_fi]", kind="boolean"),
    Parameter("prevent_routing", kind="boolean"),
    Parameter("email_settings[xml_format]", choices=FORMATS),
)
# Codes of a refused duplicate: 422 is the one published for a used transmission id of documents, the nearest sibling.
DUPLICATE_CODES = {
    422: "document_duplicate_transmission_id", 409: "document_in_invalid_state", 400: "invalid_parameters",
}  # fmt: skip
WEEK_SECONDS = 7 * 24 * 3600
DAY_SECONDS = 24 * 3600


def prepare(call: Call) -> None:
    """Read the form far enough to know the UUID, and note the upload in the ledger."""
    if not call.content_type.lower().startswith("multipart/form-data"):
        raise invalid_parameters("body is not multipart/form-data")
    call.parts = multipart.parse(call.body, call.content_type)
    call.body = b""
    sent = [part.text for part in call.parts if part.name == "uuid"]
    call.uuid = _uuid(sent[-1]) if sent else str(uuid4())
    call.sha256 = sha256(_file(call.parts).content).hexdigest()
    call.number = call.simulation.ledger.upload(call.uuid, company_id=call.company.id, sha256=call.sha256)


def create(call: Call) -> Answer:
    """POST /v1/invoices."""
    parts = call.parts or []
    file = _file(parts)
    values = read(
        TABLE, ((part.name, part.text) for part in parts if part.name != "file"), call.simulation.knobs.array_form
    )
    uuid = call.uuid or ""
    existing = call.simulation.invoices.get(uuid)
    if existing is not None and not call.simulation.knobs.hold_duplicates:
        return _duplicate(call, existing)
    upload = archive.opened(file.content)
    facts = documents.read(upload.xml, values.text("format") or None)
    company = call.company
    _check_facts(call, facts)
    _check_limits(call, company, facts)
    way = routing.fated(routing.choose(_wish(values, facts), print_enabled=company.print_enabled), call.fate)
    invoice = Invoice(
        id=uuid,
        company_id=company.id,
        created_at=call.now,
        facts=facts,
        sha256=call.sha256,
        filename=file.filename or "",
        is_zip=upload.is_zip,
        members=upload.members,
        destination=way.channel,
        comment=values.text("sender_comment"),
    )
    steps = routing.timeline(way, at=call.now, knobs=call.simulation.knobs, fate=call.fate, uuid=uuid)
    invoice.steps = [routing.created(call.now), *steps]
    call.simulation.hold(invoice, file.content)
    # A new invoice is PENDING in the answer even if its fate is to fail in the same moment.
    view = shown(invoice, call.now, base_url=call.base_url, with_actions=False)
    return Answer(201, {**view, "status": "PENDING"})


def _file(parts: list[multipart.Part]) -> multipart.Part:
    files = [part for part in parts if part.name == "file"]
    if not files:
        raise invalid_parameters("file is missing")
    if len(files) > 1:
        raise invalid_parameters("file was sent more than once")
    if not files[0].filename:
        raise invalid_parameters("file has no filename in its Content-Disposition")
    return files[0]


def _uuid(text: str) -> str:
    """Bring the UUID into one spelling; what is too long or not a UUID is refused."""
    try:
        if len(text) <= UUID_LENGTH:
            return str(UUID(text))
    except ValueError:
        pass
    raise invalid_parameters("uuid is not a UUID of at most 36 characters")


def _duplicate(call: Call, existing: Invoice) -> Answer:
    status = call.simulation.knobs.duplicate_status
    own = existing.company_id == call.company.id
    if status == 201 and own:  # noqa: PLR2004 - HTTP Created
        return Answer(201, shown(existing, call.now, base_url=call.base_url, with_actions=False))
    status = status if status in DUPLICATE_CODES else 422
    raise Refusal(status, DUPLICATE_CODES[status], "An invoice with this uuid already exists", ["uuid is already used"])


def _check_facts(call: Call, facts: Facts) -> None:
    status = call.simulation.knobs.minimum_information_status
    missing = facts.missing() if status else []
    if missing:
        text = "Invoice does not carry the minimum information"
        raise Refusal(status, "invalid_parameters", text, [f"{name} is missing" for name in missing])


def _check_limits(call: Call, company: Company, facts: Facts) -> None:
    if not (company.daily_limit or company.stop_duplicate_numbers):
        return
    earlier = call.simulation.of_company.get(company.id, [])
    today = sum(1 for one in earlier if one.created_at > call.now - DAY_SECONDS)
    if company.daily_limit and today >= company.daily_limit:
        status = call.simulation.knobs.daily_limit_status
        raise Refusal(status, "forbidden", f"USER DAILY INVOICE LIMIT ({company.daily_limit}) REACHED")
    if company.stop_duplicate_numbers and any(_same_number(call, one, facts) for one in earlier):
        raise invalid_parameters("invoice number was sent within the last week")


def _same_number(call: Call, one: Invoice, facts: Facts) -> bool:
    recent = one.created_at > call.now - WEEK_SECONDS
    return recent and one.facts.number == facts.number and one.status(call.now) != FAILED


def _wish(values: Values, facts: Facts) -> routing.Wish:
    eia, operator = values.text("recipient_eia"), values.text("recipient_operator")
    consumer = values.text("recipient_type") == "consumer"
    return routing.Wish(
        eia=eia or facts.recipient.get("eia", ""),
        operator=operator,
        email=values.text("recipient_email") or facts.recipient_email,
        bid=facts.recipient.get("bid", ""),
        own_operator=bool(eia and operator),
        force_email=bool(values.text("email_settings[xml_format]")),
        prevented=values.flag("prevent_routing"),
        disabled=frozenset(values.many("disabled_routes") or ()),
        consumer_order=tuple(values.many("route_order") or ()) if consumer else (),
    )


ENDPOINTS = (
    Endpoint("POST", "/v1/invoices", create, ("invoice:send",), channel="upload", needs_verified=True, prepare=prepare),
)

"""Failed and refused invoices on the line, cases opened for them, and ways out that a person plans."""

from datetime import timedelta
from uuid import uuid4

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.routing_file import parse_routing
from pipeline.domain.routing_rows import builtin_table
from pipeline.domain.way import Way
from pipeline.services.submit import submit
from pipeline.storage.ways_out import plan_way_out

NO_ROUTE = "No route found"
UNREACHABLE = "The invoice could not be delivered"
EMAIL = {"recipient_email": "buyer@example.com"}
REFUSAL = Outcome(kind=OutcomeKind.REFUSED, http_status=422, error_code="invalid_xml", message="not valid")


def finvoice(email="buyer@example.com"):
    return (
        f"<Finvoice Version='3.0'><BuyerCommunicationDetails><BuyerEmailaddressIdentifier>{email}"
        f"</BuyerEmailaddressIdentifier></BuyerCommunicationDetails><InvoiceDetails><InvoiceNumber>{uuid4()}"
        f"</InvoiceNumber><InvoiceTotalVatIncludedAmount AmountCurrencyIdentifier='EUR'>100,00"
        f"</InvoiceTotalVatIncludedAmount></InvoiceDetails></Finvoice>"
    ).encode()


def accepted(line, *, email="buyer@example.com", company=None, batch=None):
    with line.database.transaction() as session:
        submitted = submit(
            session,
            company=company or line.company,
            content=finvoice(email),
            filename="invoice.xml",
            batch=batch,
            now=line.clock(),
        )
    line.work()
    line.operator.statuses_of[submitted.uuid] = "PENDING"
    return submitted.uuid


def fail(line, uuid, text=NO_ROUTE, **error):
    """Fail an accepted invoice as following records it."""
    line.operator.fail(uuid, text, **error)
    mark_failed(line, uuid)


def mark_failed(line, uuid):
    line.change(
        "UPDATE invoice SET state = 'failed', reason = 'FAILED', look_at = NULL, route_at = :now, changed_at = :now"
        " WHERE id = :id",
        id=uuid,
        now=line.clock(),
    )


def failed(line, text=NO_ROUTE, **how):
    uuid = accepted(line, **how)
    fail(line, uuid, text)
    return uuid


def refused(line, **how):
    with line.database.transaction() as session:
        uuid = submit(
            session, company=line.company, content=finvoice(), filename="invoice.xml", now=line.clock(), **how
        ).uuid
    line.operator.on_upload[uuid].append(REFUSAL)
    settle(line, uuid)
    return uuid


def settle(line, uuid):
    """Work until nothing of the invoice is due any more."""
    for _ in range(20):
        line.work()
        if line.row(uuid).due_at is None:
            return
        line.clock.pass_seconds(30)


def case(line, uuid):
    return line.query("SELECT * FROM route_case WHERE invoice_id = :id", id=uuid)[0]


def opened(line, **how):
    """A failed invoice whose case waits for a person."""
    uuid = failed(line, **how)
    line.route()
    return uuid


def plan(line, uuid, way=Way.EMAIL, fields=None, *, later=0, **more):
    given = EMAIL if way is Way.EMAIL and fields is None else fields or {}
    with line.database.transaction() as session:
        return plan_way_out(
            session,
            case(line, uuid).id,
            way=way,
            fields=given,
            chosen_by="a person",
            reason="they asked for it",
            not_before=line.clock() + timedelta(seconds=later),
            now=line.clock(),
            **more,
        )


def way(line, way_out_id):
    return line.query("SELECT * FROM way_out WHERE id = :id", id=way_out_id)[0]


def kinds(line, uuid):
    return [event.kind for event in line.events(uuid)]


def let_time_pass(line, *, seconds=600, step=10):
    """Route every few seconds, as beat does."""
    for _ in range(seconds // step):
        line.clock.pass_seconds(step)
        line.route()


def rules(line, text):
    line.routing = parse_routing("version = 1\n" + text, table=builtin_table())

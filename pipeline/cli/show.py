"""`postiljon show` and `postiljon list`: what became of an invoice."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database, utc_now
from pipeline.cli.cases_words import moment
from pipeline.cli.output import JsonOption, err, friendly_errors, out, print_json
from pipeline.cli.show_story import Who, additions_as_json, describe_case, operator_state, timeline, what_next, whose
from pipeline.domain.next_step import next_step
from pipeline.domain.state import State
from pipeline.services.arming import why_disarmed
from pipeline.settings import load_settings
from pipeline.storage.companies import find_company
from pipeline.storage.listing import InvoiceFilter, count_listed, list_invoices
from pipeline.storage.reading import Story, read_story
from pipeline.storage.tables import InvoiceRow

FINE_STATES = frozenset({State.QUEUED, State.SENDING, State.ACCEPTED, State.DELIVERED})
"""States whose reason a list need not show."""

STATE_STYLES = {
    State.DELIVERED: "green",
    State.ACCEPTED: "cyan",
    State.FAILED: "bold red",
    State.REFUSED: "bold red",
    State.HELD: "yellow",
    State.IN_DOUBT: "yellow",
}
WHO_STYLES = {Who.US: "dim", Who.OPERATOR: "cyan", Who.CASE: "yellow"}


def show(
    uuid: Annotated[UUID, typer.Argument(help="The invoice's UUID.")],
    as_json: JsonOption = False,
) -> None:
    """Show the whole story of one invoice: its state, why, what happens next and when, and all that happened."""
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database, database.transaction() as session:
            story = read_story(session, uuid)
            following = what_next(story, disarmed=why_disarmed(session, settings))
    if as_json:
        print_json(_story_as_json(story, following))
    else:
        out().print(_story_for_people(story, following))


def list_(
    state: Annotated[State | None, typer.Option(help="Only invoices in this state.")] = None,
    company: Annotated[str | None, typer.Option(help="Only of this company (UUID or name).")] = None,
    batch: Annotated[str | None, typer.Option(help="Only of this batch.")] = None,
    number: Annotated[str | None, typer.Option(help="Only with this invoice number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest first.")] = 50,
    before: Annotated[UUID | None, typer.Option(help="The next page: what stands below this invoice.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List invoices, the newest first, page by page."""
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        company_id = find_company(session, company).id if company is not None else None
        # One more than asked for tells whether there are more, without counting them.
        wanted = InvoiceFilter(
            state=state, company_id=company_id, batch=batch, number=number, before=before, limit=limit + 1
        )
        found, total = list_invoices(session, wanted), count_listed(session, wanted)
    shown, more = found[:limit], len(found) > limit
    following = shown[-1][0].id if more else None
    if as_json:
        listed = [invoice_as_json(invoice, name) for invoice, name in shown]
        print_json({"invoices": listed, "more": more, "total": total, "next": following})
        return
    out().print(_list_for_people(shown) if shown else "No invoice fits.")
    if more:
        of = f" of {total:,}" if total is not None else ""
        err().print(f"{len(shown):,}{of}; more: --before {following}", soft_wrap=True)


def _list_for_people(found: Sequence[tuple[InvoiceRow, str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    # Nothing here may be cut: a UUID is copied, a total is read; what is long wraps in the last column.
    for name, width in (("UUID", 36), ("state", 9)):
        table.add_column(name, no_wrap=True, min_width=width)
    table.add_column(
        "total", no_wrap=True, justify="right", min_width=max(len(_total(invoice)) for invoice, _ in found)
    )
    table.add_column("number, customer, why", overflow="fold")
    for invoice, _ in found:
        who = Text(f"{_known(invoice.number)}  {_known(invoice.buyer_name)}")
        if State(invoice.state) not in FINE_STATES and invoice.reason:
            who.append(f"\n{invoice.reason}", style="dim")
        table.add_row(str(invoice.id), _state(invoice), Text(_total(invoice)), who)
    return table


def invoice_as_json(invoice: InvoiceRow, company_name: str) -> dict[str, object]:
    """Return the fields of an invoice that scripts may rely on."""
    state = State(invoice.state)
    return {
        "uuid": invoice.id,
        "state": state,
        "why": invoice.reason,
        "next_step": next_step(state, due_at=invoice.due_at, look_at=invoice.look_at, route_at=invoice.route_at),
        "due_at": invoice.due_at,
        "company": invoice.company_id,
        "company_name": company_name,
        "number": invoice.number,
        "customer": invoice.buyer_name,
        "seller": invoice.seller_name,
        "total": invoice.total,
        "currency": invoice.currency,
        "issue_date": invoice.issue_date,
        "format": invoice.format,
        "filename": invoice.filename,
        "reference": invoice.reference,
        "options": invoice.options,
        "sha256": invoice.document_sha256,
        "size": invoice.size,
        "operator_status": invoice.operator_status,
        "operator_state": operator_state(invoice),
        "channel": invoice.channel,
        "next_look_at": invoice.look_at,
        "supersedes": invoice.supersedes,
        "uploads": invoice.uploads,
        "submitted_at": invoice.submitted_at,
        "accepted_at": invoice.accepted_at,
        "deadline": invoice.deadline,
        "not_before": invoice.not_before,
        "priority": invoice.priority,
        "changed_at": invoice.changed_at,
    }


def _story_as_json(story: Story, following: str) -> dict[str, object]:
    return {
        **invoice_as_json(story.invoice, story.company.name),
        "next_step": following,
        "batch": story.batch,
        "company_held": story.company.hold_reason,
        "attempts": [
            {
                "number": attempt.number,
                "kind": attempt.kind,
                "started_at": attempt.started_at,
                "finished_at": attempt.finished_at,
                "outcome": attempt.outcome,
                "http_status": attempt.http_status,
                "error_code": attempt.error_code,
                "message": attempt.message,
            }
            for attempt in story.attempts
        ],
        "events": [
            {"at": event.at, "kind": event.kind, "from": event.source, "to": event.target, "cause": event.cause}
            for event in story.events
        ],
        **additions_as_json(story),
    }


def _story_for_people(story: Story, following: str) -> Group:
    invoice = story.invoice
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in (
        ("state", _state(invoice)),
        ("why", Text(invoice.reason or "as it should be")),
        ("next", Text(following)),
        ("operator", Text(_operator(invoice))),
        *_case(story),
        ("customer", Text(_known(invoice.buyer_name))),
        ("total", Text(_total(invoice))),
        ("company", Text(story.company.name)),
        ("batch", Text(story.batch or "none")),
        ("file", Text(f"{invoice.filename}  {invoice.format}  {invoice.size} bytes")),
        ("options", Text(_options(invoice))),
        ("submitted", Text(f"{moment(invoice.submitted_at)} UTC")),
        *_order(invoice),
        ("sha-256", Text(invoice.document_sha256.hex())),
    ):
        facts.add_row(name, value)
    if story.company.hold_reason:
        facts.add_row("held", Text(f"the company is held: {story.company.hold_reason}", style="yellow"))
    head = Text.assemble(("Invoice ", "bold"), (_known(invoice.number), "bold"), f"  {invoice.id}")
    chain: list[RenderableType] = [Text(), _chain(story)] if len(story.chain) > 1 else []
    return Group(head, facts, *chain, Text(), _timeline(story))


def _order(invoice: InvoiceRow) -> list[tuple[str, Text]]:
    asleep = [("not before", Text(f"{moment(invoice.not_before)} UTC"))] if invoice.not_before is not None else []
    return [*asleep, *([("priority", Text(str(invoice.priority)))] if invoice.priority else []), *_deadline(invoice)]


def _deadline(invoice: InvoiceRow) -> list[tuple[str, Text]]:
    if invoice.deadline is None:
        return []
    line = Text(f"{moment(invoice.deadline)} UTC")
    if (invoice.accepted_at or utc_now()) > invoice.deadline:
        line.append(" missed" if invoice.accepted_at else " is over", style="yellow")
    elif invoice.accepted_at:
        line.append(" met", style="green")
    return [("deadline", line)]


def _operator(invoice: InvoiceRow) -> str:
    finer = operator_state(invoice)
    told = f"{finer['number']} {finer['name']}" if finer else invoice.operator_status or "not asked yet"
    only = ", information only" if finer and finer["information_only"] else ""
    by = f", by {invoice.channel}" if invoice.channel else ""
    seen = f", seen {moment(invoice.seen_at)} UTC" if invoice.seen_at else ""
    return f"{told}{only}{by}{seen}"


def _case(story: Story) -> list[tuple[str, Text]]:
    case, line = story.case, describe_case(story)
    if case is None or line is None:
        return []
    return [("case", Text(line)), ("means", Text(case.words)), ("advice", Text(case.advice))]


def _chain(story: Story) -> Table:
    table = Table(
        title="Sent as new, from the first to the last", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for name in ("UUID", "state", "submitted (UTC)", ""):
        table.add_column(name, no_wrap=True)
    for link in story.chain:
        here = "this" if link.invoice_id == story.invoice.id else ""
        style = STATE_STYLES.get(link.state, "")
        table.add_row(str(link.invoice_id), Text(link.state, style=style), f"{link.submitted_at:%m-%d %H:%M}", here)
    return table


def _timeline(story: Story) -> Table:
    table = Table(title="What happened", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("who", no_wrap=True)
    table.add_column("what", overflow="fold")
    for each in timeline(story):
        other = whose(story, each)
        told = f"{other}: {each.what}" if other else each.what
        table.add_row(_clock(each.at), Text(each.who, style=WHO_STYLES[each.who]), Text(told))
    return table


def _clock(at: datetime) -> str:
    return f"{at:%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"


def _known(value: str | None) -> str:
    return value or "unknown"


def _total(invoice: InvoiceRow) -> str:
    return f"{invoice.total} {invoice.currency or ''}".strip() if invoice.total is not None else "unknown"


def _options(invoice: InvoiceRow) -> str:
    shown = {name: "(hidden)" if name == "recipient_ssn" else value for name, value in invoice.options.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items()) or "none: the operator routes by the document"


def _state(invoice: InvoiceRow) -> Text:
    return Text(invoice.state, style=STATE_STYLES.get(State(invoice.state), ""))

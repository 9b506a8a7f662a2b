"""`postiljon cases`: failed invoices that wait for a rule or a person, and what a person can do about them."""

from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.bootstrap import open_database
from pipeline.cli.cases_act import close, reroute, resend, retry
from pipeline.cli.cases_choice import (
    BatchOption,
    CaseStatus,
    CauseOption,
    CompanyOption,
    Filter,
    OwnerOption,
    SinceOption,
    VerdictOption,
    read_name,
    read_order_name,
)
from pipeline.cli.cases_order import who_asks
from pipeline.cli.cases_table import (
    case_as_json,
    cases_for_people,
    history_as_json,
    history_for_people,
    order_as_json,
    order_for_people,
    ordered_as_json,
)
from pipeline.cli.cases_words import way_words
from pipeline.cli.output import ExitStatus, JsonOption, err, escape, friendly_errors, out, print_error, print_json
from pipeline.settings import load_settings
from pipeline.storage.cases import list_cases, read_case
from pipeline.storage.clock import read_clock
from pipeline.storage.orders import OrderedWay, Undone, read_order, undo_case, undo_order
from pipeline.storage.reading import read_chain

SHOWN = 20
"""Lines of what was carried out already in a terminal; --json lists all."""

cases_app = typer.Typer(no_args_is_help=True, help="Failed invoices: see, reroute, resend, retry or close them.")


@cases_app.command("list", epilog="Example: postiljon cases list --owner accountant")
def list_(
    cause: CauseOption = None,
    owner: OwnerOption = None,
    company: CompanyOption = None,
    since: SinceOption = None,
    batch: BatchOption = None,
    status: Annotated[CaseStatus | None, typer.Option(help="Only in this status.")] = None,
    verdict: VerdictOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the oldest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List cases, the oldest first: what failed, why, whose it is and what happens next."""
    chosen = Filter(cause=cause, owner=owner, company=company, since=since, batch=batch, verdict=verdict)
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        # One more than asked for tells whether there are more, without counting them.
        wanted = chosen.read(session, now=read_clock(session), status=status, limit=limit + 1)
        found = list_cases(session, wanted)
    shown, more = found[:limit], len(found) > limit
    if as_json:
        print_json({"cases": [case_as_json(each) for each in shown], "more": more})
        return
    out().print(cases_for_people(shown) if shown else "No case fits.")
    if more:
        err().print(f"the oldest {limit}; --limit for more")


@cases_app.command(epilog="Example: postiljon cases show 12")
def show(
    case: Annotated[str, typer.Argument(metavar="CASE|UUID|order-N", help="A case, an invoice of one, or an order.")],
    as_json: JsonOption = False,
) -> None:
    """Show a case with its history and what can be done, or how far an order is."""
    number = read_order_name(case)
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        if number is not None:
            order = read_order(session, number)
        else:
            history = read_case(session, read_name(case))
            chain = read_chain(session, history.case.invoice_id)
    if number is not None:
        print_json(order_as_json(order)) if as_json else out().print(escape(order_for_people(order)))
    elif as_json:
        print_json(history_as_json(history, chain))
    else:
        out().print(history_for_people(history, chain))


@cases_app.command(epilog="Example: postiljon cases undo order-7")
def undo(
    name: Annotated[str, typer.Argument(metavar="order-N|CASE|UUID", help="What to take back.")],
    as_json: JsonOption = False,
) -> None:
    """Take back what was ordered and has not begun; its cases are open again. The rest is listed."""
    number = read_order_name(name)
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        now = read_clock(session)
        if number is not None:
            undone = undo_order(session, number, by=who_asks(), now=now)
        else:
            undone = undo_case(session, read_case(session, read_name(name)).case.id, now=now)
    if as_json:
        print_json(
            {
                "order": number,
                "undone": [ordered_as_json(each) for each in undone.undone],
                "too_late": [ordered_as_json(each) for each in undone.too_late],
            }
        )
    else:
        _print_undone(undone)
    if undone.too_late or not undone.undone:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _print_undone(undone: Undone) -> None:
    if undone.undone:
        count = len(undone.undone)
        out().print(f"[green]undone[/] {count:,}: {_numbers(undone.undone)}; open again")
    else:
        print_error("nothing was taken back: nothing is planned there that has not begun")
    for each in undone.too_late[:SHOWN]:
        told = f": {each.outcome}" if each.outcome else ""
        out().print(f"case {each.case_id}  {each.invoice_id}  {way_words(each.kind)} {each.status}{escape(told)}")
    if len(undone.too_late) > SHOWN:
        out().print(f"and {len(undone.too_late) - SHOWN:,} more that had begun; --json lists all")


def _numbers(ways: Sequence[OrderedWay]) -> str:
    shown = ", ".join(str(each.case_id) for each in ways[:SHOWN])
    return f"cases {shown}" + (" ..." if len(ways) > SHOWN else "")


for _command, _example in (
    (reroute, "postiljon cases reroute 12 --to email --email buyer@example.com"),
    (resend, "postiljon cases resend 12 --document corrected.xml --reason 'VAT number added'"),
    (retry, "postiljon cases retry --verdict company-not-verified --yes"),
    (close, "postiljon cases close 12 --reason 'paid by card'"),
):
    cases_app.command(epilog=f"Example: {_example}")(_command)

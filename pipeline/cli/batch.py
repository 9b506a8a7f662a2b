"""`postiljon batch`: what was submitted together, how far it is, when it will be through, and waiting for that."""

import time
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database
from pipeline.cli.batch_words import as_object, for_people, look_as_object, row_of
from pipeline.cli.output import ExitStatus, JsonOption, err, friendly_errors, out, print_error, print_json
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.batches import BatchLook, look_at_batch
from pipeline.settings import Settings, load_settings
from pipeline.storage.batches import close_batch, find_batch, list_batches, read_batches
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import find_company
from pipeline.storage.database import Database

batch_app = typer.Typer(no_args_is_help=True, help="Batches: what was submitted together under a name.")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The batch's name, or its id.")]
CompanyOption = Annotated[str | None, typer.Option(help="Of which company: its UUID or name.")]
LOOK_SECONDS = 1.0


@batch_app.command("list", epilog="Example: postiljon batch list --going")
def list_(
    company: CompanyOption = None,
    going: Annotated[bool, typer.Option("--going", help="Only those that are not completed.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List batches with their balance, the newest first."""
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        company_id = find_company(session, company).id if company else None
        found = list_batches(session, company_id=company_id, going_only=going, limit=limit)
    if as_json:
        print_json({"batches": [as_object(each) for each in found]})
        return
    names = ("id", "batch", "company", "total", "delivered", "failed", "open", "held", "cancelled", "superseded", "")
    table = Table(*names, box=None, pad_edge=False)
    for each in found:
        table.add_row(*row_of(each))
    out().print(table if found else Text("no batch yet", style="dim"))


@batch_app.command("show", epilog="Example: postiljon batch show november --company 'Myyjä Oy'")
def show(name: NameArgument, company: CompanyOption = None, as_json: JsonOption = False) -> None:
    """Show the progress of a batch, its balance, when it will be through, who will be late, what holds it up."""
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database:
            look = _look(database, settings, _find(database, name, company))
    if as_json:
        print_json(look_as_object(look))
    else:
        out().print(for_people(look))


@batch_app.command("close", epilog="Example: postiljon batch close november")
def close(name: NameArgument, company: CompanyOption = None, as_json: JsonOption = False) -> None:
    """Say that no more comes under a batch's name; it is completed when nothing of it is open or held."""
    with friendly_errors(), open_database(load_settings()) as database:
        batch_id = _find(database, name, company)
        with database.transaction() as session:
            closed = close_batch(session, batch_id, now=read_clock(session))
            (batch,) = read_batches(session, [batch_id])
    if as_json:
        print_json({"closed": closed, **as_object(batch)})
    else:
        out().print(f"{batch.name} is closed" + ("" if closed else f" since {batch.closed_at:%Y-%m-%d %H:%M:%S} UTC"))


@batch_app.command("wait", epilog="Example: postiljon batch wait november --timeout 3600 && echo all through")
def wait(
    name: NameArgument,
    company: CompanyOption = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most; else until it is.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a batch is complete, with its progress in a terminal.

    Exit status 0: complete, and nothing of it failed. 1: complete and something failed, or not complete in time.
    """
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database:
            look = _wait(database, settings, _find(database, name, company), timeout)
    if as_json:
        print_json(look_as_object(look))
    else:
        out().print(for_people(look))
    balance = look.batch.balance
    if not look.batch.is_through:
        if not as_json:
            print_error(f"{look.batch.name} is not complete after {timeout:g} seconds; nothing was stopped")
        raise typer.Exit(ExitStatus.NOT_ALL)
    if balance.failed:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _wait(database: Database, settings: Settings, batch_id: int, timeout: float | None) -> BatchLook:
    until = None if timeout is None else time.monotonic() + timeout
    look = _look(database, settings, batch_id)
    console = err()
    shows = console.is_terminal and not look.batch.is_through
    live = Live(for_people(look), console=console, auto_refresh=False, transient=True) if shows else None
    with live or nullcontext():
        while not look.batch.is_through and (until is None or time.monotonic() < until):
            time.sleep(LOOK_SECONDS if until is None else max(min(LOOK_SECONDS, until - time.monotonic()), 0))
            try:
                look = _look(database, settings, batch_id)
            except ServiceUnavailableError:
                continue  # whoever waits for hours need not begin anew because the database was away for seconds
            if live is not None:
                live.update(for_people(look), refresh=True)
    return look


def _find(database: Database, name: str, company: str | None) -> int:
    with database.transaction() as session:
        company_id = find_company(session, company).id if company else None
        return find_batch(session, name, company_id=company_id).id


def _look(database: Database, settings: Settings, batch_id: int) -> BatchLook:
    with database.transaction() as session:
        (batch,) = read_batches(session, [batch_id])
        return look_at_batch(session, settings, batch)

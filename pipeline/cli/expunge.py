"""`postiljon expunge`: removes one customer's data for good, after showing what that is, and keeps a proof of it."""

from collections import Counter
from typing import Annotated
from uuid import UUID

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database
from pipeline.cli.arm import who
from pipeline.cli.output import ExitStatus, JsonOption, escape, friendly_errors, out, print_error, print_json
from pipeline.domain.errors import ConfigurationError
from pipeline.settings import load_settings
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import Company, find_company
from pipeline.storage.database import Database
from pipeline.storage.expunging import Expunged, Found, expunge, find_to_expunge

NAMED = 20
"""Invoices that are not finished, named for a person; --json names all."""
WARNING = (
    "Documents, names, numbers, file names, options, texts and the operator's actions of these invoices are removed "
    "for good. Their UUIDs stay used, so that nothing is sent twice."
)


def expunge_(
    company: Annotated[str, typer.Option(help="Of which company: its UUID or name.")],
    customer: Annotated[str | None, typer.Option(help="The customer's name, as `postiljon list` shows it.")] = None,
    invoice: Annotated[list[UUID] | None, typer.Option(help="An invoice; may be repeated.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove without asking. Without it and without a terminal: only look.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove one customer's data from finished invoices for good, with a proof; needs an explicit yes.

    What was resent of an invoice belongs to it. While one of them is open, nothing is removed.
    """
    with friendly_errors():
        if bool(invoice) == (customer is not None):
            raise ConfigurationError("whose data? name a --customer, or each --invoice")
        with open_database(load_settings()) as database:
            with database.transaction() as session:
                firm = find_company(session, company)
                found = find_to_expunge(session, firm.id, customer=customer, ids=invoice or ())
            if not as_json:
                _print_found(firm, found)
            agreed = not found.open and (yes or (not as_json and _agreed()))
            done = _expunge(database, firm, customer, invoice or []) if agreed else None
    if as_json:
        print_json(as_object(found, done))
    elif done is not None:
        _print_done(done)
    if done is None:
        raise typer.Exit(ExitStatus.NOT_ALL)


def as_object(found: Found, done: Expunged | None) -> dict[str, object]:
    """Return what was found and done, as scripts may rely on it."""
    return {
        "company": found.company_id,
        "invoices": found.ids,
        "open": [{"uuid": each.id, "state": each.state, "what_to_do": each.what_to_do} for each in found.open],
        "done": None
        if done is None
        else {
            "removal": done.removal,
            "invoices": done.invoices,
            "tables": {table: vars(proof) for table, proof in done.tables.items()},
            "shared_documents": done.shared_documents,
        },
    }


def _expunge(database: Database, company: Company, customer: str | None, ids: list[UUID]) -> Expunged:
    # Found once more in the transaction that removes: what came or moved while a person read is seen.
    with database.transaction() as session:
        found = find_to_expunge(session, company.id, customer=customer, ids=ids)
        return expunge(session, found, now=read_clock(session), by=who())


def _agreed() -> bool:
    if not out().is_terminal:
        print_error("nothing was changed: --yes removes it")
        return False
    answer: str = typer.prompt('Type "expunge" to remove it for good', default="", show_default=False)
    if answer.strip() == "expunge":
        return True
    print_error("nothing was changed")
    return False


def _print_found(company: Company, found: Found) -> None:
    out().print(f"{len(found.ids):,} invoices of [bold]{escape(company.name)}[/], with what was resent of them")
    if not found.open:
        out().print(Text(WARNING), soft_wrap=True)
        return
    print_error(f"nothing was changed: {len(found.open):,} of them are not finished")
    for each in found.open[:NAMED]:
        print_error(f"{each.id} is {each.state.value}: {each.what_to_do}")
    for state, count in Counter(each.state for each in found.open[NAMED:]).items():
        print_error(f"{count:,} more are {state.value}")


def _print_done(done: Expunged) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("removed of", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("SHA-256 of what was removed", no_wrap=True, min_width=64)
    for name, proof in done.tables.items():
        table.add_row(name, f"{proof.rows:,}", proof.sha256)
    out().print(table)
    out().print(f"{done.invoices:,} invoices expunged: removal {done.removal}, kept for ever")
    if done.shared_documents:
        out().print(f"{done.shared_documents:,} documents stay: other invoices have the same bytes")

"""`postiljon cancel`: a person takes back what never left. The rest stays as it is, and is told why."""

from collections import Counter
from typing import Annotated
from uuid import UUID

import typer

from pipeline.bootstrap import open_database
from pipeline.cli.output import ExitStatus, JsonOption, friendly_errors, out, print_error, print_json
from pipeline.domain.errors import ConfigurationError
from pipeline.services.batches import cancel_batch
from pipeline.settings import load_settings
from pipeline.storage.batches import find_batch
from pipeline.storage.cancelling import Cancelled, cancel_invoices
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import find_company
from pipeline.storage.database import Database

NAMED = 20
"""Invoices that could not be cancelled, named for a person; --json names all."""


def cancel(
    uuids: Annotated[list[UUID] | None, typer.Argument(help="Invoices to take back.")] = None,
    batch: Annotated[str | None, typer.Option(help="All of this batch that never left: its name or id.")] = None,
    company: Annotated[str | None, typer.Option(help="Of which company the batch is: its UUID or name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel invoices of which nothing ever reached the operator; what left cannot be taken back."""
    with friendly_errors():
        if bool(uuids) == (batch is not None):
            raise ConfigurationError("which invoices? name their UUIDs, or a --batch")
        with open_database(load_settings()) as database:
            verdicts = _cancel_batch(database, batch, company) if batch else _cancel(database, uuids or [])
    refused = [each for each in verdicts if each.why_not is not None]
    if as_json:
        print_json(_as_object(verdicts, refused))
    else:
        _print(verdicts, refused)
    if refused:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _cancel(database: Database, uuids: list[UUID]) -> list[Cancelled]:
    with database.transaction() as session:
        return cancel_invoices(session, uuids, now=read_clock(session))


def _cancel_batch(database: Database, name: str, company: str | None) -> list[Cancelled]:
    with database.transaction() as session:
        company_id = find_company(session, company).id if company else None
        batch_id = find_batch(session, name, company_id=company_id).id
    return [each for piece in cancel_batch(database, batch_id) for each in piece]


def _as_object(verdicts: list[Cancelled], refused: list[Cancelled]) -> dict[str, object]:
    return {
        "cancelled": [each.id for each in verdicts if each.why_not is None],
        "refused": [{"uuid": each.id, "state": each.state, "why": each.why_not} for each in refused],
    }


def _print(verdicts: list[Cancelled], refused: list[Cancelled]) -> None:
    out().print(f"{len(verdicts) - len(refused):,} cancelled")
    for each in refused[:NAMED]:
        print_error(f"{each.id} is not cancelled: {each.why_not}")
    if len(refused) > NAMED:
        more = Counter(each.why_not for each in refused[NAMED:])
        for why, count in more.most_common(NAMED):
            print_error(f"{count:,} more are not cancelled: {why}")

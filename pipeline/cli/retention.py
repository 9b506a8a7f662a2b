"""`postiljon retention`: drops now what need not be kept any longer, or only shows it."""

import asyncio
from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline.bootstrap import open_database
from pipeline.cli.output import ExitStatus, JsonOption, friendly_errors, out, print_error, print_json
from pipeline.domain.retention import told
from pipeline.services.retention import Dropped, Retention
from pipeline.settings import load_settings
from pipeline.storage.clock import FleetClock
from pipeline.storage.retention_rules import Leaving


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go; nothing is touched.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Drop what need not be kept any longer: documents, then records. Workers do it each night by themselves.

    Kept for ever unless POSTILJON_KEEP_DELIVERED_MONTHS, ..._FAILED_MONTHS, ..._DOCUMENTS_MONTHS or `company keep`
    say otherwise.
    """
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database:
            service = Retention(database=database, settings=settings, clock=FleetClock(database))
            dropped = Dropped(left=service.look()) if dry_run else asyncio.run(service.run(uuid4()))
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "keep": vars(settings.keep),
                "parts": [each.as_object() for each in dropped.left],
                "put_off": dropped.put_off,
            }
        )
    else:
        keep = settings.keep
        out().print(
            f"kept: delivered {told(keep.delivered)}, failed {told(keep.failed)}, documents "
            f"{'as long as their records' if keep.documents is None else told(keep.documents)}; "
            "companies may have months of their own (postiljon company keep)"
        )
        out().print(_table(dropped.left, dry_run=dry_run) if dropped.left else "nothing to drop")
    for each in dropped.put_off:
        print_error(f"put off: {each}")
    if dropped.put_off:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _table(left: Sequence[Leaving], *, dry_run: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("would go" if dry_run else "gone", justify="right", no_wrap=True)
    table.add_column("would stay" if dry_run else "stay", justify="right", no_wrap=True)
    table.add_column("of which", overflow="fold")
    for each in left:
        states = ", ".join(f"{n:,} {state}" for state, n in each.states.items())
        table.add_row(each.part, f"{each.rows:,}", f"{each.kept:,}", states)
    return table

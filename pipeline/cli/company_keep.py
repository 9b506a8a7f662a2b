"""`postiljon company keep`: how long the invoices of one company are kept, where that differs from all others."""

from dataclasses import replace
from typing import Annotated

import typer

from pipeline.bootstrap import open_database
from pipeline.cli.output import JsonOption, escape, friendly_errors, out, print_json
from pipeline.domain.retention import Keep, told
from pipeline.settings import load_settings
from pipeline.storage.companies import find_company
from pipeline.storage.keeping import read_keep, save_keep

MONTHS = typer.Option(metavar="MONTHS", help="1 to 1200.")


def keep(
    company: Annotated[str, typer.Argument(help="UUID or name.")],
    delivered: Annotated[int | None, MONTHS] = None,
    failed: Annotated[int | None, MONTHS] = None,
    documents: Annotated[int | None, MONTHS] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="No months of its own any more, before what is given.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Set for how many whole months records and documents of a company are kept. Without options it shows them.

    Failures are kept at least as long as what was delivered, documents no longer than that. 1200 is a hundred years.
    """
    given = {"delivered": delivered, "failed": failed, "documents": documents}
    changes = {name: months for name, months in given.items() if months is not None}
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database, database.transaction() as session:
            found = find_company(session, company)
            own = read_keep(session, found.id)
            if clear or changes:
                own = replace(Keep() if clear else own, **changes)
                own.within(settings.keep).check()
                save_keep(session, found.id, own)
    counts = own.within(settings.keep)
    if as_json:
        print_json({"company": found.id, "name": found.name, "own": vars(own), "keep": vars(counts)})
        return
    out().print(f"[bold]{escape(found.name)}[/]  {found.id}")
    documents_told = "as long as their records" if counts.documents is None else told(counts.documents)
    whose = "its own months" if own != Keep() else "as every company"
    out().print(
        f"delivered {told(counts.delivered)}, failed {told(counts.failed)}, documents {documents_told} ({whose})"
    )

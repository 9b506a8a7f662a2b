"""`postiljon release`: a person says that a held invoice may go on."""

from typing import Annotated
from uuid import UUID

import typer

from pipeline.bootstrap import open_database
from pipeline.cli.output import ExitStatus, JsonOption, friendly_errors, out, print_error, print_json
from pipeline.settings import load_settings
from pipeline.storage.clock import read_clock
from pipeline.storage.holding import release_invoice


def release(
    uuids: Annotated[list[UUID], typer.Argument(help="Invoices held for a person.")],
    as_json: JsonOption = False,
) -> None:
    """Let held invoices go on: asked about first if anything of them ever left, else sent."""
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        now = read_clock(session)
        states = {uuid: release_invoice(session, uuid, now=now) for uuid in uuids}
    if as_json:
        print_json({"released": {str(uuid): state for uuid, state in states.items()}})
    for uuid, state in states.items():
        if state is None:
            print_error(f"{uuid} is not held for a person; postiljon show {uuid} says how it stands")
        elif not as_json:
            out().print(f"{uuid} is {state.value} again")
    if None in states.values():
        raise typer.Exit(ExitStatus.NOT_ALL)

"""`postiljon arm`: a person says that this installation is the living one, after seeing what that means."""

import asyncio
import getpass
import platform
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import Machine
from pipeline.cli.output import ExitStatus, JsonOption, friendly_errors, out, print_error, print_json
from pipeline.domain.arming import Standing
from pipeline.services.arm import Arming, Found, Survey
from pipeline.services.arming import require_key
from pipeline.settings import Settings, load_settings

UNKNOWN_SHOWN = 20
WARNING = (
    "Only one installation may live: stop the other one first. What this database believes unsent is asked about "
    "before anything is sent."
)


def arm(
    yes: Annotated[
        bool, typer.Option("--yes", help="Arm without asking. Without it and without a terminal: only look.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let this installation send: shows what differs and what the living one sent, and needs an explicit yes."""
    with friendly_errors():
        settings = load_settings()
        survey, done = asyncio.run(_run(settings, yes=yes, as_json=as_json))
    if as_json:
        print_json({**as_object(survey), "done": None if done is None else vars_of(done)})
    elif done is not None:
        out().print(
            f"armed: {done.adopted} adopted, {done.asked_first} more are asked about first, {done.cases} cases left "
            "to a person; postiljon board shows them"
        )
    if done is None and not survey.standing.is_armed:
        raise typer.Exit(ExitStatus.NOT_ALL)


def who() -> str:
    """Return user and machine, as the arming keeps them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user number without a name
        user = "unknown user"
    return f"{user} at {platform.node() or 'unknown machine'}"


async def _run(settings: Settings, *, yes: bool, as_json: bool) -> tuple[Survey, Arming | None]:
    machine = Machine(settings)
    try:
        survey = await machine.armer.look()
        if not as_json:
            _print_survey(survey)
        if survey.standing.is_armed:
            return survey, None
        require_key(settings)
        if not yes and (as_json or not _agreed()):
            return survey, None
        return survey, machine.armer.arm(survey, by=who())
    finally:
        await machine.close()


def _agreed() -> bool:
    if not out().is_terminal:
        print_error("nothing was changed: --yes arms it")
        return False
    answer: str = typer.prompt('Type "arm" to make this the living installation', default="", show_default=False)
    if answer.strip() == "arm":
        return True
    print_error("nothing was changed")
    return False


def _print_survey(survey: Survey) -> None:
    console = out()
    standing = survey.standing
    if standing.is_armed:
        since = f" since {standing.latest.at:%Y-%m-%d %H:%M} UTC by {standing.latest.by}" if standing.latest else ""
        console.print(Text(f"armed{since}: it may send"))
        return
    console.print(_differences(standing))
    if survey.snapshot is not None:
        console.print(Text(f"This database knows of uploads until {survey.snapshot:%Y-%m-%d %H:%M:%S} UTC."))
    console.print(Text(f"{survey.unsent} invoices are unsent here."))
    for each in survey.companies:
        console.print(Text(_told(each)), soft_wrap=True)
        for one in each.unknown[:UNKNOWN_SHOWN]:
            console.print(Text(f"    {one.uuid}  {one.number or 'no number'}"))
    console.print(Text(WARNING), soft_wrap=True)


def _differences(standing: Standing) -> Table:
    table = Table(title="Disarmed: nothing is sent", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("what differs", "when it was armed", "here"):
        table.add_column(name, overflow="fold")
    for each in standing.differences:
        table.add_row(each.part.value, Text(each.armed or "unknown"), Text(each.here))
    return table


def _told(found: Found) -> str:
    if found.failure is not None:
        return f"{found.name}: {found.failure}; what is unsent is asked about one by one all the same"
    return (
        f"{found.name}: the operator holds {len(found.to_adopt)} that are unsent here (they are adopted), and "
        f"{len(found.unknown)} that this database does not know"
    )


def as_object(survey: Survey) -> dict[str, object]:
    """Return what was found, as scripts may rely on it."""
    latest = survey.standing.latest
    return {
        "armed": survey.standing.is_armed,
        "why": survey.standing.why,
        "differences": [
            {"part": each.part, "armed": each.armed, "here": each.here} for each in survey.standing.differences
        ],
        "last_armed_at": latest.at if latest else None,
        "last_armed_by": latest.by if latest else None,
        "snapshot": survey.snapshot,
        "unsent": survey.unsent,
        "companies": [
            {
                "company": each.company_id,
                "name": each.name,
                "to_adopt": each.to_adopt,
                "unknown": len(each.unknown),
                "first_unknown": [{"uuid": one.uuid, "number": one.number} for one in each.unknown[:UNKNOWN_SHOWN]],
                "failure": each.failure,
            }
            for each in survey.companies
        ],
    }


def vars_of(done: Arming) -> dict[str, int]:
    """Return what was done, as scripts may rely on it."""
    return {"adopted": done.adopted, "asked_first": done.asked_first, "cases": done.cases}

"""`postiljon company`: the companies we send for."""

from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Annotated
from uuid import UUID

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import build_vault, open_database, utc_now
from pipeline.cli.output import JsonOption, escape, friendly_errors, out, print_json
from pipeline.domain.credentials import DEFAULT_SCOPES, CompanyCredentials
from pipeline.domain.errors import InvalidInputError
from pipeline.settings import load_settings
from pipeline.storage.companies import (
    Company,
    find_company,
    list_companies,
    release_company,
    save_company,
    set_limits,
)

company_app = typer.Typer(no_args_is_help=True, help="The companies we send for, with their keys.")

Key = typer.Option(prompt=True, hide_input=True, help="Asked for without echo when not given; better by environment.")


@company_app.command(epilog="Example: postiljon company add 00000000-0000-4000-8000-000000000001 --name 'Myyjä Oy'")
def add(
    company_id: Annotated[UUID, typer.Argument(help="The operator's company UUID (the OAuth client_id).")],
    name: Annotated[str, typer.Option(help="What you call the company; unique.")],
    user_key: Annotated[str, Key],
    vendor_key: Annotated[str, Key],
    scope: Annotated[list[str], typer.Option(help="A scope to ask for; may be repeated.")] = list(DEFAULT_SCOPES),  # noqa: B006 - typer reads it once
    as_json: JsonOption = False,
) -> None:
    """Add a company, or replace its name and keys; a hold of it ends."""
    with friendly_errors():
        credentials = CompanyCredentials(
            company_id=company_id,
            user_api_key=_key("user key", user_key),
            vendor_api_key=_key("vendor key", vendor_key),
            scopes=tuple(scope),
        )
        if not name.strip():
            raise InvalidInputError("the company needs a --name")
        settings = load_settings()
        with open_database(settings) as database, database.transaction() as session:
            created = save_company(session, credentials, name=name.strip(), vault=build_vault(settings), now=utc_now())
            released = release_company(session, company_id, cause="the company's keys were entered anew", now=utc_now())
    if as_json:
        print_json({"company": company_id, "name": name, "created": created, "released_invoices": released})
        return
    out().print(f"{'added' if created else 'changed'} {escape(name)} ({company_id})")
    if released:
        out().print(f"{released} held invoices go on")


@company_app.command("list", epilog="Example: postiljon company list --json")
def list_(as_json: JsonOption = False) -> None:
    """List the companies."""
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        companies = list_companies(session)
    if as_json:
        print_json({"companies": [_as_json(company) for company in companies]})
        return
    out().print(_table(companies) if companies else "No company yet: postiljon company add")


@company_app.command(epilog="Example: postiljon company limit 'Myyjä Oy' --uploads 10 --weight 2")
def limit(
    company: Annotated[str, typer.Argument(help="UUID or name.")],
    uploads: Annotated[str | None, typer.Option(metavar="N|none", help="Uploads a second.")] = None,
    reads: Annotated[str | None, typer.Option(metavar="N|none", help="Everything else a second.")] = None,
    weight: Annotated[str | None, typer.Option(metavar="W", help="Its share beside others; 1 is usual.")] = None,
    cap: Annotated[str | None, typer.Option(metavar="N|none", help="Invoices with workers at once.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Set how fast a company may send, and its share; takes effect within a second. Without options it shows them."""
    given = {"uploads_per_second": uploads, "reads_per_second": reads, "weight": weight, "cap": cap}
    with friendly_errors():
        changes = {name: _number(name, value) for name, value in given.items() if value is not None}
        with open_database(load_settings()) as database, database.transaction() as session:
            found = find_company(session, company)
            if changes:
                found = set_limits(session, found.id, changes)
    if as_json:
        print_json(_as_json(found))
        return
    out().print(f"[bold]{escape(found.name)}[/]  {found.id}\n{_limits(found)}")


def _number(name: str, value: str) -> float | None:
    if value.strip().lower() == "none":
        return None
    try:
        number = float(value)
    except ValueError as exc:
        raise InvalidInputError(f"{name} is a number or none, not {value!r}") from exc
    if not isfinite(number):
        raise InvalidInputError(f"{name} is a number or none, not {value!r}")
    return int(number) if name == "cap" and number.is_integer() else number


def _limits(company: Company) -> str:
    """Put in words what is not as with every company; the settings may limit all of them besides."""
    uploads = f"uploads {_rate(company.uploads_per_second)}"
    reads = f"reads {_rate(company.reads_per_second)}"
    at_once = "no cap" if company.cap is None else f"at most {company.cap:,} at once"
    return f"{uploads}, {reads}, weight {company.weight:g}, {at_once}"


def _rate(limit: float | None) -> str:
    return "without a limit of their own" if limit is None else f"at most {limit:g} a second"


def _table(companies: Sequence[Company]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    # A UUID is copied, so it is never cut; what is long wraps beside it.
    table.add_column("UUID", no_wrap=True, min_width=36)
    table.add_column("company, and how it stands", overflow="fold")
    for company in companies:
        told = Text(company.name, style="bold")
        if company.hold_reason is None:
            told.append("  active", style="green")
        else:
            told.append(f"  held since {_minute(company.held_since)}\n", style="yellow")
            told.append(f"{company.hold_reason}\nwhat to do: {company.hold_advice or 'mend it at the operator'}\n")
            told.append(f"next check {_minute(company.check_at)}", style="dim")
        if _is_limited(company):
            told.append(f"\n{_limits(company)}", style="dim")
        table.add_row(str(company.id), told)
    return table


@company_app.command(epilog="Example: postiljon company show 'Myyjä Oy'")
def show(
    company: Annotated[str, typer.Argument(help="UUID or name.")],
    as_json: JsonOption = False,
) -> None:
    """Show one company, and why it is held if it is."""
    with friendly_errors(), open_database(load_settings()) as database, database.transaction() as session:
        found = find_company(session, company)
    if as_json:
        print_json(_as_json(found))
        return
    out().print(f"[bold]{escape(found.name)}[/]  {found.id}\nscopes: {' '.join(found.scopes)}\n{_limits(found)}")
    if found.hold_reason is None:
        out().print("active: its invoices are sent")
    else:
        out().print(f"held since {_minute(found.held_since)}: {escape(found.hold_reason)}")
        out().print(f"what to do: {escape(found.hold_advice or 'mend it at the operator')}")
        out().print(f"next check {_minute(found.check_at)}; its invoices go on by themselves")


def _is_limited(company: Company) -> bool:
    own = (company.uploads_per_second, company.reads_per_second, company.cap)
    return company.weight != 1 or any(value is not None for value in own)


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else "soon"


def _key(what: str, value: str) -> str:
    stripped = value.strip()
    if not stripped or not stripped.isascii() or any(c.isspace() for c in stripped):
        raise InvalidInputError(f"the {what} is empty or has blanks inside; copy it again")
    return stripped


def _as_json(company: Company) -> dict[str, object]:
    return {
        "company": company.id,
        "name": company.name,
        "scopes": company.scopes,
        "held": company.hold_reason is not None,
        "hold_reason": company.hold_reason,
        "hold_advice": company.hold_advice,
        "held_since": company.held_since,
        "next_check": company.check_at,
        "holds": company.holds,
        "created_at": company.created_at,
        "uploads_per_second": company.uploads_per_second,
        "reads_per_second": company.reads_per_second,
        "weight": company.weight,
        "cap": company.cap,
    }

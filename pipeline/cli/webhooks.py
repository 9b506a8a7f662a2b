"""`postiljon webhooks register|list|remove|resend`: have the operator tell us what became of invoices."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import typer
from rich.table import Table

from pipeline.bootstrap import Machine
from pipeline.cli.output import ExitStatus, JsonOption, escape, friendly_errors, out, print_error, print_json
from pipeline.domain.errors import ConfigurationError
from pipeline.services.arming import require_armed
from pipeline.services.together import finish_all
from pipeline.services.webhook_address import checked_base_url
from pipeline.services.webhooks import Done, Line, Report, Standing, WebhookKeeper
from pipeline.settings import Installation, Settings, load_settings
from pipeline.storage.companies import Company, find_company, list_companies
from pipeline.storage.webhooks import PATH

webhooks_app = typer.Typer(no_args_is_help=True, help="Have the operator tell us at once what became of invoices.")

T = TypeVar("T")

SECRET_BYTES = 32
COMPANIES_AT_ONCE = 10
FAILED = frozenset({Done.REFUSED, Done.UNCLEAR})

Companies = Annotated[list[str] | None, typer.Argument(help="Companies by UUID or name.", metavar="[COMPANY]...")]
All = Annotated[bool, typer.Option("--all", help="All companies.")]
Url = Annotated[str | None, typer.Option(help="Where the operator reaches the receiver; else POSTILJON_WEBHOOK_URL.")]


@webhooks_app.command(epilog="Example: postiljon webhooks register --all --url https://hooks.example.com")
def register(company: Companies = None, every: All = False, url: Url = None, as_json: JsonOption = False) -> None:
    """Subscribe companies, one subscription each; safe to repeat, and with another URL it moves them."""
    with friendly_errors():
        settings = load_settings()
        base_url = _base_url(settings, url)
        reports = _for_each(settings, company, every, lambda keeper, one: keeper.register(one.id, base_url=base_url))
    _print_reports(reports, as_json)


@webhooks_app.command("list", epilog="Example: postiljon webhooks list --json")
def list_(
    company: Companies = None,
    show_url: Annotated[bool, typer.Option("--show-url", help="Print the secret path too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show our webhooks beside the operator's subscriptions."""
    with friendly_errors():
        settings = load_settings()
        base_url = _base_url(settings, None) if settings.webhook_url else None
        found = _for_each(
            settings,
            company,
            not company,
            lambda keeper, one: keeper.compare(one.id, base_url=base_url),
            changes=False,
        )
    lines = [(owner, line) for owner, each in found for line in each]
    if as_json:
        print_json({"webhooks": [_line_json(owner, line, show_url) for owner, line in lines]})
    else:
        table = Table("company", "state", "URL", "last heard", "what to do")
        for owner, line in lines:
            heard = line.webhook.heard_at if line.webhook else None
            table.add_row(
                escape(owner.name),
                line.standing.value,
                escape(_url(line, show_url) or ""),
                f"{heard:%Y-%m-%d %H:%M} UTC" if heard else "",
                escape(line.told or ""),
            )
        out().print(table if lines else "No company yet: postiljon company add")
    if any(line.standing in {Standing.MISSING, Standing.UNREADABLE} for _, line in lines):
        raise typer.Exit(ExitStatus.NOT_ALL)


@webhooks_app.command(epilog="Example: postiljon webhooks remove 'Myyjä Oy'")
def remove(company: Companies = None, every: All = False, as_json: JsonOption = False) -> None:
    """End subscriptions at the operator and forget their secrets; invoices are followed by polling alone then."""
    with friendly_errors():
        reports = _for_each(load_settings(), company, every, lambda keeper, one: keeper.remove(one.id))
    _print_reports(reports, as_json)


@webhooks_app.command(epilog="Example: postiljon webhooks resend --all")
def resend(company: Companies = None, every: All = False, as_json: JsonOption = False) -> None:
    """Have the operator send again what we never acknowledged (experimental there); doubles change nothing."""
    with friendly_errors():
        reports = _for_each(load_settings(), company, every, lambda keeper, one: keeper.resend(one.id))
    _print_reports(reports, as_json)


def _base_url(settings: Settings, given: str | None) -> str:
    must_be_safe = settings.installation is Installation.PRODUCTION
    return checked_base_url(given or settings.webhook_url, must_be_safe=must_be_safe)


def _for_each(
    settings: Settings,
    named: Sequence[str] | None,
    every: bool,
    call: Callable[[WebhookKeeper, Company], Awaitable[T]],
    *,
    changes: bool = True,
) -> list[tuple[Company, T]]:
    if bool(named) == every:
        raise ConfigurationError("name companies, or give --all")

    async def do() -> list[tuple[Company, T]]:
        async with _machine(settings) as machine:
            with machine.database.transaction() as session:
                if changes:
                    # A copy would move the living installation's webhooks to itself.
                    require_armed(session, settings)
                chosen = [find_company(session, each) for each in named or ()] if named else list_companies(session)
            keeper = WebhookKeeper(
                database=machine.database,
                vault=machine.vault,
                subscriptions=machine.client,
                clock=machine.clock,
                mint=lambda: secrets.token_urlsafe(SECRET_BYTES),
            )

            async def one(company: Company) -> tuple[Company, T]:
                return company, await call(keeper, company)

            distinct = {company.id: company for company in chosen}.values()
            return await finish_all((one(company) for company in distinct), at_once=COMPANIES_AT_ONCE)

    return asyncio.run(do())


@asynccontextmanager
async def _machine(settings: Settings) -> AsyncIterator[Machine]:
    machine = Machine(settings)
    try:
        yield machine
    finally:
        await machine.close()


def _print_reports(reports: Sequence[tuple[Company, Report]], as_json: bool) -> None:
    if as_json:
        rows = [{"company": owner.id, "name": owner.name, "done": r.done, "told": r.told} for owner, r in reports]
        print_json({"webhooks": rows})
    else:
        for owner, report in reports:
            if report.done in FAILED:
                continue
            told = f": {escape(report.told)}" if report.told else ""
            out().print(f"{escape(owner.name)}: {report.done.value}{told}", soft_wrap=True)
        if not reports:
            out().print("No company yet: postiljon company add")
    _print_failures(reports)
    ends = {report.done for _, report in reports}
    if Done.REFUSED in ends:
        raise typer.Exit(ExitStatus.NOT_ALL)
    if Done.UNCLEAR in ends:
        raise typer.Exit(ExitStatus.UNAVAILABLE)


def _print_failures(reports: Sequence[tuple[Company, Report]]) -> None:
    # On stderr with --json too: a script that keeps stderr alone is told what went wrong, and why.
    for owner, report in reports:
        if report.done in FAILED:
            print_error(f"{owner.name}: {report.done.value}: {report.told or 'the operator gave no reason'}")


def _line_json(owner: Company, line: Line, show_url: bool) -> dict[str, object]:
    webhook, subscription = line.webhook, line.subscription
    return {
        "company": owner.id,
        "name": owner.name,
        "state": line.standing,
        "url": _url(line, show_url),
        "subscription": subscription.id if subscription else webhook.subscription_id if webhook else None,
        "heard_at": webhook.heard_at if webhook else None,
        "told": line.told,
    }


def _url(line: Line, show_url: bool) -> str | None:
    """Return where it goes, without the secret unless asked for."""
    if line.webhook is not None:
        return line.webhook.url if show_url else f"{line.webhook.base_url}{PATH}..."
    destination = (line.subscription.destination if line.subscription else None) or ""
    if show_url or not destination:
        return destination or None
    parts = urlsplit(destination)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."

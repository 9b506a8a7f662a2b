"""`postiljon route`: checking a file of rules, and replaying it on history before it is put to work."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database
from pipeline.cli.cases_since import read_since
from pipeline.cli.cases_words import WAYS, moment
from pipeline.cli.output import ExitStatus, JsonOption, err, escape, friendly_errors, out, print_error, print_json
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing import CompanyRules, Routing
from pipeline.domain.way import Way
from pipeline.services.routing_source import read_routing
from pipeline.services.simulate_routing import LATER, PERSON, Difference, Simulation, simulate_routing
from pipeline.settings import load_settings
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import find_company, list_companies

route_app = typer.Typer(no_args_is_help=True, help="The rules of routing: check them, and replay them on history.")

RulesOption = Annotated[Path, typer.Option("--rules", help="The file of rules (routing.toml).")]


@route_app.command(epilog="Example: postiljon route simulate --rules routing.toml --since 90d")
def simulate(
    rules: RulesOption,
    since: Annotated[str, typer.Option(help="From when: a date, or 90d, 12h.")] = "90d",
    company: Annotated[str | None, typer.Option(help="Only this company (UUID or name).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay rules on past failures without touching anything, and show what they would have done."""
    with friendly_errors():
        routing, settings = load_rules(rules), load_settings()
        with open_database(settings) as database:
            with database.transaction() as session:
                company_id = find_company(session, company).id if company is not None else None
                strangers = routing.strangers({each.id: each.name for each in list_companies(session)})
                now = read_clock(session)
            start = read_since(since, now=now)
            simulation = simulate_routing(database, routing, since=start, now=now, company_id=company_id)
    if as_json:
        print_json({"rules": str(rules), "since": start, "warnings": strangers, **_as_json(simulation)})
    else:
        for stranger in strangers:
            err().print(f"[yellow]warning:[/] {escape(stranger)}", soft_wrap=True)
        out().print(_for_people(simulation, f"{rules}, failures since {moment(start)} UTC"))


@route_app.command(epilog="Example: postiljon route check --rules routing.toml")
def check(rules: RulesOption, as_json: JsonOption = False) -> None:
    """Check a file of rules, line by line, and show what it switches on for whom; needs no database."""
    with friendly_errors():
        routing = load_rules(rules)
    companies = list(routing.companies.values())
    if as_json:
        print_json({"rules": str(rules), "ok": True, "default_rules": len(routing.rules), **_switched_on(companies)})
        return
    out().print(f"[green]ok[/]  {escape(str(rules))}: {_described(routing)}")
    for each in companies:
        ways = ", ".join(sorted(each.automatic)) or "nothing"
        out().print(f"  {escape(each.key)}: {ways} without asking; rules of its own: {len(each.rules)}")
    if not any(each.automatic for each in companies):
        out().print("  no company has switched anything on: a person decides every case")


def load_rules(path: Path | None) -> Routing:
    """Read a file of rules, or the defaults without one. A wrong file is told line by line, with exit status 2."""
    try:
        return read_routing(path)
    except ConfigurationError as exc:
        for line in str(exc).splitlines():
            print_error(line)
        raise typer.Exit(ExitStatus.USAGE) from exc


def _described(routing: Routing) -> str:
    return (
        f"rules for all: {len(routing.rules)}, verdict rows: {len(routing.rows)}, companies: {len(routing.companies)}"
    )


def _switched_on(companies: list[CompanyRules]) -> dict[str, object]:
    return {
        "companies": {each.key: {"automatic": sorted(each.automatic), "rules": len(each.rules)} for each in companies}
    }


def _as_json(simulation: Simulation) -> dict[str, object]:
    return {
        "cases": simulation.cases,
        "failures": simulation.failures,
        "would": _would(simulation),
        "changed_verdict": simulation.changed_verdict,
        "decided_by_people": simulation.decided_by_people,
        "agreed_with_people": simulation.agreed_with_people,
        "differences": simulation.differences,
        "differs": [
            {
                "case": each.case_id,
                "uuid": each.invoice_id,
                "at": each.at,
                "would": each.would,
                "why": each.why,
                "really": each.really,
                "by": each.by,
                "delivered": each.delivered,
            }
            for each in simulation.differs
        ],
        "persons_why": dict(simulation.persons_why.most_common()),
    }


def _would(simulation: Simulation) -> dict[str, int]:
    ways = [way.value for way in Way if way is not Way.CLOSE]
    return {name: simulation.would[name] for name in (*ways, LATER, PERSON)}


def _for_people(simulation: Simulation, title: str) -> RenderableType:
    if not simulation.failures:
        return Text(f"Nothing failed in that time ({title}).")
    parts: list[RenderableType] = [Text(title, style="bold"), _would_table(simulation), _compared(simulation)]
    if simulation.persons_why:
        parts += [Text(), _reasons(simulation.persons_why)]
    if simulation.differs:
        parts += [Text(), _differences(simulation)]
    return Group(*parts)


def _would_table(simulation: Simulation) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("what the rules would have done", overflow="fold")
    table.add_column("failures", justify="right", no_wrap=True)
    words = {
        **WAYS,
        LATER: "wait, and something else happened first",
        PERSON: "ask a person",
    }
    for name, count in _would(simulation).items():
        table.add_row(words[name], f"{count:,}")
    table.add_row(Text("all", style="bold"), Text(f"{simulation.failures:,}", style="bold"))
    return table


def _compared(simulation: Simulation) -> Text:
    return Text(
        f"{simulation.cases:,} cases; judged otherwise than then: {simulation.changed_verdict:,}; "
        f"the rules agree with {simulation.agreed_with_people:,} of {simulation.decided_by_people:,} decisions "
        f"that people took"
    )


def _reasons(reasons: Counter[str]) -> Table:
    table = Table(title="Why a person is asked", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("failures", justify="right", no_wrap=True)
    table.add_column("because", overflow="fold")
    for why, count in reasons.most_common():
        table.add_row(f"{count:,}", Text(why))
    return table


def _differences(simulation: Simulation) -> Table:
    shown = simulation.differs
    more = f", the first {len(shown)}" if simulation.differences > len(shown) else ""
    title = f"Otherwise than was done ({simulation.differences:,}{more})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("case", "invoice"):
        table.add_column(name, no_wrap=True)
    table.add_column("would / really", overflow="fold")
    for each in shown:
        table.add_row(str(each.case_id), str(each.invoice_id), Text(_difference(each)))
    return table


def _difference(each: Difference) -> str:
    end = "delivered" if each.delivered else "not delivered"
    return f"{each.would} ({each.why}) / {each.really} by {each.by}, {end}"

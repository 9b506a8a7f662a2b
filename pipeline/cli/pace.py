"""`postiljon pace`: how fast the fleet may go and goes, what stands in its way, and when it will be done."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database
from pipeline.cli.output import JsonOption, friendly_errors, out, print_json
from pipeline.domain.circuit import Circuit, CircuitState
from pipeline.domain.forecast import Forecast
from pipeline.domain.pace import Pace
from pipeline.domain.turnstile import Lane
from pipeline.services.forecast import Flow, read_flow, shown, tell
from pipeline.services.gate import host_scope
from pipeline.settings import Settings, load_settings
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import Company, find_company, list_companies
from pipeline.storage.database import Database
from pipeline.storage.pacing import lift as storage_lift
from pipeline.storage.tallies import read_tallies

SLOWEST_SHOWN = 0.05
COMPANIES_SHOWN = 40
CompanyOption = typer.Option("--company", help="UUID or name; without it the operator's host, and so everybody.")
WORDS = {
    CircuitState.OPEN: "left alone",
    CircuitState.HALF_OPEN: "one canary asks",
    CircuitState.CLOSING: "starting slowly",
}


@dataclass(frozen=True, kw_only=True)
class PaceBoard:
    """How the sending goes at one instant."""

    at: datetime
    flow: Flow
    companies: tuple[Company, ...]


def pace(as_json: JsonOption = False) -> None:
    """Show limits, speeds, pauses, circuits and the forecast, of the operator's host and of companies."""
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database:
            board = read_pace(database, settings)
    if as_json:
        print_json(as_object(board))
        return
    out().print(for_people(board))


def lift(company: Annotated[str | None, CompanyOption] = None, as_json: JsonOption = False) -> None:
    """End a pause that the operator asked for by Retry-After: of its host, or of one company.

    For a pause that is a mistake, or that the operator took back. It may ask for it again.
    """
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database, database.transaction() as session:
            scope = str(find_company(session, company).id) if company else host_scope(settings)
            lifted = storage_lift(session, scope, now=read_clock(session))
    if as_json:
        print_json({"scope": scope, "lifted": lifted})
    else:
        out().print(f"lifted: {scope} goes on" if lifted else f"no pause of {scope}")


def read_pace(database: Database, settings: Settings) -> PaceBoard:
    """Read how the sending goes; cheap however many invoices there are. Raises: ServiceUnavailableError."""
    with database.transaction() as session:
        at = read_clock(session)
        companies = list_companies(session)
        flow = read_flow(session, settings, tallies=read_tallies(session), companies=companies, now=at)
    return PaceBoard(at=at, flow=flow, companies=tuple(companies))


def as_object(board: PaceBoard) -> dict[str, object]:
    """Return the paces as scripts may rely on it: the host first, then every company."""
    flow = board.flow
    return {
        "at": board.at,
        "host": {"scope": flow.host, "backlog": sum(flow.backlogs.values()), **_scope(flow, flow.host)},
        "companies": [
            {
                "company": company.id,
                "company_name": company.name,
                "weight": company.weight,
                "cap": company.cap,
                "held": company.hold_reason is not None,
                "backlog": flow.backlogs[str(company.id)],
                "finish_at": flow.forecast.finish_of.get(str(company.id)),
                **_scope(flow, str(company.id)),
            }
            for company in board.companies
        ],
        "forecast": forecast_as_object(flow.forecast),
        "fairness": flow.fairness,
    }


def forecast_as_object(forecast: Forecast) -> dict[str, object]:
    """Return a forecast as scripts may rely on it; `finish_at` and `seconds` are null when it cannot be said."""
    return {
        "finish_at": forecast.finish_at,
        "seconds": None if forecast.seconds is None else round(forecast.seconds, 3),
        "backlog": forecast.backlog,
        "left_out": forecast.left_out,
        "per_second": round(forecast.per_second, 3),
        "starts_at": forecast.starts_at,
        "basis": forecast.basis,
        "told": tell(forecast),
    }


def forecast_lines(flow: Flow) -> Text:
    """Return the forecast for a screen, with the fairness where there is one to tell."""
    line = Text(tell(flow.forecast), style="yellow" if flow.forecast.finish_at is None else "")
    if flow.fairness is not None:
        count = sum(1 for backlog in flow.backlogs.values() if backlog)
        line.append(f"\nfairness {flow.fairness:.2f} (Jain's index over {count} companies with something to send)")
    return line


def for_people(board: PaceBoard) -> Group:
    """Return the paces for a screen of 80 columns or more; companies only where there is something to tell."""
    flow = board.flow
    parts: list[RenderableType] = [Text(f"{board.at:%Y-%m-%d %H:%M:%S} UTC"), forecast_lines(flow)]
    parts += list(_circuits(board))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("who", "lane", "limit/s", "now/s", "to send", "pause"):
        is_number = name in {"limit/s", "now/s", "to send"}
        table.add_column(name, justify="right" if is_number else "left", no_wrap=name != "who", overflow="fold")
    _add_rows(table, board, flow.host, flow.host, sum(flow.backlogs.values()))
    telling = [company for company in board.companies if _has_news(board, company)]
    telling.sort(key=lambda company: -flow.backlogs[str(company.id)])
    for company in telling[:COMPANIES_SHOWN]:
        weight = f" (weight {company.weight:g})" if company.weight != 1 else ""
        name = f"{company.name}{weight}{' - on hold' if company.hold_reason else ''}"
        _add_rows(table, board, str(company.id), name, flow.backlogs[str(company.id)])
    if len(telling) > COMPANIES_SHOWN:
        table.add_row(Text(f"and {len(telling) - COMPANIES_SHOWN} more: postiljon pace --json", style="dim"))
    return Group(*parts, table)


def _add_rows(table: Table, board: PaceBoard, scope: str, name: str, backlog: int) -> None:
    for lane in Lane:
        pace = board.flow.paces.get((scope, lane))
        is_first = lane is Lane.UPLOAD
        if not is_first and (pace is None or not _tells(pace, board.at)):
            continue
        who = Text(name if is_first else "")
        to_send = f"{backlog:,}" if is_first and backlog else ""
        if pace is None:
            table.add_row(who, lane.value, "-", "0", to_send, "")
            continue
        limit = "-" if pace.limit is None else f"{'~' if pace.is_adaptive else ''}{pace.limit:.3g}"
        blocked = pace.blocked_until if pace.blocked_until is not None and pace.blocked_until > board.at else None
        pause = f"until {shown(blocked, board.at)}" if blocked is not None else ""
        table.add_row(who, lane.value, limit, f"{_rounded(pace.speed):.3g}", to_send, Text(pause, style="yellow"))


def _circuits(board: PaceBoard) -> Iterator[Text]:
    names = {str(company.id): company.name for company in board.companies}
    for scope, circuit in sorted(board.flow.circuits.items()):
        told = f"{names.get(scope, scope)}: {WORDS.get(circuit.state, circuit.state)} since "
        told += shown(circuit.since, board.at)
        if circuit.retry_at is not None and circuit.state is CircuitState.OPEN:
            told += f", next canary {shown(circuit.retry_at, board.at)}"
        line = Text(told, style="green" if circuit.state is CircuitState.CLOSING else "bold red")
        if circuit.evidence:
            line.append(f"\n  {circuit.evidence}", style="dim")
        yield line


def _has_news(board: PaceBoard, company: Company) -> bool:
    scope = str(company.id)
    paces = (board.flow.paces.get((scope, lane)) for lane in Lane)
    own = (company.uploads_per_second, company.reads_per_second, company.cap)
    is_special = company.weight != 1 or any(value is not None for value in own)
    has_work = board.flow.backlogs[scope] > 0 or scope in board.flow.circuits
    return is_special or has_work or any(pace is not None and _tells(pace, board.at) for pace in paces)


def _tells(pace: Pace, at: datetime) -> bool:
    return pace.is_binding(at) or pace.speed >= SLOWEST_SHOWN


def _scope(flow: Flow, scope: str) -> dict[str, object]:
    circuit = flow.circuits.get(scope)
    lanes = {lane.value: _lane(flow.paces.get((scope, lane))) for lane in Lane}
    return {"lanes": lanes, "circuit": None if circuit is None else _circuit(circuit)}


def _lane(pace: Pace | None) -> dict[str, object]:
    if pace is None:
        return {"limit": None, "is_adaptive": False, "speed": 0.0, "blocked_until": None}
    return {
        "limit": None if pace.limit is None else round(pace.limit, 3),
        "is_adaptive": pace.is_adaptive,
        "speed": round(_rounded(pace.speed), 3),
        "blocked_until": pace.blocked_until,
    }


def _circuit(circuit: Circuit) -> dict[str, object]:
    return {
        "state": circuit.state,
        "since": circuit.since,
        "retry_at": circuit.retry_at,
        "trips": circuit.trips,
        "evidence": circuit.evidence,
    }


def _rounded(speed: float) -> float:
    return speed if speed >= SLOWEST_SHOWN else 0.0

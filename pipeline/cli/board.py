"""`postiljon board`: where everything stands, on one screen. From maintained counters only; scans no invoices."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database
from pipeline.cli.output import JsonOption, friendly_errors, out, print_json
from pipeline.cli.pace import forecast_as_object, forecast_lines
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.services.cut_offs import Missing, read_cut_offs, tell_missing
from pipeline.services.forecast import Flow, read_flow
from pipeline.services.watch import read_alarms
from pipeline.settings import Settings, load_settings
from pipeline.storage.alarms import Alarm, count_alarms
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import HELD_ALARM, Company, list_companies
from pipeline.storage.database import Database
from pipeline.storage.tallies import Tallies, read_oldest, read_tallies

OWNERS = ("accountant", "engineer")
COMPANIES_SHOWN = 12
ALARMS_SHOWN = 3
"""Of each kind, the oldest."""
HELD_SHOWN = 6
MINUTE, HOUR, DAY = 60, 3600, 86400
STYLES = {State.DELIVERED: "green", State.FAILED: "red", State.REFUSED: "red", State.HELD: "yellow"}
WAITING = (State.QUEUED, State.SENDING, State.WAITING, State.IN_DOUBT)


@dataclass(frozen=True, kw_only=True)
class Board:
    """Where everything stands at one instant."""

    at: datetime
    tallies: Tallies
    companies: tuple[Company, ...]
    oldest: dict[State, datetime]
    alarms: tuple[Alarm, ...]
    alarms_by_kind: dict[str, int]
    flow: Flow
    missing: Missing

    @property
    def held(self) -> tuple[Company, ...]:
        """The companies on hold, the longest held first."""
        held = (company for company in self.companies if company.hold_reason is not None)
        return tuple(sorted(held, key=lambda company: company.held_since or self.at))


def board(
    once: Annotated[bool, typer.Option("--once", help="Print it once, in a terminal too.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Show counts per state, owner and company, oldest ages, held companies and alarms; live in a terminal."""
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database:
            if as_json:
                print_json(as_object(read_board(database, settings)))
            elif once or not out().is_terminal:
                out().print(for_people(read_board(database, settings)))
            else:
                _live(database, settings, interval)


def read_board(database: Database, settings: Settings) -> Board:
    """Read the board; cheap however many invoices there are. Raises: ServiceUnavailableError."""
    with database.transaction() as session:
        at, tallies, companies = read_clock(session), read_tallies(session), tuple(list_companies(session))
        flow = read_flow(session, settings, tallies=tallies, companies=companies, now=at)
        return Board(
            at=at,
            tallies=tallies,
            companies=companies,
            oldest=read_oldest(session),
            alarms=tuple(read_alarms(session, settings, now=at)),
            alarms_by_kind=count_alarms(session),
            flow=flow,
            missing=read_cut_offs(session, flow, companies=companies, now=at).missing(),
        )


def _live(database: Database, settings: Settings, interval: float) -> None:
    shown: RenderableType = for_people(read_board(database, settings))
    with suppress(KeyboardInterrupt), Live(shown, console=out(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(shown, refresh=True)
            time.sleep(interval)
            try:
                shown = for_people(read_board(database, settings))
            except ServiceUnavailableError as exc:
                # A board on a wall goes on by itself when the database is back.
                shown = Group(Text(str(exc), style="bold red"), Text("trying again; Ctrl-C ends", style="dim"))


def as_object(board: Board) -> dict[str, object]:
    """Return the board as scripts may rely on it."""
    return {
        "at": board.at,
        "states": board.tallies.states(),
        "cases": _cases(board.tallies),
        "companies": [_company_as_object(company, board.tallies) for company in board.companies],
        "oldest": {
            state: {"submitted_at": since, "age_seconds": round((board.at - since).total_seconds(), 3)}
            for state, since in board.oldest.items()
        },
        "held_companies": [
            {"company": company.id, "company_name": company.name, **(_hold(company) or {})} for company in board.held
        ],
        "alarms": [
            {
                "kind": alarm.kind,
                "subject": alarm.subject,
                "company": alarm.company_id,
                "invoice": alarm.invoice_id,
                "told": alarm.told,
                "raised_at": alarm.raised_at,
            }
            for alarm in board.alarms
        ],
        "alarms_by_kind": board.alarms_by_kind,
        "forecast": forecast_as_object(board.flow.forecast),
        "fairness": board.flow.fairness,
        "cut_offs": {
            "will_miss": board.missing.will_miss,
            "late": board.missing.late,
            "first_missed_at": board.missing.first_at,
        },
    }


def _company_as_object(company: Company, tallies: Tallies) -> dict[str, object]:
    own = tallies.of_company(company.id)
    return {
        "company": company.id,
        "company_name": company.name,
        "states": own.states(),
        "cases": _cases(own),
        "held": _hold(company),
    }


def _hold(company: Company) -> dict[str, object] | None:
    if company.hold_reason is None:
        return None
    return {
        "cause": company.hold_reason,
        "advice": company.hold_advice,
        "since": company.held_since,
        "next_check": company.check_at,
        "holds": company.holds,
    }


def _cases(tallies: Tallies) -> dict[str, int]:
    found = tallies.cases("open")
    return {owner: found.get(owner, 0) for owner in OWNERS}


def for_people(board: Board) -> Group:
    """Return the board for a screen of 80 columns or more; what needs a person stands above what is well."""
    parts: list[RenderableType] = [_headline(board), forecast_lines(board.flow)]
    if told := tell_missing(board.missing, board.at):
        parts.append(Text(told, style="bold yellow"))
    parts.append(_states(board))
    if any(alarm.kind != HELD_ALARM for alarm in board.alarms):
        parts.append(_alarms(board))
    if board.held:
        parts.append(_held(board))
    if board.companies:
        parts.append(_companies(board))
    return Group(*parts)


def _headline(board: Board) -> Text:
    cases = _cases(board.tallies)
    line = Text(f"{board.at:%Y-%m-%d %H:%M:%S} UTC   open cases: ")
    told = ", ".join(f"{owner} {count:,}" for owner, count in cases.items())
    line.append(told, style="bold yellow" if any(cases.values()) else "dim")
    count = sum(_alarm_counts(board).values())
    line.append("   ")
    line.append(f"{count:,} alarm{'' if count == 1 else 's'}", style="bold red" if count else "green")
    return line


def _alarm_counts(board: Board) -> Counter[str]:
    # What only a reader sees, with nobody alive to raise it, is in the list alone; the list is cut, the counts are not.
    listed = Counter(alarm.kind for alarm in board.alarms)
    return listed | Counter(board.alarms_by_kind)


def _states(board: Board) -> Table:
    table = _table("state", "invoices", "oldest", title="Invoices", right=("invoices", "oldest"))
    for state, count in board.tallies.states().items():
        if count:
            age = _age(board.at - board.oldest[state]) if state in board.oldest else ""
            table.add_row(Text(state, style=STYLES.get(state, "")), f"{count:,}", age)
    if not table.row_count:
        table.add_row(Text("none yet", style="dim"), "", "")
    return table


def _alarms(board: Board) -> Table:
    table = _table("kind", "for", "what and what to do", title="Alarms", right=("for",))
    shown: Counter[str] = Counter({HELD_ALARM: ALARMS_SHOWN})  # those have a table of their own
    for alarm in board.alarms:
        shown[alarm.kind] += 1
        if shown[alarm.kind] <= ALARMS_SHOWN:
            told = Text(alarm.told, overflow="fold")
            table.add_row(Text(alarm.kind, style="red"), _age(board.at - alarm.raised_at), told)
    for kind, count in sorted(_alarm_counts(board).items()):
        if kind != HELD_ALARM and count > ALARMS_SHOWN:
            more = Text(f"and {count - ALARMS_SHOWN:,} more: postiljon board --json", style="dim")
            table.add_row(Text(kind, style="red"), "", more)
    return table


def _held(board: Board) -> Table:
    table = _table("company", "for", "why, and what to do", title="Held companies", right=("for",))
    for company in board.held[:HELD_SHOWN]:
        why = Text(company.hold_reason or "", overflow="fold")
        why.append(f"\n{company.hold_advice or ''}", style="dim")
        if company.check_at is not None:
            why.append(f"\nnext check {_in(company.check_at - board.at)}", style="dim")
        age = _age(board.at - company.held_since) if company.held_since else ""
        table.add_row(Text(company.name, style="yellow", overflow="fold"), age, why)
    if len(board.held) > HELD_SHOWN:
        table.add_row("", "", Text(f"and {len(board.held) - HELD_SHOWN} more: postiljon company list", style="dim"))
    return table


def _companies(board: Board) -> Table:
    columns = ("to send", "accepted", "delivered", "failed", "held", "cases")
    table = _table("company", *columns, title="Companies", right=columns)
    rows = []
    for company in board.companies:
        own = board.tallies.of_company(company.id)
        states, cases = own.states(), _cases(own)
        numbers = (
            sum(states[state] for state in WAITING),
            states[State.ACCEPTED],
            states[State.DELIVERED],
            states[State.FAILED] + states[State.REFUSED],
            states[State.HELD],
        )
        attention = (company.hold_reason is not None, sum(cases.values()), numbers[3], numbers[0])
        rows.append((attention, company, (*(f"{n:,}" if n else "·" for n in numbers), _brief(cases))))
    rows.sort(key=lambda row: row[0], reverse=True)
    table.columns[0].no_wrap = False  # names give way, numbers do not
    for _, company, cells in rows[:COMPANIES_SHOWN]:
        style = "yellow" if company.hold_reason else ""
        table.add_row(Text(company.name, style=style), *cells)
    if len(rows) > COMPANIES_SHOWN:
        table.add_row(Text(f"and {len(rows) - COMPANIES_SHOWN} more", style="dim"), *("" for _ in columns))
    return table


def _brief(cases: dict[str, int]) -> str:
    return " ".join(f"{count:,} {owner[:3]}." for owner, count in cases.items() if count) or "·"


def _table(*columns: str, title: str, right: tuple[str, ...]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for place, name in enumerate(columns):
        number = name in right
        wraps = place == len(columns) - 1 and not number
        least = len(name) if number else None
        justify: Literal["right", "left"] = "right" if number else "left"
        table.add_column(name, justify=justify, no_wrap=not wraps, min_width=least, overflow="ellipsis")
    return table


def _age(span: timedelta) -> str:
    seconds = max(int(span.total_seconds()), 0)
    if seconds < MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min"
    if seconds < DAY:
        return f"{seconds // HOUR} h {seconds % HOUR // MINUTE} min"
    return f"{seconds // DAY} d {seconds % DAY // HOUR} h"


def _in(span: timedelta) -> str:
    return f"in {_age(span)}" if span > timedelta() else "now"

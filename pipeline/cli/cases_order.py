"""How a person's wish is shown, confirmed and written down: preview first, then one case, or many behind a canary."""

import getpass
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import open_database
from pipeline.cli.cases_choice import Filter, choose_cases
from pipeline.cli.cases_words import as_options, fields_words, moment, span, sums, way_words
from pipeline.cli.output import ExitStatus, err, escape, out, print_error, print_json
from pipeline.cli.route import load_rules
from pipeline.domain.cause import ADDRESS_CAUSES
from pipeline.domain.errors import ConfigurationError, InvalidInputError
from pipeline.domain.routing_section import read_duration
from pipeline.domain.way import Way
from pipeline.services.orders import (
    Ordered,
    Pace,
    Passed,
    Preview,
    Ready,
    Wish,
    carry_out,
    check_wish,
    forecast_end,
    preview,
)
from pipeline.settings import Settings, load_settings
from pipeline.storage.clock import read_clock

SHOWN = 20
"""Lines of a preview in a terminal; --json lists all."""
STOPPED = "nothing was done: this is what would happen; add --yes to do it"
PERSON = "a person"


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a wish is carried out, as given."""

    dry_run: bool
    yes: bool
    as_json: bool
    per_minute: int | None = None
    undo_window: str | None = None


def take(names: Sequence[str], chosen: Filter, wish: Wish, manner: Manner) -> None:
    """Preview a wish, have it confirmed and write it down; ends with the exit status of what came of it."""
    settings = load_settings()
    pace = _pace(settings, manner)
    with open_database(settings) as database:
        with database.transaction() as session:
            now = read_clock(session)
            cases = choose_cases(session, names, chosen, now=now)
            _check(wish, cases=len(cases))
            previewed = preview(session, cases, wish)
        if not manner.as_json:
            _print_preview(previewed, wish, pace, now=now)
        if not previewed.ready or manner.dry_run or not _confirmed(manner):
            _end_without(previewed, wish, manner, pace)
        with database.transaction() as session:
            now = read_clock(session)
            given = {**chosen.as_json(), "cases": list(names), "fields": dict(wish.fields), "by": wish.chosen_by}
            ordered = carry_out(session, previewed, wish, pace=pace, chosen=given, now=now)
    if manner.as_json:
        print_json(_as_json(previewed, wish, pace, ordered))
    else:
        _print_ordered(ordered, previewed, wish)
    if ordered.skipped or not ordered.planned:
        raise typer.Exit(ExitStatus.NOT_ALL)


def who_asks() -> str:
    """Return `a person`, with the name they have at this machine where it is known."""
    try:
        return f"{PERSON} ({getpass.getuser()})"
    except (KeyError, OSError, ImportError):
        return PERSON


def _check(wish: Wish, *, cases: int) -> None:
    try:
        check_wish(wish, cases=cases)
    except InvalidInputError as exc:
        # What was given on the command line is wrong whatever the case: that is wrong usage.
        raise ConfigurationError(str(exc)) from exc


def _pace(settings: Settings, manner: Manner) -> Pace:
    routing = load_rules(settings.routing_file)
    window: timedelta | None = routing.undo_window
    if manner.undo_window is not None:
        window = read_duration(manner.undo_window)
        if window is None:
            raise ConfigurationError(
                f"--undo-window is a duration such as 10m, 1h30m or 0s, not {manner.undo_window!r}"
            )
    return Pace(
        per_minute=manner.per_minute or routing.per_minute,
        undo_window=window or timedelta(0),
        canary_wait=routing.canary_wait,
    )


def _confirmed(manner: Manner) -> bool:
    if manner.yes:
        return True
    # One JSON object and nothing else on stdout: no room for a question.
    return not manner.as_json and sys.stdin.isatty() and typer.confirm("Do it?", err=True)


def _end_without(previewed: Preview, wish: Wish, manner: Manner, pace: Pace) -> None:
    """End the command with nothing done."""
    if manner.as_json:
        print_json(_as_json(previewed, wish, pace, None))
    if not previewed.ready:
        if not manner.as_json:
            print_error("nothing was done: no case fits")
        raise typer.Exit(ExitStatus.NOT_ALL)
    if manner.dry_run:
        raise typer.Exit(ExitStatus.NOT_ALL if previewed.skipped else ExitStatus.DONE)
    err().print(STOPPED)
    raise typer.Exit(ExitStatus.USAGE)


def _print_preview(previewed: Preview, wish: Wish, pace: Pace, *, now: datetime) -> None:
    count, what = len(previewed.ready), escape(way_words(wish.way))
    if not count:
        out().print(f"[bold]{what}[/]: no case fits")
    else:
        unknown = f", {previewed.unknown_totals:,} with no known total" if previewed.unknown_totals else ""
        out().print(f"[bold]{what}[/]: {count:,} {_cases(count)}, {escape(sums(previewed.sums))}{unknown}")
        out().print(_ready_table(previewed, wish))
    if count > 1 and wish.way is not Way.CLOSE:
        out().print(_what_happens(previewed, pace, now=now))
    _print_skipped(previewed.skipped)


def _ready_table(previewed: Preview, wish: Wish) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("case", justify="right", no_wrap=True)
    table.add_column("invoice", no_wrap=True)
    table.add_column("number, customer, total and where to", overflow="fold")
    for each in previewed.ready[:SHOWN]:
        case = each.case
        total = f"{case.total} {case.currency or ''}".strip() if case.total is not None else "total unknown"
        parts = [case.number or "no number", case.buyer or "customer unknown", total, _where_to(each, wish)]
        table.add_row(str(case.id), str(case.invoice_id), Text(", ".join(part for part in parts if part)))
    if len(previewed.ready) > SHOWN:
        table.add_row("", f"and {len(previewed.ready) - SHOWN:,} more; --json lists all", "")
    return table


def _where_to(ready: Ready, wish: Wish) -> str:
    if wish.way is not Way.RESEND:
        return fields_words(ready.fields)
    if wish.document is not None and ready.case.cause in ADDRESS_CAUSES:
        return "to where the corrected document says"
    return "to where it was sent before"


def _what_happens(previewed: Preview, pace: Pace, *, now: datetime) -> str:
    first, rest = previewed.ready[0].case.id, len(previewed.ready) - 1
    ends_at = forecast_end(rest + 1, pace=pace, now=now)
    return (
        f"Case {first} goes first, as a canary. The rest ({rest:,}) go from {moment(now + pace.undo_window)} UTC on,"
        f" {pace.per_minute} a minute, once the canary is delivered or has not failed for {span(pace.canary_wait)};"
        f" the last at about {moment(ends_at)} UTC. If the canary fails, none of the rest goes. What has not begun"
        " can be taken back."
    )


def _print_skipped(skipped: Sequence[Passed]) -> None:
    if not skipped:
        return
    table = Table(title=f"Skipped: {len(skipped):,}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("case", justify="right", no_wrap=True)
    table.add_column("invoice", no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in skipped[:SHOWN]:
        table.add_row(str(each.case_id), str(each.invoice_id), Text(as_options(each.why)))
    if len(skipped) > SHOWN:
        table.add_row("", f"and {len(skipped) - SHOWN:,} more; --json lists all", "")
    out().print(table)


def _print_ordered(ordered: Ordered, previewed: Preview, wish: Wish) -> None:
    count = len(ordered.planned)
    if wish.way is Way.CLOSE:
        out().print(f"[green]closed[/] {count:,} {_cases(count)}")
    elif ordered.order_id is not None and ordered.undo_until is not None:
        out().print(f"[green]order-{ordered.order_id}[/]: {count:,} planned, case {ordered.canary} as the canary")
        out().print(f"to take back what has not begun: postiljon cases undo order-{ordered.order_id}")
    elif count:
        out().print(f"[green]planned[/] case {ordered.planned[0]}; postiljon cases show {ordered.planned[0]}")
    _print_skipped(ordered.skipped[len(previewed.skipped) :])


def _cases(count: int) -> str:
    return "case" if count == 1 else "cases"


def _as_json(previewed: Preview, wish: Wish, pace: Pace, ordered: Ordered | None) -> dict[str, object]:
    skipped = previewed.skipped if ordered is None else ordered.skipped
    several = len(previewed.ready) > 1 and wish.way is not Way.CLOSE
    return {
        "way": wish.way,
        "done": ordered is not None,
        "count": len(previewed.ready),
        "sum": previewed.sums,
        "unknown_totals": previewed.unknown_totals,
        "ready": [
            {
                "case": each.case.id,
                "uuid": each.case.invoice_id,
                "number": each.case.number,
                "customer": each.case.buyer,
                "total": each.case.total,
                "currency": each.case.currency,
                "fields": each.fields,
            }
            for each in previewed.ready
        ],
        "skipped": [{"case": each.case_id, "uuid": each.invoice_id, "why": as_options(each.why)} for each in skipped],
        "order": ordered.order_id if ordered else None,
        "canary": ordered.canary if ordered else previewed.ready[0].case.id if several else None,
        "planned": ordered.planned if ordered else (),
        "undo_until": ordered.undo_until if ordered else None,
        "ends_at": ordered.ends_at if ordered else None,
        "per_minute": pace.per_minute,
        "undo_window_seconds": pace.undo_window.total_seconds(),
        "canary_wait_seconds": pace.canary_wait.total_seconds(),
    }

"""How cases and orders look, for people and for scripts. Reads nothing."""

from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.cli.cases_words import moment, plain, way_words
from pipeline.cli.show_story import failure_as_json, link_as_json, way_as_json
from pipeline.storage.cases import CaseHistory, CaseView
from pipeline.storage.orders import OrderedWay, OrderView
from pipeline.storage.reading import Link


def case_as_json(case: CaseView) -> dict[str, object]:
    """Return a case as scripts read it."""
    return {
        "case": case.id,
        "uuid": case.invoice_id,
        "status": case.status,
        "owner": case.owner,
        "cause": case.cause,
        "verdict": case.verdict,
        "verdict_version": case.verdict_version,
        "words": case.words,
        "advice": case.advice,
        "ways": case.ways,
        "plan": case.plan,
        "decide_at": case.decide_at,
        "round": case.round,
        "company": case.company_id,
        "company_name": case.company_name,
        "batch": case.batch,
        "number": case.number,
        "customer": case.buyer,
        "total": case.total,
        "currency": case.currency,
        "state": case.state,
        "failed_at": case.failed_at,
        "opened_at": case.opened_at,
        "changed_at": case.changed_at,
        "closed_reason": case.closed_reason,
    }


def history_as_json(history: CaseHistory, chain: Sequence[Link]) -> dict[str, object]:
    """Return a case with everything that led to where it stands."""
    return {
        **case_as_json(history.case),
        "failures": [failure_as_json(each) for each in history.failures],
        "ways_out": [way_as_json(each) for each in history.ways_out],
        "chain": [link_as_json(each) for each in chain],
    }


def cases_for_people(cases: Sequence[CaseView]) -> Table:
    """Return cases as a table in which nothing that is copied is cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("case", justify="right", no_wrap=True)
    table.add_column("invoice", no_wrap=True)
    table.add_column("number, customer, total; cause, whose it is, what next", overflow="fold")
    for case in cases:
        what = Text(f"{case.number or 'no number'}  {case.buyer or 'customer unknown'}  {_total(case)}\n")
        what.append(plain(case.cause), style="bold")
        what.append(f", {case.owner}, {plain(case.status)}")
        if next_words := case.closed_reason or case.plan:
            what.append(f"\n{next_words}", style="dim")
        table.add_row(str(case.id), str(case.invoice_id), what)
    return table


def history_for_people(history: CaseHistory, chain: Sequence[Link]) -> Group:
    """Return a case with its history, its advice and what can be done."""
    case = history.case
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(case):
        facts.add_row(name, Text(value))
    parts: list[RenderableType] = [Text(f"Case {case.id}", style="bold"), facts, Text(), _failures(history)]
    if history.ways_out:
        parts += [Text(), _ways(history)]
    if len(chain) > 1:
        parts += [Text(), _chain(chain)]
    return Group(*parts, Text(f"\npostiljon show {case.invoice_id} tells the whole story", style="dim"))


def order_as_json(order: OrderView) -> dict[str, object]:
    """Return an order as scripts read it."""
    return {
        "order": order.id,
        "way": order.kind,
        "status": order.status,
        "why": order.why,
        "canary": order.canary,
        "undo_until": order.undo_until,
        "per_minute": order.per_minute,
        "created_at": order.created_at,
        "counts": dict(Counter(each.status for each in order.ways)),
        "cases": [ordered_as_json(each) for each in order.ways],
    }


def ordered_as_json(way: OrderedWay) -> dict[str, object]:
    """Return one way out of an order as scripts read it."""
    return {
        "case": way.case_id,
        "uuid": way.invoice_id,
        "status": way.status,
        "outcome": way.outcome,
        "not_before": way.not_before,
    }


def order_for_people(order: OrderView) -> str:
    """Return an order in a few lines."""
    counts = ", ".join(f"{count:,} {status}" for status, count in Counter(way.status for way in order.ways).items())
    why = f": {order.why}" if order.why else ""
    return (
        f"order-{order.id}, {way_words(order.kind)}: {order.status}{why}\n"
        f"{counts or 'no case'}; canary: case {order.canary}; {order.per_minute} a minute\n"
        f"given {moment(order.created_at)} UTC, undo window until {moment(order.undo_until)} UTC"
    )


def _facts(case: CaseView) -> list[tuple[str, str]]:
    decide = f" (the rules decide at {moment(case.decide_at)} UTC)" if case.decide_at else ""
    closed = f": {case.closed_reason}" if case.closed_reason else ""
    return [
        ("status", f"{plain(case.status)}{closed}"),
        ("owner", case.owner),
        ("cause", f"{plain(case.cause)}, by verdict {case.verdict} ({case.verdict_version})"),
        ("means", case.words),
        ("advice", case.advice),
        ("ways out", ", ".join(case.ways)),
        ("plan", f"{case.plan or 'none'}{decide}"),
        ("invoice", f"{case.number or 'no number'}, {case.state.value}, {case.invoice_id}"),
        ("customer", case.buyer or "unknown"),
        ("total", _total(case)),
        ("company", case.company_name + (f", batch {case.batch}" if case.batch else "")),
        ("failed", f"{moment(case.failed_at)} UTC, " + ("once" if case.round == 1 else f"{case.round} times by now")),
    ]


def _failures(history: CaseHistory) -> Table:
    table = Table(title="Failures", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("what the operator told; how it was judged", overflow="fold")
    for each in history.failures:
        told = Text(each.told or each.key or each.code or "no words")
        told.append(f"\n{plain(each.cause)}, {each.owner} ({each.verdict})", style="dim")
        table.add_row(moment(each.at), "refused" if each.refused else each.channel or "?", told)
    return table


def _ways(history: CaseHistory) -> Table:
    table = Table(title="Ways out taken", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("planned (UTC)", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("what, chosen by, outcome", overflow="fold")
    for each in history.ways_out:
        what = Text(f"{way_words(each.kind, each.fields)}, chosen by {each.chosen_by}")
        if each.order_id is not None:
            what.append(f", order-{each.order_id}")
        for words in (each.reason, each.outcome):
            if words:
                what.append(f"\n{words}", style="dim")
        table.add_row(moment(each.planned_at), each.status, what)
    return table


def _chain(chain: Sequence[Link]) -> Table:
    table = Table(
        title="Sent as new, from the first to the last", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("invoice", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for link in chain:
        table.add_row(str(link.invoice_id), link.state.value)
    return table


def _total(case: CaseView) -> str:
    return f"{case.total} {case.currency or ''}".strip() if case.total is not None else "total unknown"

"""The file `routing.toml` that users write, checked to the line. Knows the file's shape, not what the rules lead to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from pipeline.domain.cause import Cause
from pipeline.domain.routing import (
    DEFAULT_CANARY_WAIT,
    DEFAULT_LOOP,
    DEFAULT_PENDING,
    DEFAULT_PER_MINUTE,
    DEFAULT_UNDO_WINDOW,
    CompanyRules,
    Routing,
    Rule,
)
from pipeline.domain.routing_rows import CHANNELS, label_of, open_toml, read_rows, row_names, take_name
from pipeline.domain.routing_section import Section, hint
from pipeline.domain.routing_verdicts import UNKNOWN_ROW, VerdictTable
from pipeline.domain.way import Way

FORMAT_VERSION: Final = 1
MOST_TRIES: Final = 100
"""A loop longer than this is no loop any more but a mistake of typing."""
MOST_PER_MINUTE: Final = 6000
"""A hundred a second is more than the operator was ever asked to take."""
AUTOMATIC: Final = tuple(way for way in Way if way is not Way.CLOSE)
"""What a rule may take: closing needs a person and a reason."""
_CAUSES: Final = tuple(cause for cause in Cause if cause is not Cause.UNKNOWN)
_SHORTEST_PENDING: Final = timedelta(seconds=1)
_UUID_LENGTH: Final = 36


def parse_routing(text: str, *, source: str = "routing.toml", table: VerdictTable) -> Routing:
    """Read and check a whole file. Raises: ConfigurationError with every mistake, one a line, by line number."""
    top = open_toml(text, source=source)
    _check_version(top)
    names = table.names() | row_names(top)
    routing = Routing(
        table=table,
        source=source,
        loop=_loop(top) or DEFAULT_LOOP,
        undo_window=_or(top.duration("undo_window"), DEFAULT_UNDO_WINDOW),
        per_minute=top.number("per_minute", least=1, most=MOST_PER_MINUTE) or DEFAULT_PER_MINUTE,
        canary_wait=_or(top.duration("canary_wait"), DEFAULT_CANARY_WAIT),
        pending=_pending(top),
        rows=read_rows(top),
        rules=_rules(top, names),
        companies=_companies(top, names),
    )
    top.finish()
    top.problems.complain()
    return routing


def _or(duration: timedelta | None, default: timedelta) -> timedelta:
    return default if duration is None else duration  # "0s" counts, though it is false


def _check_version(top: Section) -> None:
    version = top.peek("version")
    if version is None:
        top.wrong(None, f"`version` is missing: write version = {FORMAT_VERSION} on the first line")
    top.number("version", least=FORMAT_VERSION, most=FORMAT_VERSION)


def _loop(section: Section) -> int | None:
    return section.number("loop", least=1, most=MOST_TRIES)


def _pending(section: Section) -> Mapping[str, timedelta]:
    table = section.table("pending")
    if table is None:
        return {}
    table.named("pending")
    limits = {channel: table.duration(channel, least=_SHORTEST_PENDING) for channel in DEFAULT_PENDING}
    table.finish()
    return {channel: limit for channel, limit in limits.items() if limit is not None}


def _rules(section: Section, names: frozenset[str]) -> tuple[Rule, ...]:
    taken: dict[str, int] = {}
    rules = [_rule(each.named(label_of(each, "rule")), taken, names) for each in section.tables("rule")]
    return tuple(rule for rule in rules if rule is not None)


def _rule(section: Section, taken: dict[str, int], names: frozenset[str]) -> Rule | None:
    before = len(section.problems.found)
    name = take_name(section, taken)
    way = section.one("way", AUTOMATIC, required=True)
    scope = _scope(section, names)
    after = section.duration("after")
    section.finish()
    if name is None or way is None or len(section.problems.found) > before:
        return None
    return Rule(
        name=name,
        way=Way(way),
        causes=scope.causes,
        verdicts=scope.verdicts,
        channels=scope.channels,
        total_below=scope.total_below,
        after=_or(after, timedelta(0)),
    )


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """Where a rule applies."""

    causes: frozenset[Cause]
    verdicts: frozenset[str]
    channels: frozenset[str]
    total_below: Decimal | None


def _scope(section: Section, names: frozenset[str]) -> _Scope:
    causes = section.several("cause", _CAUSES) or frozenset()
    verdicts = section.several("verdict") or frozenset()
    for verdict in sorted(verdicts - names):
        section.wrong("verdict", _no_such_verdict(verdict, names))
    channels = section.several("channel", CHANNELS) or frozenset()
    return _Scope(
        causes=frozenset(Cause(cause) for cause in causes if cause in _CAUSES),
        verdicts=verdicts,
        channels=frozenset(channel.upper() for channel in channels),
        total_below=section.amount("total_below"),
    )


def _no_such_verdict(verdict: str, names: frozenset[str]) -> str:
    if verdict == UNKNOWN_ROW:
        return f"`verdict` cannot be {verdict!r}: what nobody knows goes to a person"
    return f"`verdict` names {verdict!r}, which is no verdict row; {hint(verdict, names)}"


def _companies(top: Section, names: frozenset[str]) -> Mapping[str, CompanyRules]:
    table = top.table("company")
    found: dict[str, CompanyRules] = {}
    for key in table.keys() if table else ():
        part = table.table(key) if table else None
        if part is None:
            continue
        company = _company(part.named(f"company {key!r}"), key, names)
        known_as = _canonical(key)
        if known_as in found:
            part.wrong(None, f"the same UUID stands on line {found[known_as].line}")
        found[known_as] = company
    return found


def _company(section: Section, key: str, names: frozenset[str]) -> CompanyRules:
    automatic = section.several("automatic", AUTOMATIC, may_be_empty=True) or frozenset()
    company = CompanyRules(
        key=key,
        line=section.problems.line(section.path),
        automatic=frozenset(Way(way) for way in automatic if way in AUTOMATIC),
        loop=_loop(section),
        pending=_pending(section),
        rows=read_rows(section),
        rules=_rules(section, names | row_names(section)),
    )
    section.finish()
    return company


def _canonical(key: str) -> str:
    try:
        return str(UUID(key)) if len(key) == _UUID_LENGTH else key
    except ValueError:
        return key

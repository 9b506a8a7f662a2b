"""Verdict rows out of TOML: the ones we ship and the ones a user adds. Knows no rule and no company."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Final

from pipeline.domain.cause import OWNERS, Cause, Owner
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing_lines import find_lines
from pipeline.domain.routing_section import Problems, Section
from pipeline.domain.routing_verdicts import UNKNOWN_ROW, VerdictRow, VerdictTable
from pipeline.domain.way import Way

CHANNELS: Final = ("einvoice", "email", "print")
"""As users write them; the operator writes capitals."""
_FILE: Final = "verdicts.toml"
_MANY: Final = 1_000_000
_AT_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")


@cache
def builtin_table() -> VerdictTable:
    """Return the table that ships with the product; read once from the package."""
    text = resources.files("pipeline.domain").joinpath(_FILE).read_text(encoding="utf-8")
    top = open_toml(text, source=_FILE)
    version = top.number("version", least=1, most=_MANY) or 0
    rows = read_rows(top)
    top.finish()
    top.problems.complain()
    return VerdictTable(version=version, rows=rows)


def open_toml(text: str, *, source: str) -> Section:
    """Return the whole file as a section that knows its lines. Raises: ConfigurationError naming the line."""
    text = text.removeprefix("\ufeff")  # some editors put a byte order mark in front
    try:
        values: Mapping[str, object] = tomllib.loads(text, parse_float=Decimal)
        lines = find_lines(text)
    except RecursionError as exc:
        raise ConfigurationError(f"{source}:1: lists or tables are nested too deeply") from exc
    except ValueError as exc:  # TOMLDecodeError, and what Python says to numbers of absurd length
        raise ConfigurationError(f"{source}:{_line_of(str(exc), text)}: {_AT_LINE.sub('', str(exc)).strip()}") from exc
    return Section(values, path=(), label="", problems=Problems(source=source, lines=lines))


def _line_of(complaint: str, text: str) -> int:
    found = _AT_LINE.search(complaint)
    return int(found.group(1)) if found else max(1, len(text.splitlines()))


def read_rows(section: Section) -> tuple[VerdictRow, ...]:
    """Read every `[[verdict]]` of a table, in order; mistakes are noted, and a row with one is left out."""
    taken: dict[str, int] = {}
    rows = [_read_row(each.named(label_of(each, "verdict")), taken) for each in section.tables("verdict")]
    return tuple(row for row in rows if row is not None)


def label_of(section: Section, kind: str) -> str:
    """Name one of several tables for a person: by its own name, else by its place."""
    name = section.peek("name")
    return f"{kind} {name!r}" if isinstance(name, str) else f"{kind} {int(section.path[-1]) + 1}"


def take_name(section: Section, taken: dict[str, int]) -> str | None:
    """Read the name, which must not be taken by another table of the same list."""
    name = section.text("name", required=True)
    if name in taken:
        section.wrong("name", f"`name` is taken on line {taken[name]}")
    elif name is not None:
        taken[name] = section.problems.line((*section.path, "name"))
    return name


def row_names(section: Section) -> frozenset[str]:
    """Return the names of a table's own verdict rows, the faulty ones too."""
    named = (each.peek("name") for each in section.tables("verdict", quiet=True))
    return frozenset(name for name in named if isinstance(name, str))


def _read_row(section: Section, taken: dict[str, int]) -> VerdictRow | None:
    before = len(section.problems.found)
    name = take_name(section, taken)
    if name == UNKNOWN_ROW:
        section.wrong("name", f"`name` is anything but {UNKNOWN_ROW!r}, which is for what no row knows")
    cause = section.one("cause", tuple(Cause), required=True)
    owner = section.one("owner", tuple(Owner))
    ways = section.several("ways", tuple(Way), required=True, may_be_empty=True)
    words, advice = section.text("words", required=True), section.text("advice", required=True)
    text, keys, codes = section.pattern("text"), section.several("key"), section.several("code")
    channels, refused = section.several("channel", CHANNELS), section.flag("refused")
    if not any(section.peek(key) for key in ("text", "key", "code")):
        section.wrong(None, "one of `text`, `key` and `code` is needed: a row without them would be a guess")
    section.finish()
    if name is None or cause is None or words is None or advice is None or len(section.problems.found) > before:
        return None
    return VerdictRow(
        name=name,
        cause=Cause(cause),
        owner=Owner(owner) if owner else OWNERS[Cause(cause)],
        ways=frozenset(Way(way) for way in ways or ()),
        words=words,
        advice=advice,
        text=text,
        keys=keys or frozenset(),
        codes=codes or frozenset(),
        channels=frozenset(channel.upper() for channel in channels or ()),
        refused=refused,
    )

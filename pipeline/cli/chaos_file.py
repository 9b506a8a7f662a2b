"""A plan of chaos as a file: readable TOML, checked with line numbers. Knows what may stand in it, plays nothing."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from pipeline.cli.chaos_plan import JUMP_CLOCK, JUMPS_SECONDS, KINDS, MOST_ROUNDS, Kind, Plan, StrikeRule
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing_lines import Path as Place
from pipeline.domain.routing_lines import find_lines
from pipeline.storage.companies import LIMITS

PLANS = Path(__file__).parent / "plans"
SHIPPED = ("everyday", "storm")
VERSION = 1
TOP = frozenset(
    (
        *("version", "about", "faults", "submit_seconds", "round_seconds", "rest_seconds", "rounds"),
        *("knobs", "settings", "company", "strike"),
    )
)
STRIKE = frozenset({"kind", "of", "times", "every_seconds", "seconds", "by_seconds"})
LONGEST_JUMP_SECONDS = 86_400


def load_plan(named: str) -> Plan:
    """Return the plan of a name, or the one in a file.

    Raises: ConfigurationError with the file and the line.
    """
    path = PLANS / f"{named}.toml" if named in SHIPPED else Path(named)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"no plan {named!r}, nor a file of that name; there are {', '.join(SHIPPED)}"
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the plan {path} cannot be read: {exc}") from exc
    return parse_plan(text, path=path)


def parse_plan(text: str, *, path: Path) -> Plan:
    """Read a plan. Raises: ConfigurationError with the file and the line."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path}: {exc}") from exc
    return _Reader(path, find_lines(text)).plan(content)


class _Reader:
    """Checks one plan, knowing on which line everything stands."""

    def __init__(self, path: Path, lines: Mapping[Place, int]) -> None:
        self._path = path
        self._lines = lines

    def plan(self, content: Mapping[str, object]) -> Plan:
        self._known(content, TOP, ())
        if content.get("version") != VERSION:
            self._wrong(("version",), f"a plan begins with version = {VERSION}")
        strikes = content.get("strike", [])
        if not isinstance(strikes, list):
            self._wrong(("strike",), "strikes are written as [[strike]]")
        return Plan(
            name=self._path.stem,
            about=self._words(content, "about"),
            faults=self._faults(content),
            submit_seconds=self._number(content, ("submit_seconds",), default=10.0, least=0.0),
            round_seconds=self._number(content, ("round_seconds",), default=30.0, least=1.0),
            rest_seconds=self._number(content, ("rest_seconds",), default=0.0, least=0.0),
            rounds=self._count(content, ("rounds",)) if "rounds" in content else MOST_ROUNDS,
            knobs=self._table(content, "knobs"),
            settings=self._settings(content),
            limits=self._limits(content),
            rules=tuple(self._rule(each, ("strike", place)) for place, each in enumerate(strikes)),
        )

    def _limits(self, content: Mapping[str, object]) -> dict[int, dict[str, float]]:
        tables = content.get("company", {})
        if not isinstance(tables, dict):
            self._wrong(("company",), "what companies may have is written as [company.NUMBER]")
        for name, table in tables.items():
            if not name.isdecimal() or not int(name) or not isinstance(table, dict):
                self._wrong(("company", name), f"companies have numbers from 1: [company.1], not {name!r}")
            self._known(table, frozenset(LIMITS), ("company", name))
        return {int(name): self._limits_of(table, ("company", name)) for name, table in tables.items()}

    def _limits_of(self, content: Mapping[str, object], place: Place) -> dict[str, float]:
        return {
            name: self._count(content, (*place, name))
            if name == "cap"
            else self._number(content, (*place, name), default=1.0, least=0.001)
            for name in content
        }

    def _rule(self, content: object, place: Place) -> StrikeRule:
        if not isinstance(content, dict):
            self._wrong(place, "strikes are written as [[strike]]")
        self._known(content, STRIKE, place)
        name = content.get("kind")
        if not isinstance(name, str) or name not in KINDS:
            self._wrong((*place, "kind"), f"`kind` is one of {', '.join(KINDS)}, not {name!r}")
        kind = KINDS[name]
        if ("times" in content) == ("every_seconds" in content):
            self._wrong(place, f"{name}: give either `times` or `every_seconds`")
        if "seconds" in content and kind.default_seconds is None:
            self._wrong((*place, "seconds"), f"{name} is a moment and lasts no `seconds`")
        if "by_seconds" in content and name != JUMP_CLOCK:
            self._wrong((*place, "by_seconds"), f"`by_seconds` is for {JUMP_CLOCK} alone")
        every = "every_seconds" in content
        return StrikeRule(
            kind=name,
            of=self._targets(content, kind, name, place),
            times=0 if every else self._count(content, (*place, "times")),
            every_seconds=self._number(content, (*place, "every_seconds"), default=0.0, least=0.1) if every else None,
            seconds=None
            if kind.default_seconds is None
            else self._number(content, (*place, "seconds"), default=kind.default_seconds, least=0.0),
            by_seconds=self._jumps(content, (*place, "by_seconds")),
        )

    def _jumps(self, content: Mapping[str, object], place: Place) -> tuple[float, ...]:
        jumps = content.get("by_seconds", list(JUMPS_SECONDS))
        if not isinstance(jumps, list) or not jumps:
            self._wrong(place, f"`by_seconds` is a list of seconds like [-25, 40], not {jumps!r}")
        for jump in jumps:
            if isinstance(jump, bool) or not isinstance(jump, int | float) or not abs(jump) <= LONGEST_JUMP_SECONDS:
                self._wrong(place, f"`by_seconds` has numbers of seconds, at most a day, not {jump!r}")
        return tuple(float(jump) for jump in jumps)

    def _targets(self, content: Mapping[str, object], kind: Kind, name: str, place: Place) -> tuple[str, ...]:
        given = content.get("of", list(kind.targets))
        fits = isinstance(given, list) and all(each in kind.targets for each in given)
        if not isinstance(given, list) or not fits or bool(given) != bool(kind.targets):
            choice = f"a list out of {', '.join(kind.targets)}" if kind.targets else "not for it"
            self._wrong((*place, "of"), f"{name}: `of` is {choice}, not {given!r}")
        return tuple(given)

    def _count(self, content: Mapping[str, object], place: Place) -> int:
        name = str(place[-1])
        value = content[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self._wrong(place, f"`{name}` is a whole number from 1, not {value!r}")
        return value

    def _number(self, content: Mapping[str, object], place: Place, *, default: float, least: float) -> float:
        name = str(place[-1])
        value = content.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
            self._wrong(place, f"`{name}` is a number from {least:g}, not {value!r}")
        return float(value)

    def _words(self, content: Mapping[str, object], name: str) -> str:
        value = content.get(name, "")
        if not isinstance(value, str):
            self._wrong((name,), f"`{name}` is text, not {value!r}")
        return value

    def _faults(self, content: Mapping[str, object]) -> str:
        name = self._words(content, "faults") or "calm"
        beside = self._path.parent / name
        return str(beside.absolute()) if beside.is_file() else name

    def _table(self, content: Mapping[str, object], name: str) -> dict[str, str]:
        table = content.get(name, {})
        if not isinstance(table, dict):
            self._wrong((name,), f"`{name}` is a table: [{name}]")
        for key, value in table.items():
            if not isinstance(value, str | int | float | bool):
                self._wrong((name, key), f"`{key}` is one value, not {value!r}")
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()}

    def _settings(self, content: Mapping[str, object]) -> dict[str, str]:
        settings = self._table(content, "settings")
        for name in settings:
            if not name.startswith("POSTILJON_"):
                self._wrong(("settings", name), f"settings are environment variables POSTILJON_..., not {name}")
        return settings

    def _known(self, content: Mapping[str, object], names: frozenset[str], place: Place) -> None:
        for name in content:
            if name not in names:
                self._wrong((*place, name), f"unknown key {name!r}; there are {', '.join(sorted(names))}")

    def _wrong(self, place: Place, what: str) -> NoReturn:
        line = self._lines.get(place) or self._lines.get(place[:-1]) or 1
        raise ConfigurationError(f"{self._path}, line {line}: {what}")

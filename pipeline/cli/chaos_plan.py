"""A plan of chaos: a readable TOML file, checked with line numbers, and the strikes a seed makes of it. Does none."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NoReturn

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing_lines import Path as Place
from pipeline.domain.routing_lines import find_lines

PLANS = Path(__file__).parent / "plans"
SHIPPED = ("everyday", "storm")
VERSION = 1
MOST_ROUNDS = 40
"""Even where nothing is ever accepted the strikes end, so that what is left can settle."""
WORKERS = ("send", "pump", "follow")
BEATS = ("beat", "beat-2")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What there is to say about one kind of strike."""

    does: str
    targets: tuple[str, ...] = ()
    default_seconds: float | None = None
    """How long it lasts; None: it is a moment."""


KINDS: Mapping[str, Kind] = {
    "kill-child": Kind(does="kill -9 of one process of a worker", targets=WORKERS),
    "kill-worker": Kind(does="kill -9 of a worker's parent process", targets=WORKERS),
    "kill-beat": Kind(does="kill -9 of a beat", targets=BEATS),
    "kill-web": Kind(does="kill -9 of the webhook receiver"),
    "pause-worker": Kind(
        does="SIGSTOP of a worker with all its processes, then SIGCONT", targets=WORKERS, default_seconds=12
    ),
    "rolling-restart": Kind(does="SIGTERM of one worker after the other"),
    "flush-valkey": Kind(does="FLUSHALL"),
    "restart-valkey": Kind(does="SIGTERM of Valkey: it comes back with its data"),
    "lose-valkey": Kind(does="kill -9 of Valkey: it comes back empty"),
    "pause-valkey": Kind(does="SIGSTOP of Valkey, then SIGCONT", default_seconds=5),
    "fill-valkey": Kind(does="Valkey's memory is full", default_seconds=3),
    "restart-postgres": Kind(does="fast shutdown of PostgreSQL: it comes back"),
    "crash-postgres": Kind(does="immediate shutdown of PostgreSQL: it recovers from its log"),
    "drop-connections": Kind(does="every connection to PostgreSQL is cut"),
    "expire-tokens": Kind(does="the operator forgets every token"),
}
TOP = frozenset(
    {
        "version",
        "about",
        "faults",
        "submit_seconds",
        "round_seconds",
        "rest_seconds",
        "rounds",
        "knobs",
        "settings",
        "strike",
    }
)
STRIKE = frozenset({"kind", "of", "times", "every_seconds", "seconds"})


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One strike at one moment."""

    at_seconds: float
    """From the beginning of its round."""
    kind: str
    target: str | None = None
    seconds: float | None = None
    chance: float = 0.0
    """From 0 to 1: chooses among a worker's processes."""


@dataclass(frozen=True, kw_only=True)
class StrikeRule:
    """One [[strike]] of a plan: so many times at random moments of a round, or every so often."""

    kind: str
    of: tuple[str, ...] = ()
    times: int = 0
    every_seconds: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan that was read and found sensible."""

    name: str
    about: str = ""
    faults: str = "calm"
    """The simulator's fault script: a name, or a file beside the plan."""
    submit_seconds: float = 10.0
    """The producers spread their invoices over so long at least, so that faults find them at work."""
    round_seconds: float = 30.0
    """The strikes of one round fall within it; rounds follow each other while invoices wait to be accepted."""
    rest_seconds: float = 0.0
    """Between two rounds nothing strikes for so long: a fleet that is always struck down cannot finish."""
    rounds: int = MOST_ROUNDS
    """At most so many."""
    knobs: Mapping[str, str] = field(default_factory=dict)
    """Of the simulator."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """POSTILJON_ variables: a user's own rules and limits."""
    rules: tuple[StrikeRule, ...] = ()

    def strikes(self, seed: int, round_number: int) -> tuple[Strike, ...]:
        """Return the strikes of one round in their order: always the same for a seed."""
        drawn = (
            strike
            for place, rule in enumerate(self.rules)
            for strike in _draw(rule, self.round_seconds, Random(f"{seed}/{round_number}/{place}"))  # noqa: S311 - repeatable on purpose
        )
        return tuple(sorted(drawn, key=lambda strike: (strike.at_seconds, strike.kind)))


def _draw(rule: StrikeRule, round_seconds: float, random: Random) -> Iterator[Strike]:
    if rule.every_seconds is None:
        moments = [random.uniform(0, round_seconds) for _ in range(rule.times)]
    else:
        first = random.uniform(0, rule.every_seconds)
        count = int((round_seconds - first) / rule.every_seconds) + 1 if first < round_seconds else 0
        moments = [first + number * rule.every_seconds for number in range(count)]
    for at in moments:
        target = random.choice(rule.of) if rule.of else None
        yield Strike(at_seconds=at, kind=rule.kind, target=target, seconds=rule.seconds, chance=random.random())


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
            rules=tuple(self._rule(each, ("strike", place)) for place, each in enumerate(strikes)),
        )

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
        every = "every_seconds" in content
        return StrikeRule(
            kind=name,
            of=self._targets(content, kind, name, place),
            times=0 if every else self._count(content, (*place, "times")),
            every_seconds=self._number(content, (*place, "every_seconds"), default=0.0, least=0.1) if every else None,
            seconds=None
            if kind.default_seconds is None
            else self._number(content, (*place, "seconds"), default=kind.default_seconds, least=0.0),
        )

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

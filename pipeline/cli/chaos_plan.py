"""A plan of chaos: the kinds of strikes there are, and those a seed makes of a plan. Reads no file, strikes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from pipeline.services.points import Point

MOST_ROUNDS = 40
"""Even where nothing is ever accepted the strikes end, so that what is left can settle."""
WORKERS = ("send", "pump", "follow")
BEATS = ("beat", "beat-2")
KILL_AT = "kill-at"
JUMP_CLOCK = "jump-clock"
JUMPS_SECONDS = (-25.0, 40.0)
"""Beyond every lease of a run, in both directions."""


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
    KILL_AT: Kind(
        does="kill -9 of the first process that comes by a named point within the time",
        targets=tuple(Point),
        default_seconds=5,
    ),
    "kill-web": Kind(does="kill -9 of the webhook receiver"),
    "pause-worker": Kind(
        does="SIGSTOP of a worker with all its processes, then SIGCONT", targets=WORKERS, default_seconds=12
    ),
    "rolling-restart": Kind(does="SIGTERM of one worker after the other"),
    "flush-valkey": Kind(does="FLUSHALL"),
    "restart-valkey": Kind(does="SIGTERM of Valkey: it comes back with its data"),
    "lose-valkey": Kind(does="kill -9 of Valkey: it comes back empty"),
    "pause-valkey": Kind(does="SIGSTOP of Valkey, then SIGCONT", default_seconds=30),
    "fill-valkey": Kind(does="Valkey's memory is full", default_seconds=3),
    "restart-postgres": Kind(does="fast shutdown of PostgreSQL: it comes back"),
    "crash-postgres": Kind(does="immediate shutdown of PostgreSQL: it recovers from its log"),
    "drop-connections": Kind(does="every connection to PostgreSQL is cut"),
    "serialization-failures": Kind(does="a share of the transactions fails with SQLSTATE 40001", default_seconds=4),
    "deadlocks": Kind(does="a share of the transactions is the victim of a deadlock", default_seconds=4),
    "cancelled-statements": Kind(does="a share of the transactions has a statement cancelled", default_seconds=4),
    JUMP_CLOCK: Kind(does="the database's clock jumps by so many seconds, and back later", default_seconds=35),
    "expire-tokens": Kind(does="the operator forgets every token"),
}


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One strike at one moment."""

    at_seconds: float
    """From the beginning of its round."""
    kind: str
    target: str | None = None
    seconds: float | None = None
    by_seconds: float = 0.0
    """How far a clock jumps; back if negative."""
    chance: float = 0.0
    """From 0 to 1: chooses among a worker's processes."""

    @property
    def name(self) -> str:
        """The name it is counted under: the kind, and the point where there is one."""
        return f"kill at {self.target}" if self.kind == KILL_AT else self.kind


@dataclass(frozen=True, kw_only=True)
class StrikeRule:
    """One [[strike]] of a plan: so many times at random moments of a round, or every so often."""

    kind: str
    of: tuple[str, ...] = ()
    times: int = 0
    every_seconds: float | None = None
    seconds: float | None = None
    by_seconds: tuple[float, ...] = JUMPS_SECONDS


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
    limits: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """What the pipeline lets a company have, by the company's number from 1: rates, weight, cap."""
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
        by_seconds = random.choice(rule.by_seconds) if rule.kind == JUMP_CLOCK else 0.0
        yield Strike(
            at_seconds=at,
            kind=rule.kind,
            target=target,
            seconds=rule.seconds,
            by_seconds=by_seconds,
            chance=random.random(),
        )

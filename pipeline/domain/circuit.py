"""When the operator's host, or the operator for one company, is left alone, and how it is taken up again.

Pure rules over counts and instants. Knows nothing of who counts, where it is stored, or what the exchanges were about.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane

WINDOW = timedelta(seconds=10)
"""What happened longer ago is no evidence for now."""
QUIET_WINDOW = timedelta(seconds=2)
"""A window without a failure is begun anew this often: the answers of before an outage must not outvote it for long."""
FRESH = timedelta(seconds=3)
"""An answer to another company no older than this says that the host is there."""
NOTED_WITHIN = timedelta(seconds=1)
"""An answer may be noted so much later than it came: within this after the first failure it may be from before it."""
ANSWERED_PERCENT = 20
"""At least so many answers among a hundred exchanges prove somebody who is slow or strict, not somebody who is away."""
FAILURES_WHILE_CLOSING = 3
"""After an outage less is tried at once and less is believed; a slow start that fails must not go on to its end."""
ROOM_WITHOUT_BOUND = 1024
"""Above any window of uploads that the fleet has in the air (8 chunks of 100)."""
LONGEST_CANARY_SECONDS = 90.0
"""A canary that died holds up the next one; few uploads take longer than this, and a second canary is harmless."""
UNWANTED = timedelta(minutes=5)
"""A canary that nobody went as for so long is one that nobody has a question for."""
CLOCKS_DIFFER = timedelta(seconds=2)
"""What lies further in the future than clocks of two processes differ was written before the clock was put back."""
MOST_DOUBLINGS = 40
"""Above any longest wait, below what a float or a timedelta can hold."""

CLIENT_ERRORS = 400
SERVER_ERRORS = 500


class CircuitState(StrEnum):
    """Whether exchanges may begin. Moved by compare-and-set in storage/circuits.py alone."""

    CLOSED = "closed"
    """Everything goes. In: a slow start that came to its end. Out: OPEN, on evidence. A death here changes nothing."""

    OPEN = "open"
    """Nothing goes until `retry_at`. In: evidence while CLOSED or CLOSING, a canary that failed or proved nothing.

    Out: HALF_OPEN, by whoever is first after `retry_at`. Nobody needs to live for that."""

    HALF_OPEN = "half_open"
    """One canary is under way, until `canary_until` at the latest. In: OPEN. Out: CLOSING or OPEN, by the canary.

    If the canary's process dies, the next one goes at `canary_until`."""

    CLOSING = "closing"
    """A slow start: more each second. In: a canary that was answered. Out: OPEN, on evidence; CLOSED, by the clock."""


class Evidence(StrEnum):
    """What one exchange proves about whether the operator is there."""

    ANSWERED = "answered"
    FAILED = "failed"
    NEUTRAL = "neutral"


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """How a host of the operator, or the operator for one company, is treated at present."""

    scope: str
    """The operator's host, or the UUID of a company."""
    state: CircuitState
    since: datetime
    retry_at: datetime | None = None
    """When one canary may ask."""
    canary_until: datetime | None = None
    """Which canary is under way: the instant is its name too."""
    trips: int = 0
    """Openings in a row without a full recovery between them."""
    evidence: str | None = None
    """What it was opened for, for people: `14 of 14 exchanges failed (connection refused)`."""
    answered_at: datetime | None = None
    """When the operator answered last, as far as it was noted."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What the exchanges of the last seconds proved."""

    since: datetime
    answered: int = 0
    failed: int = 0

    def plus(self, *, answered: int, failed: int, now: datetime) -> "Window":
        """Return the window with more counted in; a new one where this one is over. It lasts from the first failure.

        One that began in the future is over too: the clock was put back.
        """
        age = now - self.since
        if age < -CLOCKS_DIFFER or age >= (WINDOW if self.failed else QUIET_WINDOW):
            return Window(since=now, answered=answered, failed=failed)
        begins = failed and not self.failed
        since = now if begins else self.since
        return replace(self, since=since, answered=self.answered + answered, failed=self.failed + failed)

    @property
    def is_answered(self) -> bool:
        """Tell whether somebody is there: enough of the exchanges were answered."""
        return is_answered(answered=self.answered, failed=self.failed)

    def opens(self, *, least_failures: int) -> bool:
        """Tell whether this is evidence enough to leave somebody alone."""
        return self.failed >= max(least_failures, 1) and not self.is_answered


def is_answered(*, answered: int, failed: int) -> bool:
    """Tell whether so many answers among so many exchanges prove that somebody is there."""
    return answered > 0 and answered * 100 >= ANSWERED_PERCENT * (answered + failed)


def weigh(outcome: Outcome | None, lane: Lane) -> Evidence:
    """Tell what an exchange proves; None is an answer of success.

    An upload that ended in doubt proves nothing: one slow or lying invoice must not stop the fleet, and the probe that
    follows at once is the evidence. What we held back ourselves proves nothing either.
    """
    if outcome is None:
        return Evidence.ANSWERED
    in_doubt = outcome.kind is OutcomeKind.IN_DOUBT
    if outcome.held_back_seconds is not None or (in_doubt and lane is Lane.UPLOAD):
        return Evidence.NEUTRAL
    status = outcome.http_status or 0
    says_no = CLIENT_ERRORS <= status < SERVER_ERRORS
    failed = outcome.kind is OutcomeKind.UNAVAILABLE or status >= SERVER_ERRORS or (in_doubt and not says_no)
    return Evidence.FAILED if failed else Evidence.ANSWERED


def room(circuit: Circuit | None, now: datetime) -> int | None:
    """Tell how many exchanges may be under way: 0 none, 1 a canary or the first second after it, None without bound.

    Where a canary is due, whoever wants to be it has to win it first (storage/circuits.py).
    """
    if circuit is None or circuit.state is CircuitState.CLOSED:
        return None
    if circuit.state is CircuitState.CLOSING:
        return None if _is_before_a_jump(circuit, now) else _slow_start(now - circuit.since)
    return 1 if is_canary_due(circuit, now) else 0


def is_canary_due(circuit: Circuit, now: datetime) -> bool:
    """Tell whether somebody may try to become the canary now."""
    if circuit.state not in {CircuitState.OPEN, CircuitState.HALF_OPEN}:
        return False
    at = _canary_at(circuit)
    return at is None or at <= now or _is_before_a_jump(circuit, now)


def is_unwanted(circuit: Circuit, now: datetime) -> bool:
    """Tell whether nothing has been asked for long although a canary may go: left open it would stay so for ever."""
    at = _canary_at(circuit)
    return at is not None and at <= now - UNWANTED


def _canary_at(circuit: Circuit) -> datetime | None:
    due = {CircuitState.OPEN: circuit.retry_at, CircuitState.HALF_OPEN: circuit.canary_until}
    return due.get(circuit.state)


def _is_before_a_jump(circuit: Circuit, now: datetime) -> bool:
    """Tell whether the clock was put back since: what was to come soon lies as far off as it jumped."""
    furthest = now + timedelta(seconds=LONGEST_CANARY_SECONDS) + CLOCKS_DIFFER
    is_dead = circuit.canary_until is not None and circuit.canary_until > furthest
    return is_dead or circuit.since > now + CLOCKS_DIFFER


def is_recovered(circuit: Circuit, now: datetime) -> bool:
    """Tell whether a slow start has come to its end."""
    return circuit.state is CircuitState.CLOSING and room(circuit, now) is None


def wait(
    *, trips: int, shortest_seconds: float, longest_seconds: float, retry_after_seconds: float | None
) -> timedelta:
    """Return how long to leave somebody alone after so many openings in a row; what they asked for if it is longer."""
    doubled = shortest_seconds * 2.0 ** min(max(trips, 1) - 1, MOST_DOUBLINGS)
    return timedelta(seconds=max(min(doubled, longest_seconds), retry_after_seconds or 0.0))


def canary_until(now: datetime, *, timeouts_seconds: float) -> datetime:
    """Return when a canary that begins now counts as dead; `timeouts_seconds` is the longest exchange."""
    return now + timedelta(seconds=min(timeouts_seconds, LONGEST_CANARY_SECONDS))


def say_evidence(window: Window, told: str | None) -> str:
    """Put in words what a circuit was opened for."""
    why = f" ({told})" if told else ""
    return f"{window.failed} of {window.failed + window.answered} exchanges failed{why}"


def say_canary(evidence: str | None, told: str | None, *, at: datetime) -> str:
    """Put in words that a canary failed, after what the circuit was opened for."""
    opened_for = (evidence or "its exchanges failed").split("; the last canary", maxsplit=1)[0]
    why = f" ({told})" if told else ""
    return f"{opened_for}; the last canary, at {at:%H:%M:%S}, failed too{why}"


def tell(circuit: Circuit, *, company_name: str | None = None) -> str:
    """Tell a person what is the matter with a circuit that is not closed, and what to do."""
    whom = f"the operator's host {circuit.scope}"
    if company_name is not None:
        whom = f"the operator, asked for {company_name},"
    if circuit.state is CircuitState.CLOSING:
        return f"{whom} answers again since {_shown(circuit.since)}; the fleet is starting slowly. Nothing to do"
    since = circuit.answered_at or circuit.since
    evidence = circuit.evidence or "its exchanges failed"
    next_at = f" Next canary at {_shown(circuit.retry_at)}." if circuit.retry_at else ""
    return (
        f"{whom} has not answered since {_shown(since)}: {evidence}.{next_at} What to do: nothing, it goes on by "
        "itself; nothing is sent meanwhile and no attempt counts. If the operator says that all is well there, look at "
        "the network between here and there (postiljon doctor)"
    )


def _slow_start(elapsed: timedelta) -> int | None:
    bound = 2 ** min(max(int(elapsed.total_seconds()), 0), ROOM_WITHOUT_BOUND.bit_length())
    return bound if bound <= ROOM_WITHOUT_BOUND else None


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

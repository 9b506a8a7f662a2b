"""When all that waits will have been accepted, if limits, shares and speed stay as they are now. Pure arithmetic.

Backlogs run off like water: the host's rate is shared by weight, nobody gets more than its own limit, and whoever is
left alone joins later. Knows neither clock nor database, and promises nothing: it says what it reckoned with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf

STILL = 0.05
"""Acceptances per second below which nothing is measured: the smoothed speed of a minute of rest is less."""
MEASURED_SHARE = 0.1
"""Below this part of what the limits allow the speed is that of a beginning, and tells nothing of what will come."""
SLOW_START_SECONDS = 10
"""A slow start lets 1, 2, 4 ... exchanges be under way; after so many seconds it binds nobody."""
DONE = 1e-6
LONGEST = timedelta(days=365)
"""What would take longer is not a forecast any more."""


class Basis(StrEnum):
    """What a forecast reckons with."""

    LIMITS = "limits"
    """What limits, set or found out, leave."""
    SPEED = "speed"
    """What was measured: no limit is known, or the speed stays below it."""
    NOTHING = "nothing"
    """Neither is known, or all that waits is on hold: there is no forecast."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What one company has to send."""

    company: str
    invoices: int
    weight: float = 1.0
    rate: float | None = None
    """Uploads per second that its own limit leaves; None: no limit of its own."""
    not_before: datetime | None = None
    """Until then the operator is left alone for it."""
    last_due_at: datetime | None = None
    """When the last of its invoices that wait for their next attempt is due."""
    is_held: bool = False


@dataclass(frozen=True, kw_only=True)
class HostPace:
    """What holds for all companies together."""

    rate: float | None = None
    speed: float = 0.0
    """Acceptances per second, smoothed."""
    is_limit_used: bool = False
    """Turns are waited for: the limit is what binds, whatever the smoothed speed says yet."""
    not_before: datetime | None = None
    closing_since: datetime | None = None
    """A slow start is going on since then."""
    is_left_alone: bool = False
    """After `not_before` a slow start comes first, if the operator answers."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """From when on what one company has runs off, and how fast on the average."""

    starts_at: datetime
    per_second: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When it will be done, and what that rests on."""

    at: datetime
    backlog: int
    """Invoices that it speaks of."""
    left_out: int
    """Invoices of companies on hold: when those go on depends on a person or the operator."""
    basis: Basis
    starts_at: datetime
    """Nothing goes before; `at` where nothing stands in the way."""
    finish_at: datetime | None
    """None: cannot be said."""
    per_second: float
    """All companies together, once all that may go goes."""
    finish_of: Mapping[str, datetime]
    """Of each company that has a forecast."""
    run_of: Mapping[str, Run] = field(default_factory=dict)
    """Of each company that has a forecast; as if all that it has were due."""
    is_left_alone: bool = False
    """The operator does not answer: all of it holds only if it does at `starts_at`."""

    @property
    def seconds(self) -> float | None:
        """How long from now."""
        return None if self.finish_at is None else (self.finish_at - self.at).total_seconds()


def forecast(backlogs: Sequence[Backlog], host: HostPace, *, at: datetime) -> Forecast:
    """Tell when all that is not on hold will have been accepted."""
    going = [each for each in backlogs if not each.is_held and each.invoices > 0]
    backlog = sum(each.invoices for each in going)
    left_out = sum(each.invoices for each in backlogs if each.is_held)
    starts_at = max(at, min((_start(each, host, at) for each in going), default=at))
    basis, capacity = _capacity(going, host)
    ends: dict[str, datetime] = {}
    if basis is not Basis.NOTHING:
        ends = _run_off(going, host, capacity=capacity, at=at)
    finish_of = {each.company: _last(each, ends) for each in going if each.company in ends}
    is_known = len(finish_of) == len(going) and bool(going or not left_out)
    return Forecast(
        at=at,
        backlog=backlog,
        left_out=left_out,
        basis=basis,
        starts_at=starts_at,
        finish_at=max(finish_of.values(), default=at) if is_known else None,
        per_second=sum(share_rate(going, capacity).values()) if basis is not Basis.NOTHING else 0.0,
        finish_of=finish_of if is_known else {},
        run_of={each.company: _run(each, host, ends, at) for each in going if each.company in ends},
        is_left_alone=host.is_left_alone,
    )


def share_rate(going: Sequence[Backlog], capacity: float) -> dict[str, float]:
    """Share a rate among companies by weight, none above its own; what one cannot use is the others'."""
    rates: dict[str, float] = {}
    left, weights = capacity, sum(each.weight for each in going)
    for each in sorted(going, key=lambda each: (_own(each) / each.weight, each.company)):
        rates[each.company] = min(_own(each), left * each.weight / weights) if weights > 0 else 0.0
        left -= rates[each.company] if rates[each.company] < inf else 0.0
        weights -= each.weight
    return rates


def _capacity(going: Sequence[Backlog], host: HostPace) -> tuple[Basis, float]:
    if not going:
        return Basis.NOTHING, 0.0
    limit = inf if host.rate is None else host.rate
    allowed = min(limit, sum(_own(each) for each in going))
    if allowed == inf:
        return (Basis.SPEED, host.speed) if host.speed >= STILL else (Basis.NOTHING, 0.0)
    is_measured = host.speed >= max(STILL, MEASURED_SHARE * allowed) and host.closing_since is None
    if is_measured and host.speed < allowed and not host.is_limit_used:
        return Basis.SPEED, host.speed
    return Basis.LIMITS, limit


def _run_off(going: Sequence[Backlog], host: HostPace, *, capacity: float, at: datetime) -> dict[str, datetime]:
    """Go from event to event: somebody may begin, somebody is done, a slow start takes its next step."""
    left = {each.company: float(each.invoices) for each in going}
    starts = {each.company: (_start(each, host, at) - at).total_seconds() for each in going}
    ramp_begin = _ramp_begin(host, at)
    finished: dict[str, float] = {}
    now = 0.0
    while left:
        open_now = [each for each in going if each.company in left and starts[each.company] <= now]
        bound, step_at = _slow_start(ramp_begin, now)
        rates = share_rate(open_now, min(capacity, bound))
        events = [now + left[company] / rate for company, rate in rates.items() if rate > 0]
        events += [starts[company] for company in left if starts[company] > now]
        then = min([*events, step_at])
        if then > LONGEST.total_seconds():
            break
        for company, rate in rates.items():
            left[company] -= rate * (then - now) if then > now else 0.0
            if left[company] <= DONE:
                del left[company]
                finished[company] = then
        now = then
    return {company: at + timedelta(seconds=seconds) for company, seconds in finished.items()}


def _last(each: Backlog, ends: Mapping[str, datetime]) -> datetime:
    return max(ends[each.company], each.last_due_at or ends[each.company])


def _run(each: Backlog, host: HostPace, ends: Mapping[str, datetime], at: datetime) -> Run:
    starts_at = _start(each, host, at)
    return Run(
        starts_at=starts_at, per_second=each.invoices / max((ends[each.company] - starts_at).total_seconds(), DONE)
    )


def _slow_start(begin: float | None, now: float) -> tuple[float, float]:
    """Return the rate that a slow start allows now, and when it changes. Reckons with exchanges of one second."""
    if begin is None:
        return inf, inf
    steps = int(now - begin + DONE)
    if now < begin or steps >= SLOW_START_SECONDS:
        return (0.0, begin) if now < begin else (inf, inf)
    return 2.0**steps, begin + steps + 1


def _ramp_begin(host: HostPace, at: datetime) -> float | None:
    if host.closing_since is not None:
        return (host.closing_since - at).total_seconds()
    if host.is_left_alone:
        return max(((host.not_before or at) - at).total_seconds(), 0.0)
    return None


def _start(each: Backlog, host: HostPace, at: datetime) -> datetime:
    return max(at, host.not_before or at, each.not_before or at)


def _own(each: Backlog) -> float:
    return inf if each.rate is None else each.rate

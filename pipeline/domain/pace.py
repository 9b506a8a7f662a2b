"""How fast the fleet may go: limits, the spacing of turns that keeps to them, and planning turns on two rows.

Knows neither clock nor SQL; what is learned from refusals is pipeline.domain.pace_learning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane

USE_SECONDS = 0.05
"""A turn not used within this is forfeited: the process was busy or asleep, and late turns would crowd together."""
WAY_SECONDS = 0.25
"""What the way to the operator may differ between two exchanges, and clocks of two processes between two looks.

Measured: with 0.1 and four times more work than processors, one second in a run had 21 arrivals where 20 were allowed.
"""
SLACK_SECONDS = USE_SECONDS + WAY_SECONDS
BLOCK_SECONDS = 0.1
"""The turns taken at once by one process never reach further than this beyond the first."""
AHEAD_SECONDS = 0.25
"""Nobody takes a turn further off: others may have a use for it, and the process may not live to see it."""
LEAD_SECONDS = 0.002
"""How far a company's turn may lie beyond its host's: every turn of the host that passes meanwhile is lost to all."""

LONGEST_PAUSE = timedelta(hours=24, minutes=1)
"""What is believed of a Retry-After, with the jitter on top (pipeline.maventa.verdict hears no longer one)."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What binds one scope (the operator's host, or a company's UUID as text) in one lane."""

    scope: str
    lane: Lane
    limit: float | None
    """Exchanges per second, set by a person or found out; None: nothing known."""
    is_adaptive: bool = False
    """The limit was found out by what the operator refused."""
    blocked_until: datetime | None = None
    """What the operator's Retry-After asked of all."""
    speed: float = 0.0
    """Answers per second that were no refusal of pace, smoothed, as of now."""
    next_at: datetime | None = None
    """When its next turn is, as far as it is known."""

    @property
    def spacing(self) -> timedelta | None:
        """The distance between two turns; None where nothing limits."""
        return None if self.limit is None else space(self.limit, is_adaptive=self.is_adaptive)

    def is_binding(self, now: datetime) -> bool:
        """Tell whether an exchange may not simply begin."""
        return self.limit is not None or (self.blocked_until is not None and now < self.blocked_until)


def space(limit: float, *, is_adaptive: bool = False) -> timedelta:
    """Return the distance between turns that keeps every second within a limit, however late the turns are used.

    A limit below one is kept as one exchange in 1/limit seconds; of 2.5 a second only two fit into any second.
    One that was found out is a guess, so it gets no slack: its error is corrected by the next refusal.
    """
    if is_adaptive:
        return timedelta(seconds=1 / limit)
    window = max(1.0, 1 / limit)
    turns = max(1, math.floor(limit * window + 1e-9))
    # Rounded up: a timedelta counts microseconds, and many small errors would add up.
    return timedelta(microseconds=math.ceil((window + SLACK_SECONDS) * 1e6 / turns))


@dataclass(frozen=True, kw_only=True)
class Row:
    """Where the turns of one scope stand."""

    next_at: datetime | None = None
    blocked_until: datetime | None = None
    spacing: timedelta | None = None
    """None: it limits nothing, and takes part only for its block."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Turns taken, one exchange at or shortly after each; what the two rows are to say afterwards."""

    at: Sequence[datetime]
    host_next_at: datetime | None
    company_next_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class NotYet:
    """No turn is taken before this; ask again then. Others may have been quicker."""

    until: datetime
    spacing: timedelta
    """What every further exchange of this queue will have to wait beyond it, at least."""
    is_blocked: bool = False


def believe_pause(until: datetime | None, now: datetime) -> datetime | None:
    """Return the end of a pause; None for one so far off that it was noted before the clock jumped back."""
    return until if until is None or until <= now + LONGEST_PAUSE else None


def believe_turn(row: Row, now: datetime) -> datetime | None:
    """Return when the next turn is; one further off than turns are ever taken is from before the clock jumped back.

    Where a limit was raised meanwhile, its new spacing holds from here on.
    """
    if row.next_at is None or row.spacing is None:
        return row.next_at
    furthest = now + timedelta(seconds=AHEAD_SECONDS + BLOCK_SECONDS + WAY_SECONDS) + row.spacing
    return min(row.next_at, furthest)


def plan_turns(*, host: Row, company: Row, wanted: int, now: datetime) -> Turns | NotYet:
    """Take up to `wanted` turns at most a moment ahead, or say when to ask again.

    A company whose own turn is further off than the host's takes none: it would push the host's row into the future
    and stop all others.
    """
    spacing = max(host.spacing or timedelta(0), company.spacing or timedelta(0))
    blocked = max((row.blocked_until for row in (host, company) if row.blocked_until is not None), default=now)
    if blocked > now:
        return NotYet(until=blocked, spacing=spacing, is_blocked=True)
    host_at = max(now, host.next_at or now) if host.spacing else now
    company_at = max(now, company.next_at or now) if company.spacing else now
    ahead = timedelta(seconds=AHEAD_SECONDS)
    if host.spacing and company_at > host_at + timedelta(seconds=LEAD_SECONDS):
        return NotYet(until=company_at, spacing=spacing)
    first = max(host_at, company_at)
    if first > now + ahead:
        return NotYet(until=first - ahead / 2, spacing=spacing)
    count = min(max(1, wanted), _block(host=host, company=company))
    last = first + (count - 1) * spacing
    return Turns(
        at=tuple(first + index * spacing for index in range(count)),
        host_next_at=last + host.spacing if host.spacing else None,
        company_next_at=last + company.spacing if company.spacing else None,
    )


def _block(*, host: Row, company: Row) -> int:
    spacing = max(host.spacing or timedelta(0), company.spacing or timedelta(0))
    if not spacing:
        return 1
    if host.spacing and company.spacing and company.spacing > host.spacing:
        return 1  # between two turns of the company others pass
    return 1 + int(timedelta(seconds=BLOCK_SECONDS) / spacing)


def hold_back(seconds: float, *, why: str, code: str = "held_back") -> Outcome:
    """Return the outcome of an exchange that was not begun."""
    return Outcome(
        kind=OutcomeKind.UNAVAILABLE,
        error_code=code,
        message=f"{why}: nothing was sent",
        retry_after_seconds=seconds,
        held_back_seconds=seconds,
    )

"""In which order the invoices of one company run off, when each batch is done, and how many are too late. Arithmetic.

Reckons with groups: what has the same batch, priority and deadline. Knows neither clock nor database, and promises
nothing beyond the speed it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from math import ceil, inf

HARDLY = 1e-6
"""Invoices: what is left of a group by rounding."""
LONGEST_SECONDS = timedelta(days=365).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Invoices of one company that go together."""

    batch_id: int
    invoices: int
    priority: int = 0
    deadline: datetime | None = None
    not_before: datetime | None = None
    came_at: datetime | None = None
    """When the first of them came; None comes before all."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a group will have gone at the present speed."""

    group: Group
    finish_at: datetime | None
    """None: cannot be said."""
    late: int
    """Whose deadline is over already."""
    will_miss: int
    """Who will be too late, beside those; 0 where nothing can be said."""


def run_off(
    groups: Sequence[Group], *, at: datetime, starts_at: datetime | None = None, per_second: float | None = None
) -> list[Ending]:
    """Tell how the groups of a company go, the first first, from an instant on at a speed; None: no speed is known."""
    if per_second is None or per_second <= 0:
        return [_unknown(each, at) for each in groups]
    order = sorted(groups, key=_turn)
    left = [float(each.invoices) for each in order]
    in_time = [0.0] * len(order)
    finished: list[float | None] = [None] * len(order)
    asleep = sorted((_seconds(each.not_before, at), place) for place, each in enumerate(order))[::-1]
    awake: list[int] = []
    now = max(_seconds(starts_at, at), 0.0)
    while (asleep or awake) and now < LONGEST_SECONDS:
        now = now if awake else max(now, asleep[-1][0])
        while asleep and asleep[-1][0] <= now:
            heappush(awake, asleep.pop()[1])
        # Somebody who is to go before may wake up before this one is done.
        place = awake[0]
        done = now + left[place] / per_second
        then = min(done, asleep[-1][0] if asleep else inf)
        in_time[place] += per_second * max(min(then, _seconds(order[place].deadline, at, inf)) - now, 0.0)
        left[place] -= per_second * (then - now)
        now = then
        if then == done:
            finished[heappop(awake)] = now
    return [_ending(each, seconds, timely, at) for each, seconds, timely in zip(order, finished, in_time, strict=True)]


def is_late(group: Group, at: datetime) -> bool:
    """Tell whether the deadline of a group is over."""
    return group.deadline is not None and group.deadline <= at


def _turn(group: Group) -> tuple[int, float, float, int]:
    deadline = inf if group.deadline is None else group.deadline.timestamp()
    came = -inf if group.came_at is None else group.came_at.timestamp()
    return (-group.priority, deadline, came, group.batch_id)


def _seconds(instant: datetime | None, at: datetime, default: float = 0.0) -> float:
    return default if instant is None else (instant - at).total_seconds()


def _unknown(group: Group, at: datetime) -> Ending:
    late = group.invoices if is_late(group, at) else 0
    return Ending(group=group, finish_at=None, late=late, will_miss=0)


def _ending(group: Group, finished: float | None, in_time: float, at: datetime) -> Ending:
    finish_at = None if finished is None else at + timedelta(seconds=finished)
    if group.deadline is None:
        return Ending(group=group, finish_at=finish_at, late=0, will_miss=0)
    missed = min(ceil(group.invoices - in_time - HARDLY), group.invoices)
    if is_late(group, at):
        return Ending(group=group, finish_at=finish_at, late=group.invoices, will_miss=0)
    return Ending(group=group, finish_at=finish_at, late=0, will_miss=max(missed, 0))

"""Those who wait for their turn at the operator: first come, first served, one reservation under way at a time.

Knows neither limits nor the database: turns come from a callable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.domain.errors import ConfigurationError, ServiceUnavailableError
from pipeline.domain.pace import USE_SECONDS, NotYet, Turns
from pipeline.services.ports import Clock

PATIENCE = timedelta(seconds=3)
"""Longer than the dispatcher looks ahead; whoever waits longer is held back and comes again."""
SHORT_BLOCK = timedelta(seconds=1)
"""A pause the operator asked for is waited out up to this; for longer ones nobody stays."""
AGAIN_SECONDS = 1.0
"""When to come again where nobody can tell."""
LONGEST_SECONDS = 30.0
"""Nobody is sent away for longer because of those before it: they may be gone sooner."""
DEADLINE_SECONDS = 10.0
"""By the loop's own clock, whatever hangs."""

SleepUntil = Callable[[datetime], Awaitable[None]]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dismissed:
    """No turn; come again after so many seconds."""

    seconds: float
    is_blocked: bool = False


@dataclass(eq=False, kw_only=True)
class Waiter:
    """One exchange that waits."""

    give_up_at: datetime
    turn: asyncio.Future[datetime | Dismissed]


class TurnQueue:
    """The exchanges of one company in one lane, in one process."""

    def __init__(
        self, *, reserve: Callable[[int], Awaitable[Turns | NotYet]], clock: Clock, sleep_until: SleepUntil
    ) -> None:
        self._reserve = reserve
        self._clock = clock
        self._sleep_until = sleep_until
        self._waiting: deque[Waiter] = deque()
        self._server: asyncio.Task[None] | None = None

    async def wait(self) -> Dismissed | None:
        """Return None at the moment of one's turn: begin at once, a late turn is worth nothing."""
        give_up_at = self._clock() + PATIENCE
        is_late = False
        while True:
            turn = await self._stand(give_up_at, first=is_late)
            if isinstance(turn, Dismissed):
                return turn
            while self._clock() < turn:
                await self._sleep_until(turn)
            if self._clock() <= turn + timedelta(seconds=USE_SECONDS):
                return None
            # The loop was busy or the process asleep: this turn is forfeited, and the next one is ours.
            is_late = True
            if self._clock() >= give_up_at:
                return Dismissed(seconds=AGAIN_SECONDS)

    async def _stand(self, give_up_at: datetime, *, first: bool) -> datetime | Dismissed:
        loop = asyncio.get_running_loop()
        waiter = Waiter(give_up_at=give_up_at, turn=loop.create_future())
        if first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        if self._server is None or self._server.done():
            self._server = loop.create_task(self._serve())
        try:
            return await asyncio.wait_for(waiter.turn, DEADLINE_SECONDS)
        except TimeoutError:
            log.warning("no turn within the deadline", extra={"event": "turn_overdue"})
            return Dismissed(seconds=AGAIN_SECONDS)

    async def _serve(self) -> None:
        try:
            while self._forget_gone():
                plan = await self._reserve(len(self._waiting))
                if isinstance(plan, Turns):
                    self._hand_out(plan)
                    continue
                self._dismiss(plan)
                if self._waiting:
                    await self._sleep_until(plan.until)
        except (ServiceUnavailableError, ConfigurationError) as exc:
            log.warning("no turns: %s", exc, extra={"event": "turns_unavailable"})
        finally:
            for waiter in self._waiting:
                _tell(waiter, Dismissed(seconds=AGAIN_SECONDS))
            self._waiting.clear()

    def _forget_gone(self) -> int:
        self._waiting = deque(each for each in self._waiting if not each.turn.done())
        return len(self._waiting)

    def _hand_out(self, turns: Turns) -> None:
        self._forget_gone()
        for at in turns.at:
            if self._waiting:
                _tell(self._waiting.popleft(), at)

    def _dismiss(self, plan: NotYet) -> None:
        now = self._clock()
        stay: deque[Waiter] = deque()
        for index, waiter in enumerate(self._waiting):
            earliest = plan.until + index * plan.spacing
            if earliest > waiter.give_up_at or (plan.is_blocked and plan.until - now > SHORT_BLOCK):
                behind = min((index * plan.spacing).total_seconds(), LONGEST_SECONDS)
                seconds = max((plan.until - now).total_seconds(), 0.0) + behind
                _tell(waiter, Dismissed(seconds=seconds, is_blocked=plan.is_blocked))
            else:
                stay.append(waiter)
        self._waiting = stay


def _tell(waiter: Waiter, told: datetime | Dismissed) -> None:
    if not waiter.turn.done():
        waiter.turn.set_result(told)

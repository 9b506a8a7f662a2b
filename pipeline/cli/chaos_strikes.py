"""The strikes of a plan in their turn, in a thread of their own, and the count of them. What is held up is let go."""

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import redis

from pipeline.cli.chaos_means import Action, Armoury, MissedError, Trap, means_of
from pipeline.cli.chaos_plan import Plan, Strike
from pipeline.cli.stack import Stack
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.storage.database import Database
from pipeline.storage.disturbing import count_sending
from pipeline.storage.tallies import read_tallies

AGAIN_SECONDS = 0.5
LOOK_SECONDS = 0.1
"""How often is looked whether a trap was sprung."""
UNDERWAY = (State.QUEUED, State.SENDING, State.WAITING, State.IN_DOUBT)
AWAY = (MissedError, ProcessLookupError, redis.RedisError, ServiceUnavailableError, httpx.HTTPError)
"""What a strike meets where its target is down already."""


@dataclass
class Struck:
    """What was injected."""

    kinds: Counter[str] = field(default_factory=Counter)
    """By kind, and by point where there is one."""
    mid_flight: Counter[str] = field(default_factory=Counter)
    """How many of them fell while invoices were being sent ..."""
    in_the_air: Counter[str] = field(default_factory=Counter)
    """... and how many invoices those were, all strikes of a kind together."""
    missed: Counter[str] = field(default_factory=Counter)
    """How many found nothing to strike: it was down already, or nobody came by the point."""
    rounds: int = 0
    broken: str | None = None
    """Why the strikes ended early, if they did."""

    def note(self, name: str, *, sending: int) -> None:
        """Count a strike that fell while so many invoices were being sent."""
        self.kinds[name] += 1
        self.mid_flight[name] += sending > 0
        self.in_the_air[name] += sending


class Striker:
    """Plays a plan round after round while invoices wait to be accepted. A context manager that ends the playing."""

    def __init__(
        self,
        stack: Stack,
        plan: Plan,
        *,
        seed: int,
        database: Database,
        folder: Path,
        more_comes: Callable[[], bool],
    ) -> None:
        self.struck = Struck()
        self._plan, self._seed, self._database, self._more_comes = plan, seed, database, more_comes
        self._means = means_of(Armoury(stack=stack, database=database, folder=folder, later=self._do_in))
        self._stop = threading.Event()
        self._ending = False
        self._later: list[tuple[float, int, Action]] = []
        self._order = count()
        self._thread = threading.Thread(target=self._play, name="striker", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether no strike will fall any more, and what lasts is over."""
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _do_in(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), action))

    def _play(self) -> None:
        try:
            for number in range(1, self._plan.rounds + 1):
                self.struck.rounds = number
                self._play_round(self._plan.strikes(self._seed, number))
                if self._stop.is_set() or not self._work_is_left():
                    return
                self._wait_until(time.monotonic() + self._plan.rest_seconds)
                if not self._work_is_left():
                    return
        except Exception as exc:  # noqa: BLE001 - the edge of a thread: recorded, and it fails the run
            self.struck.broken = f"{type(exc).__name__}: {exc}"
        finally:
            self._ending = True
            self._do_later()

    def _play_round(self, strikes: Sequence[Strike]) -> None:
        began = time.monotonic()
        for strike in strikes:
            self._wait_until(began + strike.at_seconds)
            if self._stop.is_set():
                return
            if not self._work_is_left():
                break  # what strikes when everything is accepted proves nothing more
            self._strike(strike)
        else:
            self._wait_until(began + self._plan.round_seconds)
        while self._later and not self._stop.is_set():
            self._wait_until(self._later[0][0])

    def _wait_until(self, moment: float) -> None:
        while not self._stop.is_set():
            self._do_later()
            soonest = min(moment, self._later[0][0]) if self._later else moment
            if time.monotonic() >= moment:
                return
            self._stop.wait(max(0.0, soonest - time.monotonic()))

    def _do_later(self) -> None:
        while self._later and (self._ending or self._later[0][0] <= time.monotonic()):
            _, _, action = heapq.heappop(self._later)
            try:
                action()
            except (MissedError, ProcessLookupError):
                continue  # it died meanwhile, and its successor knows nothing of this
            except (redis.RedisError, ServiceUnavailableError):
                if not self._stop.wait(AGAIN_SECONDS if self._ending else 0):
                    self._do_in(AGAIN_SECONDS, action)

    def _strike(self, strike: Strike) -> None:
        sending = self._sending()
        try:
            trap = self._means[strike.kind](strike)
        except AWAY:
            self.struck.missed[strike.name] += 1
            return
        if trap is None:
            self.struck.note(strike.name, sending=sending)
        else:
            self._watch(strike.name, trap, until=time.monotonic() + trap.seconds)

    def _watch(self, name: str, trap: Trap, *, until: float) -> None:
        """Look again and again whether a trap was sprung, and count it then."""
        over = self._ending or time.monotonic() >= until
        if trap.take_away() if over else trap.is_sprung():
            # What the dead process was sending is still noted as being sent: its lease has not run out.
            self.struck.note(name, sending=self._sending())
        elif over:
            self.struck.missed[name] += 1
        else:
            self._do_in(LOOK_SECONDS, lambda: self._watch(name, trap, until=until))

    def _sending(self) -> int:
        try:
            with self._database.transaction() as session:
                return count_sending(session)
        except ServiceUnavailableError:
            return 0  # not known, so not claimed

    def _work_is_left(self) -> bool:
        if self._more_comes():
            return True
        try:
            with self._database.transaction() as session:
                states = read_tallies(session).states()
        except ServiceUnavailableError:
            return True  # it is being restarted: ask again after the next round
        return any(states[state] for state in UNDERWAY)

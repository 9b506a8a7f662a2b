"""Strikes carried out against a running stack, in a thread of their own. What is held up is let go again."""

import heapq
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import redis

from pipeline.cli.chaos_plan import WORKERS, Plan, Strike
from pipeline.cli.stack import Stack
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.embedded.liveness import children_of
from pipeline.storage.database import Database
from pipeline.storage.disturbing import drop_connections
from pipeline.storage.reading import read_progress

BETWEEN_WORKERS_SECONDS = 4.0
"""A rolling restart gives one worker so long before the next one goes."""
QUICK_SECONDS = 2.0
AGAIN_SECONDS = 1.0
UNDERWAY = (State.QUEUED, State.SENDING, State.WAITING, State.IN_DOUBT)

Action = Callable[[], None]


class MissedError(Exception):
    """There was nothing to strike at this moment: it was down already."""


@dataclass
class Struck:
    """What was injected."""

    kinds: Counter[str] = field(default_factory=Counter)
    in_the_air: Counter[str] = field(default_factory=Counter)
    """By kind, how many strikes fell while invoices were being sent."""
    missed: Counter[str] = field(default_factory=Counter)
    """By kind, how many found nothing to strike because it was down already."""
    rounds: int = 0
    broken: str | None = None
    """Why the strikes ended early, if they did."""


class Striker:
    """Plays a plan round after round while invoices wait to be accepted. A context manager that ends the playing."""

    def __init__(
        self,
        stack: Stack,
        plan: Plan,
        *,
        seed: int,
        database: Database,
        state_dir: Path,
        more_comes: Callable[[], bool],
    ) -> None:
        self.struck = Struck()
        self._stack, self._plan, self._seed = stack, plan, seed
        self._database, self._state_dir, self._more_comes = database, state_dir, more_comes
        self._means = _means(self)
        self._stop = threading.Event()
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

    def later(self, seconds: float, action: Action) -> None:
        """Do something in so many seconds; at the latest when the playing ends."""
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
            self._do_later(all_of_it=True)

    def _play_round(self, strikes: Sequence[Strike]) -> None:
        began = time.monotonic()
        for strike in strikes:
            self._wait_until(began + strike.at_seconds)
            if self._stop.is_set():
                return
            self._strike(strike)
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

    def _do_later(self, *, all_of_it: bool = False) -> None:
        while self._later and (all_of_it or self._later[0][0] <= time.monotonic()):
            _, _, action = heapq.heappop(self._later)
            try:
                action()
            except (MissedError, ProcessLookupError):
                continue  # it died meanwhile, and its successor knows nothing of this
            except redis.RedisError:
                if not self._stop.is_set():
                    self.later(AGAIN_SECONDS, action)

    def _strike(self, strike: Strike) -> None:
        in_the_air = self._count(State.SENDING) > 0
        try:
            self._means[strike.kind](strike)
        except (MissedError, ProcessLookupError, redis.RedisError, ServiceUnavailableError, httpx.HTTPError):
            self.struck.missed[strike.kind] += 1
            return
        self.struck.kinds[strike.kind] += 1
        self.struck.in_the_air[strike.kind] += in_the_air

    def _work_is_left(self) -> bool:
        return self._more_comes() or self._count(*UNDERWAY) > 0

    def _count(self, *states: State) -> int:
        try:
            with self._database.transaction() as session:
                by_state = read_progress(session).by_state
        except ServiceUnavailableError:
            return 1 if len(states) > 1 else 0  # it is being restarted: ask again after the next round
        return sum(by_state.get(state, 0) for state in states)

    # What the strikes are made of.

    def pid_of(self, name: str) -> int:
        """Return the process of a name. Raises: MissedError when it is down."""
        pid = next((process.pid for process in self._stack.processes if process.name == name), None)
        if pid is None:
            raise MissedError(name)
        return pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process of a name alone."""
        os.kill(self.pid_of(name), number)

    def kill_child(self, strike: Strike) -> None:
        """Kill one process of a worker."""
        children = children_of(self.pid_of(f"worker-{strike.target}"))
        if not children:
            raise MissedError(strike.kind)
        os.kill(children[int(strike.chance * len(children))], signal.SIGKILL)

    def pause(self, name: str, strike: Strike) -> None:
        """Stop a process with all it started, and let it go on later."""
        group = self.pid_of(name)
        os.killpg(group, signal.SIGSTOP)
        self.later(strike.seconds or 0.0, lambda: os.killpg(group, signal.SIGCONT))

    def restart_rolling(self) -> None:
        """Ask one worker after the other to end; the supervisor starts it anew."""
        self.signal(f"worker-{WORKERS[0]}", signal.SIGTERM)
        for place, name in enumerate(WORKERS[1:], start=1):
            self.later(place * BETWEEN_WORKERS_SECONDS, partial(self.signal, f"worker-{name}", signal.SIGTERM))

    def valkey(self) -> redis.Redis:
        """Return a client that does not wait long."""
        url = self._stack.environment["POSTILJON_BROKER_URL"]
        return redis.Redis.from_url(url, socket_timeout=QUICK_SECONDS, socket_connect_timeout=QUICK_SECONDS)

    def lose_valkey(self) -> None:
        """Kill Valkey in a way that it finds none of its data again."""
        pid = self.pid_of("valkey")
        with self.valkey() as client:
            client.config_set("appendonly", "no")
        shutil.rmtree(self._state_dir / "valkey" / "appendonlydir", ignore_errors=True)
        os.kill(pid, signal.SIGKILL)

    def fill_valkey(self, strike: Strike) -> None:
        """Let Valkey refuse to store anything, for a while."""
        self._limit_valkey("1")
        self.later(strike.seconds or 0.0, lambda: self._limit_valkey("0"))

    def flush_valkey(self) -> None:
        """Delete everything in Valkey."""
        with self.valkey() as client:
            client.flushall()

    def drop_connections(self) -> None:
        """Cut every connection to the database, ours too."""
        with self._database.transaction() as session:
            drop_connections(session)

    def expire_tokens(self) -> None:
        """Have the operator forget every token."""
        httpx.post(
            f"{self._stack.urls['simulator']}/_simulator/expire_tokens", timeout=QUICK_SECONDS
        ).raise_for_status()

    def _limit_valkey(self, limit_bytes: str) -> None:
        with self.valkey() as client:
            client.config_set("maxmemory", limit_bytes)


def _means(by: Striker) -> dict[str, Callable[[Strike], None]]:
    """Return what each kind does."""
    return {
        "kill-child": by.kill_child,
        "kill-worker": lambda strike: by.signal(f"worker-{strike.target}", signal.SIGKILL),
        "kill-beat": lambda strike: by.signal(str(strike.target), signal.SIGKILL),
        "kill-web": lambda _: by.signal("web", signal.SIGKILL),
        "pause-worker": lambda strike: by.pause(f"worker-{strike.target}", strike),
        "rolling-restart": lambda _: by.restart_rolling(),
        "flush-valkey": lambda _: by.flush_valkey(),
        "restart-valkey": lambda _: by.signal("valkey", signal.SIGTERM),
        "lose-valkey": lambda _: by.lose_valkey(),
        "pause-valkey": lambda strike: by.pause("valkey", strike),
        "fill-valkey": by.fill_valkey,
        "restart-postgres": lambda _: by.signal("postgres", signal.SIGINT),
        "crash-postgres": lambda _: by.signal("postgres", signal.SIGQUIT),
        "drop-connections": lambda _: by.drop_connections(),
        "expire-tokens": lambda _: by.expire_tokens(),
    }

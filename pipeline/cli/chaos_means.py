"""What each kind of strike does to a running stack. Knows nothing of plans, rounds and counting."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import redis

from pipeline.cli.chaos_plan import WORKERS, Strike
from pipeline.cli.stack import Stack
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.embedded.liveness import children_of
from pipeline.storage import disturbing
from pipeline.storage.database import Database
from pipeline.storage.disturbing import Ending

BETWEEN_WORKERS_SECONDS = 4.0
"""A rolling restart gives one worker so long before the next one goes."""
QUICK_SECONDS = 2.0
STATE_DIR = "state"
POINTS_DIR = "points"
"""Where the processes of the stack look for the points they are to die at."""
SHARE_UNDONE = 0.2
"""Of the transactions that change something, while they are undone."""

Action = Callable[[], None]
Later = Callable[[float, Action], None]
"""Does something in so many seconds; at the latest when the playing ends."""


class MissedError(Exception):
    """There was nothing to strike at this moment: it was down already."""


@dataclass(frozen=True, kw_only=True)
class Trap:
    """A strike that is set now and falls when somebody comes by."""

    is_sprung: Callable[[], bool]
    take_away: Callable[[], bool]
    """Ends it and tells whether it was sprung."""
    seconds: float


Means = Callable[[Strike], Trap | None]


@dataclass(frozen=True, kw_only=True)
class Armoury:
    """The means against one stack."""

    stack: Stack
    database: Database
    folder: Path
    """Of the run: STATE_DIR and POINTS_DIR are in it."""
    later: Later

    def pid_of(self, name: str) -> int:
        """Return the process of a name. Raises: MissedError when it is down."""
        pid = next((process.pid for process in self.stack.processes if process.name == name), None)
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

    def kill_at(self, strike: Strike) -> Trap:
        """Have the first process that comes by a point die there."""
        order = self.folder / POINTS_DIR / str(strike.target)
        if order.exists():
            raise MissedError(strike.name)  # the one before waits there still
        order.touch()
        return Trap(is_sprung=lambda: not order.exists(), take_away=partial(_withdraw, order), seconds=_length(strike))

    def pause(self, name: str, strike: Strike) -> None:
        """Stop a process with all it started, and let it go on later."""
        group = self.pid_of(name)
        os.killpg(group, signal.SIGSTOP)
        self.later(_length(strike), lambda: os.killpg(group, signal.SIGCONT))

    def restart_rolling(self) -> None:
        """Ask one worker after the other to end; the supervisor starts it anew."""
        self.signal(f"worker-{WORKERS[0]}", signal.SIGTERM)
        for place, name in enumerate(WORKERS[1:], start=1):
            self.later(place * BETWEEN_WORKERS_SECONDS, partial(self.signal, f"worker-{name}", signal.SIGTERM))

    def valkey(self) -> redis.Redis:
        """Return a client that does not wait long."""
        url = self.stack.environment["POSTILJON_BROKER_URL"]
        return redis.Redis.from_url(url, socket_timeout=QUICK_SECONDS, socket_connect_timeout=QUICK_SECONDS)

    def lose_valkey(self) -> None:
        """Kill Valkey in a way that it finds none of its data again."""
        pid = self.pid_of("valkey")
        with self.valkey() as client:
            client.config_set("appendonly", "no")
        shutil.rmtree(self.folder / STATE_DIR / "valkey" / "appendonlydir", ignore_errors=True)
        os.kill(pid, signal.SIGKILL)

    def fill_valkey(self, strike: Strike) -> None:
        """Let Valkey refuse to store anything, for a while."""
        self._limit_valkey("1")
        self.later(_length(strike), lambda: self._limit_valkey("0"))

    def flush_valkey(self) -> None:
        """Delete everything in Valkey."""
        with self.valkey() as client:
            client.flushall()

    def drop_connections(self) -> None:
        """Cut every connection to the database, ours too."""
        with self.database.transaction() as session:
            disturbing.drop_connections(session)

    def undo(self, strike: Strike, ending: Ending) -> Trap:
        """Have a share of the transactions undone, for a while; sprung as soon as one was."""
        with self.database.transaction() as session:
            before = disturbing.count_undone(session)
            disturbing.undo_transactions(session, ending, share=SHARE_UNDONE)
        self.later(_length(strike), partial(self._undo_no_more, ending))
        return Trap(
            is_sprung=lambda: self._undone() > before,
            take_away=lambda: self._undone() > before,
            seconds=_length(strike),
        )

    def jump_clock(self, strike: Strike) -> None:
        """Have the database's clock, which is the fleet's, jump, and back later."""
        self._turn_clock(strike.by_seconds)
        self.later(_length(strike), lambda: self._turn_clock(0.0))

    def expire_tokens(self) -> None:
        """Have the operator forget every token."""
        httpx.post(f"{self.stack.urls['simulator']}/_simulator/expire_tokens", timeout=QUICK_SECONDS).raise_for_status()

    def _limit_valkey(self, limit_bytes: str) -> None:
        with self.valkey() as client:
            client.config_set("maxmemory", limit_bytes)

    def _turn_clock(self, seconds: float) -> None:
        with self.database.transaction() as session:
            disturbing.turn_clock(session, seconds)

    def _undo_no_more(self, ending: Ending) -> None:
        with self.database.transaction() as session:
            disturbing.undo_no_more(session, ending)

    def _undone(self) -> int:
        try:
            with self.database.transaction() as session:
                return disturbing.count_undone(session)
        except ServiceUnavailableError:
            return 0  # it is being restarted: asked again soon


def means_of(armoury: Armoury) -> dict[str, Means]:
    """Return what each kind does."""
    signalled = armoury.signal
    return {
        "kill-child": armoury.kill_child,
        "kill-worker": lambda strike: signalled(f"worker-{strike.target}", signal.SIGKILL),
        "kill-beat": lambda strike: signalled(str(strike.target), signal.SIGKILL),
        "kill-at": armoury.kill_at,
        "kill-web": lambda _: signalled("web", signal.SIGKILL),
        "pause-worker": lambda strike: armoury.pause(f"worker-{strike.target}", strike),
        "rolling-restart": lambda _: armoury.restart_rolling(),
        "flush-valkey": lambda _: armoury.flush_valkey(),
        "restart-valkey": lambda _: signalled("valkey", signal.SIGTERM),
        "lose-valkey": lambda _: armoury.lose_valkey(),
        "pause-valkey": lambda strike: armoury.pause("valkey", strike),
        "fill-valkey": armoury.fill_valkey,
        "restart-postgres": lambda _: signalled("postgres", signal.SIGINT),
        "crash-postgres": lambda _: signalled("postgres", signal.SIGQUIT),
        "drop-connections": lambda _: armoury.drop_connections(),
        "serialization-failures": lambda strike: armoury.undo(strike, Ending.SERIALIZATION_FAILURE),
        "deadlocks": lambda strike: armoury.undo(strike, Ending.DEADLOCK),
        "cancelled-statements": lambda strike: armoury.undo(strike, Ending.CANCELLED),
        "jump-clock": armoury.jump_clock,
        "expire-tokens": lambda _: armoury.expire_tokens(),
    }


def _length(strike: Strike) -> float:
    return strike.seconds or 0.0


def _withdraw(order: Path) -> bool:
    try:
        order.unlink()
    except FileNotFoundError:
        return True
    return False

"""Ends a worker that is alive, connected, and takes nothing although work is due for it.

It looks from a thread of the worker's parent process, over connections of its own: what Celery believes about its
subscription is what may be wrong. A broker or database that does not answer proves nothing. Knows no rule of the trade.
"""

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from billiard import active_children
from celery import bootsteps
from celery.signals import task_received, worker_ready, worker_shutting_down
from celery.worker import state as worker_state

from pipeline.bootstrap import open_database
from pipeline.domain.errors import PostiljonError
from pipeline.services.watch_work import end_deaf, is_dispatcher_stuck, tell_deaf
from pipeline.settings import Settings, load_settings
from workers.streak import Streak

DEAF_STATUS = 75
"""The exit status of a worker that ended itself (EX_TEMPFAIL of sysexits.h: another start may cure it)."""
LOOKS = 12
"""So many looks make the evidence ..."""
LONGEST_LOOK_SECONDS = 5.0
"""... and none is further than this from the next."""
GAP_LOOKS = 3
"""Looks missed in a row: the process was stopped, not deaf; the evidence begins anew."""
BROKER_TIMEOUT_SECONDS = 2.0
ALARM_SECONDS = 5.0
"""A database that takes longer does not keep a deaf worker alive."""
END_MARGIN_SECONDS = 5.0
PUMP_QUEUE = "dispatch"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Deafness:
    """What is wrong with this worker."""

    queue: str
    seconds: float
    waiting: int
    is_stuck: bool = False
    """It takes bells and completes no round."""

    def told(self, worker: str) -> str:
        """The alarm's words."""
        what = (
            f"completed no round of the dispatcher for {self.seconds:.0f} s while it was rung and work was due"
            if self.is_stuck
            else f"took nothing for {self.seconds:.0f} s while {self.waiting} messages waited in {self.queue}"
        )
        return (
            f"worker {worker} {what}: it ended itself (status {DEAF_STATUS}) to be started anew. "
            "What to do: nothing if it works again; else read its log from before"
        )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the watchdog sees and does; real in a worker, played in tests."""

    worker: str
    queues: Sequence[str]
    is_running: Callable[[], bool]
    """Whether the worker is meant to take work: not while it ends."""
    is_free: Callable[[], bool]
    """Whether at least one child has nothing to do."""
    waiting: Callable[[], Mapping[str, int] | None]
    """How many messages are in each queue; None when the broker does not answer."""
    is_stuck: Callable[[], bool]
    """Whether the database tells of due work and of no round; False when it does not answer."""
    has_recovered: Callable[[str], bool]
    """Ends the alarm about a queue; False when that could not be done."""
    end: Callable[[Deafness], None]


class Watchdog:
    """Looks every few seconds whether this worker takes what is there."""

    def __init__(self, surroundings: Surroundings, *, patience_seconds: float) -> None:
        self._around = surroundings
        self._patience = patience_seconds
        self.look_seconds = min(LONGEST_LOOK_SECONDS, patience_seconds / LOOKS)
        gap = GAP_LOOKS * max(self.look_seconds, BROKER_TIMEOUT_SECONDS)
        self._deaf = {queue: Streak(longest_gap_seconds=gap) for queue in surroundings.queues}
        self._stuck = Streak(longest_gap_seconds=gap)
        self._received: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._well: set[str] = set()
        self._rung_at = float("-inf")
        self._stopped = threading.Event()

    def note_received(self, queue: str) -> None:
        """Take in that a message came from a queue."""
        self._received[queue] += 1

    def look(self, *, at: float) -> Deafness | None:
        """Look once, at a monotonic instant; return what is wrong, if that has been so for long enough."""
        around, received = self._around, Counter(self._received)
        fresh = {queue for queue in around.queues if received[queue] != self._seen[queue]}
        self._seen = received
        waiting = around.waiting() if around.is_running() else None
        is_free = around.is_free()
        for queue, streak in self._deaf.items():
            count = waiting[queue] if waiting is not None else 0
            seconds = streak.note(at=at, holds=bool(count) and is_free and queue not in fresh)
            if seconds >= self._patience:
                return Deafness(queue=queue, seconds=seconds, waiting=count)
        self._tell_well(fresh)
        if PUMP_QUEUE in fresh:
            self._rung_at = at
        return self._look_at_pump(waiting, at=at)

    def _look_at_pump(self, waiting: Mapping[str, int] | None, *, at: float) -> Deafness | None:
        if PUMP_QUEUE not in self._deaf or waiting is None:
            return None
        # Looks may come more often than bells.
        is_rung = waiting[PUMP_QUEUE] > 0 or at - self._rung_at <= self._patience / 2
        holds = is_rung and self._around.is_stuck()
        seconds = self._stuck.note(at=at, holds=holds)
        if seconds < self._patience:
            return None
        return Deafness(queue=PUMP_QUEUE, seconds=seconds, waiting=waiting[PUMP_QUEUE], is_stuck=True)

    def _tell_well(self, fresh: set[str]) -> None:
        # Once in a worker's life for each queue: what its predecessor raised is over.
        self._well |= {queue for queue in fresh - self._well if self._around.has_recovered(queue)}

    def run(self) -> None:
        """Look until stopped, or until the worker has to end."""
        while not self._stopped.wait(self.look_seconds):
            try:
                deafness = self.look(at=time.monotonic())
            except Exception:  # a watchdog that dies of a look would be the silence it is there to break
                log.exception("a look failed", extra={"event": "watchdog_failed", "worker": self._around.worker})
                continue
            if deafness is not None:
                self._around.end(deafness)
                return

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()


class Worker:
    """The worker this process is the parent of, as the watchdog sees and ends it."""

    def __init__(self, consumer: Any, settings: Settings) -> None:
        self._controller = consumer.controller
        self._settings = settings
        self._name = str(consumer.hostname)
        self._size = int(consumer.pool.num_processes)

    def surroundings(self) -> Surroundings:
        """Return what is to be watched: the queues it was started for, whatever became of them since."""
        return Surroundings(
            worker=self._name,
            queues=tuple(self._controller.app.amqp.queues.consume_from),
            is_running=lambda: self._controller.blueprint.state == bootsteps.RUN and worker_state.should_stop is None,
            is_free=lambda: len(worker_state.active_requests) < self._size,
            waiting=self._waiting,
            is_stuck=self._is_stuck,
            has_recovered=self._has_recovered,
            end=self.end,
        )

    def _waiting(self) -> dict[str, int] | None:
        url, timeout = self._settings.require_broker_url(), BROKER_TIMEOUT_SECONDS
        queues = tuple(self._controller.app.amqp.queues)
        client = redis.Redis.from_url(url, socket_connect_timeout=timeout, socket_timeout=timeout, retry=None)
        try:
            return {queue: int(client.llen(queue)) for queue in queues}
        except (redis.RedisError, OSError):
            return None
        finally:
            client.close()

    def _is_stuck(self) -> bool:
        with suppress(PostiljonError), open_database(self._settings) as database:
            return is_dispatcher_stuck(database, self._settings)
        return False

    def _has_recovered(self, queue: str) -> bool:
        with suppress(PostiljonError), open_database(self._settings) as database:
            end_deaf(database, worker=self._name, queue=queue)
            return True
        return False

    def end(self, deafness: Deafness) -> None:
        """Say so where people look, finish what is in the air, and end with a status of its own."""
        facts = {"queue": deafness.queue, "seconds": round(deafness.seconds), "waiting": deafness.waiting}
        log.critical("takes no work and ends itself", extra={"event": "worker_deaf", "worker": self._name, **facts})
        telling = threading.Thread(target=self._tell, args=(deafness,), daemon=True)
        telling.start()
        telling.join(ALARM_SECONDS)
        # The main loop ends the worker as SIGTERM would, with our status; if it does not turn any more, we do.
        worker_state.should_stop = DEAF_STATUS
        time.sleep(self._settings.drain_seconds + END_MARGIN_SECONDS)
        for child in active_children():
            with suppress(OSError):
                os.kill(child.pid, signal.SIGKILL)
        os._exit(DEAF_STATUS)

    def _tell(self, deafness: Deafness) -> None:
        try:
            with open_database(self._settings) as database:
                tell_deaf(database, worker=self._name, queue=deafness.queue, told=deafness.told(self._name))
        except PostiljonError as exc:
            log.warning("no alarm stored", extra={"event": "alarm_failed", "cause": type(exc).__name__})


_watching: list[Watchdog] = []


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def start_watching(sender: Any, **_: object) -> None:
    """Watch the worker from a thread of its parent process."""
    settings = load_settings()
    watchdog = Watchdog(Worker(sender, settings).surroundings(), patience_seconds=settings.liveness_seconds)
    _watching.append(watchdog)
    threading.Thread(target=watchdog.run, name="watchdog", daemon=True).start()


@task_received.connect  # type: ignore[untyped-decorator]
def note_received(request: Any, **_: object) -> None:
    """Count what comes, by queue: a direct exchange's routing key is the queue's name here."""
    for watchdog in _watching:
        watchdog.note_received(request.delivery_info["routing_key"])


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def stop_watching(**_: object) -> None:
    """Leave a worker alone that ends: it takes nothing any more, and rightly."""
    while _watching:
        _watching.pop().stop()

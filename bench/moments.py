"""What one invoice waits, how long statuses take, when a killed worker's invoices move again."""

import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from bench.compare import say
from bench.end_to_end import WARM_UP
from bench.installation import BenchError, Installation, installation
from bench.payloads import write
from bench.surroundings import surroundings
from pipeline.domain.state import State
from pipeline.embedded.liveness import children_of, wait_until
from pipeline.services.submit import submit
from pipeline.storage.settling import read_states
from pipeline.storage.tallies import read_tallies
from workers.bell import ring

WAITED = text("""
    SELECT extract(epoch FROM accepted_at - submitted_at) FROM invoice
    WHERE id = ANY(CAST(:ids AS uuid[])) AND accepted_at IS NOT NULL
""")
PATIENCE_SECONDS = 300.0
GAP_SECONDS = (0.1, 0.4)
LOAD_GROUP = 20
POLL_SECONDS = 0.05
SETTLED_SECONDS = 3.0
"""Above the first look's age and the operator's own settling: from then on every status can be had."""
LIST_CALL = "GET /v1/invoices 200"


def one(folder: Path, *, invoices: int, load_per_second: float, latency_ms: float, seed: int) -> dict[str, Any]:
    """Submit invoices one at a time, first to an idle system, then beside a steady load; from submit to accepted."""
    result = surroundings()
    load = int(load_per_second * (invoices * (sum(GAP_SECONDS) / 2 + 0.15) + 10))
    paths = write(folder / "invoices", count=WARM_UP + 2 * invoices + load, seed=seed)
    idle, busy, others = (
        paths[WARM_UP : WARM_UP + invoices],
        paths[WARM_UP + invoices : WARM_UP + 2 * invoices],
        paths[WARM_UP + 2 * invoices :],
    )
    rows = []
    with installation(folder / "system", latency_ms=latency_ms) as running:
        os.environ.update(running.stack.environment)  # the bell of this process rings at their broker
        running.submit(paths[:WARM_UP])
        running.wait_until_accepted(WARM_UP, deadline=time.monotonic() + PATIENCE_SECONDS)
        rows.append(_one_by_one("idle", running, idle, latency_ms=latency_ms, seed=seed))
        with _load(running, others, per_second=load_per_second):
            rows.append(_one_by_one("under load", running, busy, latency_ms=latency_ms, seed=seed))
    return {**result, "name": "one", "seed": seed, "load_per_second": load_per_second, "rows": rows}


def _one_by_one(
    name: str, running: Installation, paths: Sequence[Path], *, latency_ms: float, seed: int
) -> dict[str, Any]:
    say(f"one invoice at a time, {name}")
    chance = random.Random(seed)
    for path in paths:
        submit_singly(running, [path])
        time.sleep(chance.uniform(*GAP_SECONDS))
    ids = [UUID(path.stem) for path in paths]
    waited: list[float] = []

    def all_are_in() -> bool:
        with running.database.transaction() as session:
            waited[:] = [float(row[0]) for row in session.connection().execute(WAITED, {"ids": ids})]
        return len(waited) == len(ids)

    if not wait_until(all_are_in, seconds=PATIENCE_SECONDS, poll_seconds=POLL_SECONDS):
        raise BenchError(f"{len(waited)} of {len(ids)} single invoices were accepted")
    over = sorted(each * 1000 - latency_ms for each in waited)
    return {
        "value": name,
        "invoices": len(over),
        "p50_ms": round(statistics.median(over), 1),
        "p99_ms": round(over[int(len(over) * 0.99)], 1),
        "max_ms": round(over[-1], 1),
    }


def submit_singly(running: Installation, paths: Sequence[Path]) -> None:
    """Submit each in one transaction of the caller's, under the UUID that is its name; the bell rings after it."""
    with running.database.transaction() as session:
        for path in paths:
            submit(
                session,
                company=running.companies[0],
                content=path.read_bytes(),
                filename=path.name,
                uuid=UUID(path.stem),
                bell=ring,
            )


@contextmanager
def _load(running: Installation, paths: Sequence[Path], *, per_second: float) -> Iterator[None]:
    stop = threading.Event()

    def go_on() -> None:
        began = time.monotonic()
        for place in range(0, len(paths), LOAD_GROUP):
            if stop.wait(max(0.0, began + place / per_second - time.monotonic())):
                return
            submit_singly(running, paths[place : place + LOAD_GROUP])

    thread = threading.Thread(target=go_on, name="load")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def status(folder: Path, *, invoices: int, latency_ms: float, seed: int) -> dict[str, Any]:
    """Have so many accepted invoices looked at, all due at once; how long and in how many calls."""
    result = surroundings()
    paths = write(folder / "invoices", count=invoices, seed=seed)
    with installation(folder / "system", latency_ms=latency_ms) as running:
        with running.paused("worker-follow"):
            say(f"having {invoices:,} invoices accepted")
            running.submit(paths)
            running.wait_until_accepted(invoices, deadline=time.monotonic() + PATIENCE_SECONDS + invoices / 20)
            time.sleep(SETTLED_SECONDS)
            calls, account = _list_calls(running), running.account()
            account.begin()
            began = time.monotonic()
        say("looking at them")
        deadline = PATIENCE_SECONDS + invoices / 100
        if not wait_until(lambda: _delivered(running) >= invoices, seconds=deadline, poll_seconds=0.5):
            raise BenchError(
                f"{_delivered(running):,} of {invoices:,} were known to be delivered when the time was over"
            )
        seconds = time.monotonic() - began
        cpu = sum(cost.cpu_seconds for name, cost in account.end().items() if name != "operator")
        row = {"value": f"{invoices:,} pending", "seconds": round(seconds, 1), "calls": _list_calls(running) - calls}
    return {
        **result,
        "name": "status",
        "seed": seed,
        "rows": [
            {**row, "per_second": round(invoices / seconds), "cpu_ms_per_invoice": round(cpu * 1000 / invoices, 3)}
        ],
    }


def _list_calls(running: Installation) -> int:
    return int(running.operator.totals()["requests"].get(LIST_CALL, 0))


def _delivered(running: Installation) -> int:
    with running.database.transaction() as session:
        return read_tallies(session).states()[State.DELIVERED]


def recovery(folder: Path, *, invoices: int, latency_ms: float, seed: int) -> dict[str, Any]:
    """Kill one send process under load; how long until the invoices it had in hand move again."""
    result = surroundings()
    paths = write(folder / "invoices", count=WARM_UP + invoices, seed=seed)
    with installation(folder / "system", latency_ms=latency_ms) as running:
        running.submit(paths[:WARM_UP])
        running.wait_until_accepted(WARM_UP, deadline=time.monotonic() + PATIENCE_SECONDS)
        with running.paused("worker-pump"):
            running.submit(paths[WARM_UP:])
        least = WARM_UP + invoices // 10
        running.wait_until_accepted(least, deadline=time.monotonic() + PATIENCE_SECONDS)
        killed = _kill_one(running)
        in_hand = _in(running, State.SENDING)
        moved = _wait_for_movement(running, in_hand, killed)
        ended = running.wait_until_accepted(len(paths), deadline=killed + PATIENCE_SECONDS) - killed
        check_held_once(running, paths)
    row = {
        "value": "kill -9 of a send process",
        "in_hand": len(moved),
        "first_seconds": round(min(moved, default=0.0), 1),
        "last_seconds": round(max(moved, default=0.0), 1),
        "all_accepted_seconds": round(ended, 1),
    }
    return {**result, "name": "recovery", "seed": seed, "rows": [row]}


SETTLE_SECONDS = 2.0
"""What the living had in hand is recorded by then; what still stands as it stood was the dead one's."""


def _kill_one(running: Installation) -> float:
    pid = next(each.pid for each in running.stack.processes if each.name == "worker-send")
    os.kill(children_of(pid or 0)[0], signal.SIGKILL)
    return time.monotonic()


def _in(running: Installation, state: State, among: Sequence[UUID] = ()) -> list[UUID]:
    with running.database.transaction() as session:
        return [uuid for uuid, found in read_states(session, among).items() if found is state]


def _wait_for_movement(running: Installation, in_hand: Sequence[UUID], killed: float) -> list[float]:
    """Return how long after the kill each orphan moved: those that stood still for a while are the orphans."""
    time.sleep(max(0.0, killed + SETTLE_SECONDS - time.monotonic()))
    left, moved = set(_in(running, State.SENDING, in_hand)) if in_hand else set(), []
    while left and time.monotonic() < killed + PATIENCE_SECONDS:
        still = set(_in(running, State.SENDING, sorted(left)))
        moved += [time.monotonic() - killed] * len(left - still)
        left = still
        time.sleep(POLL_SECONDS)
    if left:
        raise BenchError(f"{len(left)} invoices of the killed process never moved again")
    return moved


def check_held_once(running: Installation, paths: Sequence[Path]) -> None:
    """Hold the operator's books to the files: a kill may cost a second upload, never a second invoice."""
    books = running.operator.invoices()
    lost = [path.stem for path in paths if (books.get(path.stem) or {"held": 0})["held"] != 1]
    if lost:
        raise BenchError(f"no figure: {len(lost)} invoices are not held exactly once, {lost[0]} among them")

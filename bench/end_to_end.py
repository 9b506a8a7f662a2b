"""Submitted to accepted, with everything that production has: how fast, at what cost, and both books checked."""

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.accounting import Cost
from bench.installation import BenchError, Installation, installation
from bench.lean import LeanOperator
from pipeline.domain.state import State
from pipeline.storage.settling import read_states

WARM_UP = 200
"""Invoices sent before the clock starts, all processes and connections in place: we measure a night, not a start."""
SLOWEST_PER_SECOND = 20
START_SECONDS = 120.0
OURS = "postiljon"
DONE = frozenset({State.ACCEPTED, State.DELIVERED})


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to measure."""

    invoices: int
    seed: int
    latency_ms: float = 100.0
    companies: int = 1
    send_processes: int | None = None
    submit_first: bool = False
    """Submit everything while nobody sends, then start the clock; else the clock runs from the first submit."""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One system's run over one set of invoices. Rates are of all invoices over `seconds`."""

    name: str
    invoices: int
    seconds: float
    """From the first durable submit to the last accepted; with `submit_first` from when sending could begin."""
    submit_seconds: float | None
    drain_seconds: float | None
    """From the last durable submit to the last accepted."""
    air_seconds: float | None
    """From the first to the last upload, by the operator's clock."""
    costs: Mapping[str, Cost]
    notes: tuple[str, ...] = ()

    @property
    def per_second(self) -> float:
        """Return the headline."""
        return self.invoices / self.seconds

    def cpu_ms(self, *, without: Sequence[str] = ("operator",)) -> float:
        """Return the CPU an invoice cost, without what is not the system's own."""
        used = sum(cost.cpu_seconds for name, cost in self.costs.items() if name not in without)
        return used * 1000 / self.invoices

    def as_json(self) -> dict[str, Any]:
        """Write it for the page."""
        return {
            "name": self.name,
            "invoices": self.invoices,
            "seconds": round(self.seconds, 3),
            "invoices_per_second": round(self.per_second, 1),
            "submit_seconds": self.submit_seconds and round(self.submit_seconds, 3),
            "drain_seconds": self.drain_seconds and round(self.drain_seconds, 3),
            "air_seconds": self.air_seconds and round(self.air_seconds, 3),
            "cpu_ms_per_invoice": round(self.cpu_ms(), 3),
            "cpu_ms_by_process": {
                name: round(cost.cpu_seconds * 1000 / self.invoices, 3) for name, cost in self.costs.items()
            },
            "peak_mib_by_process": {name: round(cost.peak_mib) for name, cost in self.costs.items()},
            "processes": {name: cost.processes for name, cost in self.costs.items()},
            "notes": list(self.notes),
        }


def measure_ours(folder: Path, paths: Sequence[Path], order: Order) -> Measured:
    """Send files through a whole installation, the first few to warm up; check both books. Raises: BenchError."""
    warm, timed = paths[: -order.invoices], paths[-order.invoices :]
    with installation(
        folder,
        latency_ms=order.latency_ms,
        companies=order.companies,
        send_processes=order.send_processes,
        settings=order.settings,
    ) as running:
        _tell(running)
        running.submit(warm)
        running.wait_until_accepted(len(warm), deadline=time.monotonic() + START_SECONDS)
        running.operator.mark()
        return _timed(running, timed, warm=len(warm), submit_first=order.submit_first)


def _timed(running: Installation, paths: Sequence[Path], *, warm: int, submit_first: bool) -> Measured:
    count = len(paths)
    account = running.account()
    account.begin()
    with running.paused(*(["worker-pump"] if submit_first else [])):
        feeding = running.submit(paths)
    start = time.monotonic() if submit_first else feeding.first
    ended = running.wait_until_accepted(warm + count, deadline=start + START_SECONDS + count / SLOWEST_PER_SECOND)
    costs = {**account.end(), "submit": feeding.cost}
    totals = running.operator.totals()
    check_operator(running.operator, paths)
    check_database(running, paths)
    return Measured(
        name=OURS,
        invoices=count,
        seconds=ended - start,
        submit_seconds=feeding.last - feeding.began,
        drain_seconds=ended - feeding.last,
        air_seconds=totals["last_upload_at"] - totals["first_upload_at"],
        costs=costs,
    )


def check_operator(operator: LeanOperator, paths: Sequence[Path]) -> None:
    """Hold the operator's books to the files: each once, with its very bytes. Raises: BenchError."""
    books = operator.invoices()
    for path in paths:
        entry = books.get(path.stem) or {"held": 0, "uploads": 0, "held_sha256": None}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if (entry["held"], entry["uploads"], entry["held_sha256"]) != (1, 1, digest):
            told = f"held {entry['held']}, uploaded {entry['uploads']}, same bytes: {entry['held_sha256'] == digest}"
            raise BenchError(f"no figure: the operator has {path.stem} not exactly once ({told})")


def check_database(running: Installation, paths: Sequence[Path]) -> None:
    """Hold our books to the files. Raises: BenchError."""
    with running.database.transaction() as session:
        states = read_states(session)
    wrong = [path.stem for path in paths if states.get(UUID(path.stem)) not in DONE]
    if wrong:
        raise BenchError(f"no figure: {len(wrong):,} invoices are not accepted in our books, {wrong[0]} among them")


def _tell(running: Installation) -> None:
    pids = ", ".join(f"{each.name} {each.pid}" for each in running.stack.processes if each.pid)
    sys.stderr.write(f"running: {pids}, operator {running.operator.pid}\n")

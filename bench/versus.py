"""Runs one rival at a time on the same machine, operator, PostgreSQL and broker as we use, and checks its books too."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import psycopg
import redis

from bench.accounting import Account, Cost
from bench.end_to_end import Measured, check_operator
from bench.installation import BenchError
from bench.lean import LeanOperator, end, lean_operator
from bench.rivals.field import Rival
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.spawning import tethered_command
from pipeline.embedded.valkey import EmbeddedValkey

START_SECONDS = 120.0
SLOWEST_PER_SECOND = 10
POLL_SECONDS = 0.05
ENQUEUE_SECONDS = 600.0
TABLE = "CREATE TABLE outcome (uuid uuid PRIMARY KEY, status text NOT NULL, at timestamptz NOT NULL)"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What the rivals share."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    folder: Path

    def database(self, name: str) -> str:
        """Make an empty database for one rival and return its address for psycopg."""
        url = self.postgres.url.replace("postgresql+psycopg://", "postgresql://", 1)
        database = f"rival_{name.replace('-', '_')}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        own = f"{url.rpartition('/')[0]}/{database}"
        with psycopg.connect(own, autocommit=True) as connection:
            connection.execute(TABLE)
        return own


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Run PostgreSQL and Valkey with the same settings as ours."""
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedPostgres(folder / "postgres") as postgres, EmbeddedValkey(folder / "valkey") as valkey:
        yield Ground(postgres=postgres, valkey=valkey, folder=folder)


def measure_rival(rival: Rival, shared: Ground, paths: Sequence[Path], *, warm: int, latency_ms: float) -> Measured:
    """Send files through a rival, the first few to warm up. Raises: BenchError."""
    with redis.Redis.from_url(shared.valkey.url) as client:
        client.flushall()
    database = shared.database(rival.name)
    with lean_operator(latency_ms=latency_ms) as operator, ExitStack() as stack:
        environment = {
            **os.environ,
            "BENCH_OPERATOR_URL": operator.url,
            "BENCH_DATABASE_URL": database,
            "BENCH_BROKER_URL": shared.valkey.url,
        }
        _prepare(rival, environment)
        log = stack.enter_context((shared.folder / f"{rival.name}.log").open("wb"))
        workers = [stack.enter_context(_worker(command, environment, log)) for command in rival.workers]
        watch = stack.enter_context(psycopg.connect(database, autocommit=True))
        _enqueue(rival, paths[:warm], environment)
        _wait(watch, warm, workers, seconds=START_SECONDS)
        operator.mark()
        return _timed(rival, paths[warm:], shared, operator, workers, watch, environment, warm=warm)


def _timed(
    rival: Rival,
    paths: Sequence[Path],
    shared: Ground,
    operator: LeanOperator,
    workers: Sequence[subprocess.Popen[bytes]],
    watch: psycopg.Connection,
    environment: dict[str, str],
    *,
    warm: int,
) -> Measured:
    roots = {f"worker-{number}": worker.pid for number, worker in enumerate(workers, 1)}
    servers = {"postgres": shared.postgres.pid, "valkey": shared.valkey.pid, "operator": operator.pid}
    account = Account({**roots, **{name: pid for name, pid in servers.items() if pid is not None}})
    account.begin()
    told = _enqueue(rival, paths, environment)
    seconds = START_SECONDS + len(paths) / SLOWEST_PER_SECOND
    ended = _wait(watch, warm + len(paths), workers, seconds=seconds)
    submit = Cost(cpu_seconds=told["cpu_seconds"], peak_mib=told["peak_mib"], processes=1)
    costs = {**account.end(), "submit": submit}
    totals = operator.totals()
    check_operator(operator, paths)
    return Measured(
        name=rival.name,
        invoices=len(paths),
        seconds=ended - told["first"],
        submit_seconds=told["last"] - told["first"],
        drain_seconds=ended - told["last"],
        air_seconds=totals["last_upload_at"] - totals["first_upload_at"],
        costs=costs,
    )


def _prepare(rival: Rival, environment: dict[str, str]) -> None:
    script = f"from bench.rivals import {rival.module} as rival; getattr(rival, 'prepare', lambda: None)()"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=START_SECONDS)


@contextmanager
def _worker(command: Sequence[str], environment: dict[str, str], log: object) -> Iterator[subprocess.Popen[bytes]]:
    # `log` is an open file: the types of Popen do not take it for one as an object.
    with subprocess.Popen(tethered_command(command), env=environment, stdout=log, stderr=log) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            end(process)


def _enqueue(rival: Rival, paths: Sequence[Path], environment: dict[str, str]) -> dict[str, float]:
    with TemporaryFile("w+") as names:
        names.write("".join(f"{path}\n" for path in paths))
        names.seek(0)
        command = [sys.executable, "-m", "bench.rivals.enqueue", rival.module]
        done = subprocess.run(
            command, stdin=names, stdout=subprocess.PIPE, env=environment, check=True, timeout=ENQUEUE_SECONDS
        )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def _wait(
    watch: psycopg.Connection, count: int, workers: Sequence[subprocess.Popen[bytes]], *, seconds: float
) -> float:
    deadline = time.monotonic() + seconds
    recorded = 0
    while time.monotonic() < deadline:
        if any(worker.poll() is not None for worker in workers):
            raise BenchError("a worker ended by itself")
        (recorded,) = watch.execute("SELECT count(*) FROM outcome").fetchone() or (0,)
        if recorded >= count:
            return time.monotonic()
        time.sleep(POLL_SECONDS)
    raise BenchError(f"{recorded:,} of {count:,} invoices were recorded when the time was over")

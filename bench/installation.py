"""A whole installation to measure: database, broker, workers, beat and a lean operator, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench.accounting import Account, Cost
from bench.lean import LeanOperator, end, lean_operator
from pipeline.bootstrap import open_database
from pipeline.cli.chaos_run import companies_of
from pipeline.cli.demo import add_companies
from pipeline.cli.stack import Stack, StackPlan
from pipeline.domain.errors import PostiljonError
from pipeline.embedded.spawning import tethered_command
from pipeline.settings import settings_from
from pipeline.storage.database import Database
from pipeline.storage.reading import read_progress

POLL_SECONDS = 0.05
FEED_SECONDS = 3600.0


class BenchError(PostiljonError):
    """Something that was to be measured did not happen; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """When the first and the last invoice of a feeding was durable, on the monotonic clock."""

    began: float
    first: float
    last: float
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What runs."""

    stack: Stack
    operator: LeanOperator
    database: Database
    companies: tuple[UUID, ...]

    def account(self) -> Account:
        """Return an account of every process of it."""
        pids = {each.name: each.pid for each in self.stack.processes if each.pid is not None}
        return Account({**pids, "operator": self.operator.pid})

    @contextmanager
    def feeding(self, paths: Sequence[Path], *, options: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
        """Submit files from a process of its own, with options of bench.feeder; `fed` waits for its end."""
        companies = (part for each in self.companies for part in company(each))
        command = [sys.executable, "-m", "bench.feeder", *companies, *options]
        names = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by the with below
        with names:
            names.write("".join(f"{path}\n" for path in paths))
            names.seek(0)
            environment = {**os.environ, **self.stack.environment}
            with subprocess.Popen(
                tethered_command(command), stdin=names, stdout=subprocess.PIPE, text=True, env=environment
            ) as process:
                try:
                    yield process
                finally:
                    end(process)

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """Stop processes of these names in the middle of whatever they do, and let them go on afterwards."""
        pids = [each.pid for each in self.stack.processes if each.name in names and each.pid is not None]
        for pid in pids:
            os.killpg(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.killpg(pid, signal.SIGCONT)

    def submit(self, paths: Sequence[Path], *, options: Sequence[str] = ()) -> Feeding:
        """Submit files and wait until they are durable."""
        with self.feeding(paths, options=options) as process:
            return fed(process)

    def accepted(self) -> int:
        """Count what the database calls accepted or further."""
        with self.database.transaction() as session:
            return read_progress(session).accepted

    def wait_until_accepted(self, count: int, *, deadline: float) -> float:
        """Wait until so many invoices are accepted in both books; return the instant. Raises: BenchError."""
        while time.monotonic() < deadline:
            # The operator's books first: asking them costs our database nothing.
            if int(self.operator.totals()["held"]) >= count and self.accepted() >= count:
                return time.monotonic()
            time.sleep(POLL_SECONDS)
        raise BenchError(f"{self.accepted():,} of {count:,} invoices were accepted when the time was over")


def company(uuid: UUID) -> tuple[str, str]:
    """Name a company on the feeder's command line."""
    return ("--company", str(uuid))


def fed(process: subprocess.Popen[str]) -> Feeding:
    """Wait until everything is submitted. Raises: BenchError when it was not."""
    told, _ = process.communicate(timeout=FEED_SECONDS)
    if process.returncode:
        raise BenchError(f"submitting ended with status {process.returncode}; its error stands above")
    line = json.loads(told)
    cost = Cost(cpu_seconds=line["cpu_seconds"], peak_mib=line["peak_mib"], processes=1)
    return Feeding(began=line["began"], first=line["first"], last=line["last"], cost=cost)


@contextmanager
def installation(
    folder: Path,
    *,
    latency_ms: float = 100.0,
    companies: int = 1,
    send_processes: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Installation]:
    """Run an installation with production's own settings, but for those named."""
    folder.mkdir(parents=True, exist_ok=True)
    with lean_operator(latency_ms=latency_ms, companies=companies) as operator:
        plan = StackPlan(
            state_dir=folder / "state",
            web=False,
            flower=False,
            settings={"POSTILJON_OPERATOR_URL": operator.url, **(settings or {})},
            send_processes=send_processes or StackPlan.send_processes,
        )
        with Stack(plan) as stack, open_database(settings_from(stack.environment)) as database:
            add_companies(database, settings_from(stack.environment), companies_of(companies))
            yield Installation(
                stack=stack, operator=operator, database=database, companies=tuple(companies_of(companies))
            )

"""How much a chunk is worth: the same invoices end to end with one invoice a message and with a hundred.

Everything runs on this machine: database, broker, simulator, workers. Run: python -m bench.chunks
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.bootstrap import open_database
from pipeline.cli.demo import add_companies
from pipeline.cli.demo_scenario import COMPANIES, SETTINGS
from pipeline.cli.stack import Stack, StackPlan
from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.services.submit_files import submit_files
from pipeline.settings import settings_from
from pipeline.storage.database import Database
from pipeline.storage.reading import read_progress

DEADLINE_SECONDS = 300.0


def seconds_until_accepted(folder: Path, invoices: Path, *, chunk: int, count: int) -> float:
    """Submit everything, then start the clock with the workers; stop it when the last invoice is accepted."""
    settings = {
        **SETTINGS,
        "POSTILJON_CHUNK_INVOICES": str(chunk),
        "POSTILJON_WINDOW_CHUNKS": str(max(8, 800 // chunk)),
    }
    plan = StackPlan(
        state_dir=folder / f"chunk-{chunk}", simulator_arguments=("--latency-ms", "100"), settings=settings
    )
    with Stack(plan) as stack, open_database(settings_from(stack.environment)) as database:
        add_companies(database, settings_from(stack.environment))
        began = time.monotonic()
        with invoices.open("rb") as nothing:
            list(
                submit_files(
                    database,
                    [str(invoices.parent)],
                    company=next(iter(COMPANIES)),
                    stdin=nothing,
                    limits=DEFAULT_LIMITS,
                )
            )
        submitted = time.monotonic()
        _wait(database, count, deadline=submitted + DEADLINE_SECONDS)
        sys.stderr.write(f"  submitted in {submitted - began:.1f} s\n")
        return time.monotonic() - began


def _wait(database: Database, count: int, *, deadline: float) -> None:
    while time.monotonic() < deadline:
        with database.transaction() as session:
            if read_progress(session).accepted >= count:
                return
        time.sleep(0.1)
    raise SystemExit("not all invoices were accepted in time")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=400)
    count = parser.parse_args().invoices
    folder = Path(tempfile.mkdtemp(prefix="postiljon-bench-"))
    try:
        made = folder / "invoices"
        subprocess.run(
            [sys.executable, "-m", "simulator.samples", "--count", str(count), "--seed", "1", "--to", str(made)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        first = next(made.iterdir())
        one = seconds_until_accepted(folder, first, chunk=1, count=count)
        hundred = seconds_until_accepted(folder, first, chunk=100, count=count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"| invoices a message | seconds for {count} | ratio |\n|---|---|---|")
    print(f"| 1 | {one:.1f} | 1.0 |\n| 100 | {hundred:.1f} | {one / hundred:.1f} |")


if __name__ == "__main__":
    main()

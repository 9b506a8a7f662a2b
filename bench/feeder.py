"""Submits invoices from files, many to a transaction, in a process of its own; says when they were durable.

Run with the settings of an installation: python -m bench.feeder --company UUID < paths, one a line
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from uuid import UUID

from pipeline.bootstrap import open_database
from pipeline.services.submit import submit
from pipeline.settings import load_settings
from pipeline.storage.database import Database
from workers.bell import ring

A_TRANSACTION = 200


def feed(database: Database, paths: Iterator[Path], *, companies: Sequence[UUID], after: Callable[[], None]) -> int:
    """Submit all, the companies in turn, transaction by transaction; `after` is called when each is durable."""
    done = 0
    while part := list(islice(paths, A_TRANSACTION)):
        company = companies[done // A_TRANSACTION % len(companies)]
        with database.transaction() as session:
            for path in part:
                submit(
                    session,
                    company=company,
                    content=path.read_bytes(),
                    filename=path.name,
                    uuid=UUID(path.stem),
                    batch="bench",
                    bell=ring,
                )
        done += len(part)
        after()
    return done


def main() -> None:
    """Submit what standard input names; one line of JSON when done, instants of the monotonic clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--company", action="append", type=UUID, required=True)
    chosen = parser.parse_args()
    paths = (Path(line.rstrip("\n")) for line in sys.stdin)
    durable: list[float] = []
    began, before = time.monotonic(), _cpu_seconds()
    with open_database(load_settings()) as database:
        count = feed(database, paths, companies=chosen.company, after=lambda: durable.append(time.monotonic()))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = {"cpu_seconds": _cpu_seconds() - before, "peak_mib": peak_mib}
    print(json.dumps({"submitted": count, "began": began, "first": durable[0], "last": durable[-1], **cost}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

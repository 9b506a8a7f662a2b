"""Submits invoices from files as the product does in bulk, in a process of its own; says when they were durable.

Run with the settings of an installation: python -m bench.feeder --company UUID < paths, one a line
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

from pipeline.bootstrap import open_database
from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.services.lines import Line
from pipeline.services.submit_lines import Bulk, Verdict, submit_lines
from pipeline.services.wanted import Terms
from pipeline.settings import load_settings
from pipeline.storage.database import Database
from workers.bell import ring

BATCH = "bench"


def feed(database: Database, paths: Sequence[Path], *, company: UUID, after: Callable[[], None]) -> int:
    """Submit all, each under the UUID it is named by; `after` is called when a group is durable."""
    bulk = Bulk(company_id=company, limits=DEFAULT_LIMITS, bell=ring)
    queued = 0
    for verdicts in submit_lines(database, _lines(paths), bulk):
        queued += sum(each.verdict is Verdict.QUEUED for each in verdicts)
        after()
    return queued


def _lines(paths: Sequence[Path]) -> Iterator[Line]:
    for path in paths:
        terms = Terms(uuid=UUID(path.stem), batch=BATCH)
        yield Line(path=str(path), name=path.name, terms=terms, file=str(path), size=path.stat().st_size)


def main() -> None:
    """Submit what standard input names; one line of JSON when done, instants of the monotonic clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--company", action="append", type=UUID, required=True)
    companies = parser.parse_args().company
    paths = [Path(line.rstrip("\n")) for line in sys.stdin]
    durable: list[float] = []
    began, before = time.monotonic(), _cpu_seconds()
    queued = 0
    with open_database(load_settings()) as database:
        for place, company in enumerate(companies):
            share = paths[place * len(paths) // len(companies) : (place + 1) * len(paths) // len(companies)]
            queued += feed(database, share, company=company, after=lambda: durable.append(time.monotonic()))
    if queued != len(paths):
        sys.exit(f"{queued} of {len(paths)} invoices were queued")
    cost = {"cpu_seconds": _cpu_seconds() - before, "peak_mib": _peak_mib()}
    print(json.dumps({"began": began, "first": durable[0], "last": durable[-1], **cost}))


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _peak_mib() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(used.ru_maxrss for used in both) / 1024


if __name__ == "__main__":
    main()

"""Submits invoices from files as the product does in bulk, in a process of its own; says when they were durable.

Run with the settings of an installation: python -m bench.feeder --company UUID < paths, one a line. With --manifest
they are manifests with UUIDs of their own; with --single each is submitted in a transaction of its own.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import UUID

from pipeline.bootstrap import open_database
from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.services.lines import AnyLine, Line
from pipeline.services.manifest import Defaults, read_manifest
from pipeline.services.submit import submit
from pipeline.services.submit_lines import Bulk, Verdict, submit_lines
from pipeline.services.wanted import Terms
from pipeline.settings import load_settings
from pipeline.storage.database import Database
from workers.bell import ring

BATCH = "bench"


def feed(database: Database, lines: Iterable[AnyLine], *, company: UUID, after: Callable[[], None]) -> int:
    """Submit all in bulk; `after` is called when a group is durable. Return how many were queued."""
    bulk = Bulk(company_id=company, limits=DEFAULT_LIMITS, bell=ring)
    queued = 0
    for verdicts in submit_lines(database, lines, bulk):
        queued += sum(each.verdict is Verdict.QUEUED for each in verdicts)
        after()
    return queued


def feed_singly(database: Database, paths: Iterable[Path], *, company: UUID, after: Callable[[], None]) -> int:
    """Submit each in a transaction of its own, as an ERP system's would be; `after` is called when one is durable."""
    queued = 0
    for path in paths:
        with database.transaction() as session:
            content = path.read_bytes()
            made = submit(
                session,
                company=company,
                content=content,
                filename=path.name,
                uuid=UUID(path.stem),
                batch=BATCH,
                bell=ring,
            )
        queued += made.created
        after()
    return queued


def _of_manifests(paths: Iterable[Path]) -> Iterator[AnyLine]:
    for path in paths:
        with path.open("rb") as stream:
            defaults = Defaults(terms=Terms(), routing={})
            yield from read_manifest(
                stream, name=path.name, folder=str(path.parent), defaults=defaults, limits=DEFAULT_LIMITS
            )


def _lines(paths: Iterable[Path]) -> Iterator[Line]:
    for path in paths:
        terms = Terms(uuid=UUID(path.stem), batch=BATCH)
        yield Line(path=str(path), name=path.name, terms=terms, file=str(path), size=path.stat().st_size)


def main() -> None:
    """Submit what standard input names; one line of JSON when done, instants of the monotonic clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--company", action="append", type=UUID, required=True)
    parser.add_argument("--manifest", action="store_true")
    parser.add_argument("--single", action="store_true")
    given = parser.parse_args()
    companies = given.company
    paths = [Path(line.rstrip("\n")) for line in sys.stdin]
    durable: list[float] = []
    began, before = time.monotonic(), _cpu_seconds()
    queued = 0

    def note() -> None:
        durable.append(time.monotonic())

    with open_database(load_settings()) as database:
        for place, company in enumerate(companies):
            share = paths[place * len(paths) // len(companies) : (place + 1) * len(paths) // len(companies)]
            if given.single:
                queued += feed_singly(database, share, company=company, after=note)
                continue
            lines = _of_manifests(share) if given.manifest else _lines(share)
            queued += feed(database, lines, company=company, after=note)
    asked = sum(_count_lines(path) for path in paths) if given.manifest else len(paths)
    if queued != asked:
        sys.exit(f"{queued} of {asked} invoices were queued")
    cost = {"cpu_seconds": _cpu_seconds() - before, "peak_mib": _peak_mib()}
    print(json.dumps({"began": began, "first": durable[0], "last": durable[-1], **cost}))


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _peak_mib() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(used.ru_maxrss for used in both) / 1024


if __name__ == "__main__":
    main()

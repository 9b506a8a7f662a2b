"""What a submit costs: the same documents of 8 KB into a real PostgreSQL, each way on empty tables.

CPU is what the clock of a busy machine cannot spoil: ours (with the processes beside us) and PostgreSQL's, a document.
Run: python -m bench.submit --invoices 5000
"""

import argparse
import io
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.services.gather import gather
from pipeline.services.lines import AnyLine, lines_of
from pipeline.services.submit import submit
from pipeline.services.submit_lines import Bulk, submit_lines
from pipeline.services.wanted import Terms
from pipeline.storage import schema
from pipeline.storage.companies import save_company
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault, new_key

COMPANY = UUID("00000000-0000-4000-8000-000000000001")
EMPTY = text("TRUNCATE event, attempt, invoice, invoice_key, document, batch CASCADE")
LINE = (
    "<InvoiceRow><ArticleIdentifier>{a}</ArticleIdentifier><ArticleName>{b}</ArticleName>"
    '<DeliveredQuantity QuantityUnitCode="kpl">{c}</DeliveredQuantity>'
    '<RowAmount AmountCurrencyIdentifier="EUR">{d}</RowAmount></InvoiceRow>'
)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way cost, a document."""

    name: str
    per_second: float
    our_ms: float
    postgres_ms: float


def invoice(number: int, *, size: int) -> bytes:
    """Return a Finvoice of about so many bytes."""
    made = random.Random(number)
    rows: list[str] = []
    while sum(map(len, rows)) < size - 700:
        words = {"a": made.randint(1000, 99999), "b": f"Tuote {made.random():.9f}", "c": made.randint(1, 99)}
        rows.append(LINE.format(**words, d=f"{made.random() * 1000:.2f}".replace(".", ",")))
    return (
        '<?xml version="1.0" encoding="ISO-8859-15"?>\n<Finvoice Version="3.0"><SellerPartyDetails>'
        "<SellerOrganisationName>Myyjä Oy</SellerOrganisationName></SellerPartyDetails><BuyerPartyDetails>"
        f"<BuyerOrganisationName>Ostaja {number}</BuyerOrganisationName></BuyerPartyDetails><InvoiceDetails>"
        f"<InvoiceNumber>{number}</InvoiceNumber><InvoiceTotalVatIncludedAmount "
        'AmountCurrencyIdentifier="EUR">12,50</InvoiceTotalVatIncludedAmount></InvoiceDetails>'
        f"{''.join(rows)}</Finvoice>\n"
    ).encode("iso-8859-15")


def write_folder(folder: Path, count: int, *, size: int) -> None:
    """Write so many invoices as files."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:07}.xml").write_bytes(invoice(number, size=size))


def found(folder: Path) -> Iterator[AnyLine]:
    """Yield the lines of a folder."""
    return lines_of(gather([str(folder)], limits=DEFAULT_LIMITS, stdin=io.BytesIO()), Terms())


def in_bulk(database: Database, lines: Iterator[AnyLine], *, processes: int | None) -> None:
    """Submit as `postiljon send` does."""
    for _ in submit_lines(database, lines, Bulk(company_id=COMPANY, limits=DEFAULT_LIMITS, processes=processes)):
        pass


def one_by_one(database: Database, folder: Path, *, at_once: int) -> None:
    """Submit one at a time, so many in a transaction."""
    files = sorted(folder.iterdir())
    for first in range(0, len(files), at_once):
        with database.transaction() as session:
            for file in files[first : first + at_once]:
                submit(session, company=COMPANY, content=file.read_bytes(), filename=file.name)


def measure(name: str, way: Callable[[], None], *, postmaster: int, count: int) -> Cost:
    """Run one way and return what it cost a document."""
    ours, theirs, began = _our_seconds(), _postgres_seconds(postmaster), time.monotonic()
    way()
    took = time.monotonic() - began
    # The processes beside us are counted when they have ended, and they have.
    return Cost(
        name=name,
        per_second=count / took,
        our_ms=(_our_seconds() - ours) / count * 1000,
        postgres_ms=(_postgres_seconds(postmaster) - theirs) / count * 1000,
    )


def _our_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def _postgres_seconds(postmaster: int) -> float:
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if postmaster == int(stat.parent.name):
            # Its own, and those of the servers that have ended.
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            total += sum(map(int, fields[11:13]))
    return total / TICKS


@contextmanager
def server(folder: Path) -> Iterator[tuple[Database, int]]:
    """Lend a database with the tables and one company, and the process number of its server."""
    with EmbeddedPostgres(folder / "postgres") as postgres:
        database = Database(postgres.url)
        schema.upgrade(database.engine)
        keys = CompanyCredentials(company_id=COMPANY, user_api_key="u", vendor_api_key="v")
        with database.transaction() as session:
            save_company(session, keys, name="bench", vault=Vault([new_key()]), now=datetime.now(UTC))
        yield database, int((postgres.data / "postmaster.pid").read_text().split()[0])
        database.close()


def peak_megabytes(url: str, folder: Path) -> int:
    """Submit a folder from a fresh process and return the most memory it and the processes beside it ever had."""
    command = [sys.executable, "-m", "bench.submit", "--peak", url, str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _print_peak(url: str, folder: str) -> None:
    in_bulk(Database(url), found(Path(folder)), processes=None)
    own, beside = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(max(own, beside) // 1024)


def table(costs: list[Cost]) -> str:
    """Return the costs as Markdown, each beside the first."""
    rows = [
        f"| {cost.name} | {cost.our_ms:.3f} | {cost.postgres_ms:.3f} | {cost.our_ms + cost.postgres_ms:.3f} | "
        f"{2000 / (cost.our_ms + cost.postgres_ms):,.0f} | {cost.per_second:,.0f} | "
        f"{(costs[0].our_ms + costs[0].postgres_ms) / (cost.our_ms + cost.postgres_ms):.1f} |"
        for cost in costs
    ]
    head = "| way | our CPU ms | PostgreSQL's | together | 2 cores could, a second | now, a second | ratio of CPU |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=5000)
    parser.add_argument("--bytes", type=int, default=8000)
    parser.add_argument("--flat", type=int, default=0, help="measure peak memory for a tenth of this and for this")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        _print_peak(*given.peak)
        return
    with tempfile.TemporaryDirectory(prefix="postiljon-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with server(folder) as (database, postmaster):
            _compare(database, postmaster, folder, count=given.invoices, size=given.bytes)
            for count in (given.flat // 10, given.flat) if given.flat else ():
                write_folder(folder / f"flat{count}", count, size=given.bytes)
                url = database.engine.url.render_as_string(hide_password=False)
                print(f"\npeak memory for {count:,}: {peak_megabytes(url, folder / f'flat{count}')} MB", flush=True)


def _compare(database: Database, postmaster: int, folder: Path, *, count: int, size: int) -> None:
    files = folder / "files"
    write_folder(files, count, size=size)
    ways: dict[str, Callable[[], None]] = {
        "a transaction a file": lambda: one_by_one(database, files, at_once=1),
        "one at a time, one transaction": lambda: one_by_one(database, files, at_once=count),
        "bulk, one process": lambda: in_bulk(database, found(files), processes=0),
        "bulk, files": lambda: in_bulk(database, found(files), processes=None),
    }
    costs = []
    for name, way in ways.items():
        with database.transaction() as session:
            session.connection().execute(EMPTY)
        costs.append(measure(name, way, postmaster=postmaster, count=count))
    again = measure("the same files again", ways["bulk, files"], postmaster=postmaster, count=count)
    print(f"{count:,} documents of {size:,} bytes\n\n{table([*costs, again])}", flush=True)


if __name__ == "__main__":
    main()

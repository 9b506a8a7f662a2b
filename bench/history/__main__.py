"""Fill an empty, migrated database with history: python -m bench.history --invoices 1e6 (POSTILJON_DATABASE_URL)."""

import argparse

from bench.history.writing import add_companies, plan_before, write_history
from pipeline.bootstrap import open_database, utc_now
from pipeline.settings import load_settings
from pipeline.storage.vault import Vault, new_key


def main() -> None:
    """Write the history and tell what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=float, default=1e4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--documents", type=float, default=1e6, help="invoices beyond so many share these documents")
    parser.add_argument("--document-bytes", type=int, default=0, help="filling in each document")
    given = parser.parse_args()
    plan = plan_before(utc_now(), seed=given.seed, documents=int(given.documents), document_bytes=given.document_bytes)
    with open_database(load_settings()) as database:
        add_companies(database, Vault([new_key()]), plan)
        written = write_history(database, plan, first=0, last=int(given.invoices))
    print(f"{written.invoices:,} invoices in {written.seconds} s ({written.index_seconds} s of it indexes)")


if __name__ == "__main__":
    main()

"""Tells developers where tables.py and the migrations differ: `python -m pipeline.cli.drift`, part of `make check`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.storage import schema
from pipeline.storage.database import Database


def main() -> int:
    """Migrate a database made for the purpose and print each difference; 1 if there is any, else 0."""
    with TemporaryDirectory() as directory, EmbeddedPostgres(Path(directory) / "postgres", durable=False) as server:
        database = Database(server.url)
        schema.upgrade(database.engine)
        differences = schema.drift(database.engine)
        database.close()
    for difference in differences:
        sys.stdout.write(f"{difference}\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

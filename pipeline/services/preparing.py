"""A process that prepares groups of lines for the one that started it, until that one is gone. Started as a module."""

import signal
import sys
from multiprocessing.connection import Connection

from pipeline.domain.errors import PostiljonError
from pipeline.services.lines import Line
from pipeline.services.prepare import Prepared, prepare
from pipeline.services.preparers import Bench
from pipeline.storage.database import Database


def main() -> None:
    """Prepare what comes over the socket whose number is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection: Connection = Connection(int(sys.argv[1]))
    try:
        told: Bench = connection.recv()
        database = Database(told.database_url, pool_size=1)
        connection.send([])
        while True:
            lines = connection.recv()
            connection.send(_answer(database, lines, told))
    except (EOFError, OSError):
        # The other one is gone or has what it wanted.
        return


def _answer(database: Database, lines: list[Line], told: Bench) -> list[Prepared] | Exception:
    try:
        return prepare(database, lines, company_id=told.company_id, limits=told.limits)
    except PostiljonError as exc:
        return type(exc)(str(exc))
    except Exception as exc:  # noqa: BLE001 - the edge of a process; the other one raises it
        return RuntimeError(f"{type(exc).__name__} while preparing: {exc}")


if __name__ == "__main__":
    main()

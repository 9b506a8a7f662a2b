"""DBOS: one workflow per invoice on a queue, the upload a step of it. Run: python -m bench.rivals.with_dbos"""

import threading
from collections.abc import Iterable

from dbos import DBOS, DBOSClient

from bench.rivals import work

QUEUE = "invoices"
NAME = "send"
POLL_SECONDS = 0.1
"""A tenth of the library's own: it must not be measured by its waiting."""


def _url() -> str:
    return work.database_url().replace("postgresql://", "postgresql+psycopg://", 1)


@DBOS.step()
async def upload(path: str) -> None:
    """Send one invoice."""
    await work.send_async(path)


@DBOS.workflow(name=NAME)
async def send(path: str) -> None:
    """Send one invoice, once."""
    await upload(path)


def prepare() -> None:
    """Make the library's tables."""
    _launch()
    DBOS.destroy()


def enqueue(paths: Iterable[str]) -> None:
    """Ask for each."""
    client = DBOSClient(system_database_url=_url())
    for path in paths:
        client.enqueue({"queue_name": QUEUE, "workflow_name": NAME}, path)
    client.destroy()


def main() -> None:
    """Run a worker until it is ended."""
    _launch()
    DBOS.register_queue(QUEUE, worker_concurrency=work.AT_ONCE, polling_interval_sec=POLL_SECONDS)
    threading.Event().wait()


def _launch() -> None:
    DBOS(config={"name": "bench", "system_database_url": _url(), "log_level": "WARNING"})
    DBOS.launch()


if __name__ == "__main__":
    main()

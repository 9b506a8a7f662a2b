"""procrastinate: one job per invoice, in PostgreSQL."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice

from procrastinate import App, PsycopgConnector

from bench.rivals import work

BATCH = 500
app = App(connector=PsycopgConnector(conninfo=work.database_url()))


@app.task
async def send(path: str) -> None:
    """Send one invoice."""
    await work.send_async(path)


def prepare() -> None:
    """Make the library's tables."""
    asyncio.run(_prepare())


def enqueue(paths: Iterable[str]) -> None:
    """Ask for many at once, as the documentation says for many."""
    asyncio.run(_enqueue(iter(paths)))


async def _prepare() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def _enqueue(paths: Iterator[str]) -> None:
    async with app.open_async():
        while part := list(islice(paths, BATCH)):
            await send.batch_defer_async(*({"path": path} for path in part))

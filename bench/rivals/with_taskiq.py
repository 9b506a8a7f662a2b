"""taskiq: one task per invoice, over a Redis stream."""

import asyncio
from collections.abc import Iterable

from taskiq_redis import RedisStreamBroker

from bench.rivals import work

broker = RedisStreamBroker(url=work.broker_url())


@broker.task
async def send(path: str) -> None:
    """Send one invoice."""
    await work.send_async(path)


def enqueue(paths: Iterable[str]) -> None:
    """Ask for each."""
    asyncio.run(_enqueue(paths))


async def _enqueue(paths: Iterable[str]) -> None:
    await broker.startup()
    for path in paths:
        await send.kiq(path)
    await broker.shutdown()

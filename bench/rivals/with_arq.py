"""arq: one job per invoice."""

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from bench.rivals import work


async def send(_context: dict[str, object], path: str) -> None:
    """Send one invoice."""
    await work.send_async(path)


class WorkerSettings:
    """What `arq` reads."""

    functions: ClassVar = [send]
    redis_settings = RedisSettings.from_dsn(work.broker_url())
    max_jobs = work.AT_ONCE


def enqueue(paths: Iterable[str]) -> None:
    """Ask for each."""
    asyncio.run(_enqueue(paths))


async def _enqueue(paths: Iterable[str]) -> None:
    redis = await create_pool(WorkerSettings.redis_settings)
    for path in paths:
        await redis.enqueue_job("send", path)
    await redis.close()

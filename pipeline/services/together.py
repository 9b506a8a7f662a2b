"""Several pieces of work at once, none of which ends another by failing."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def finish_all(work: Iterable[Coroutine[Any, Any, T]], *, at_once: int) -> list[T]:
    """Let every piece come to its end, then return the results, or raise the first failure."""
    room = asyncio.Semaphore(at_once)

    async def finish(piece: Coroutine[Any, Any, T]) -> T:
        async with room:
            return await piece

    ended = await asyncio.gather(*(finish(piece) for piece in work), return_exceptions=True)
    results: list[T] = []
    for each in ended:
        if isinstance(each, BaseException):
            raise each
        results.append(each)
    return results

"""The fast transport behind httpx's interface, with timeouts that mean what they say. Knows nothing of the operator.

httpx's own transport costs 2 to 6 ms CPU a request with many connections (design, section 5). The fast one has three
traps, each held by a test in tests/contract/maventa/test_transports.py: its httpx layer adds the four timeouts up to
one; its read timeout runs from the start of the request, so that a slow upload of a big file ends as "no answer"; and
errors while a body is read escape as its own.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport
from pyreqwest.exceptions import PyreqwestError

IDLE_SECONDS = 15.0
"""We drop idle connections before a server does (20 s is a common limit): a request on a dying one is in doubt."""

WRITE_STEP_BYTES = 8 * 1024 * 1024
"""One write timeout for each step begun: the fast transport does not tell when a write makes progress."""

WRITE_FREE_BYTES = 64 * 1024
"""A body that small fits the socket's buffer and needs no time of its own."""


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long we wait, in seconds: for each part, and for a whole exchange with a body of up to 8 MiB."""

    connect: float = 10.0
    read: float = 60.0
    write: float = 60.0
    pool: float = 30.0
    total: float = 180.0

    def writing(self, body_bytes: int) -> float:
        """Return the time a body of this size may take to leave."""
        if body_bytes <= WRITE_FREE_BYTES:
            return 0.0
        return self.write * (1 + (body_bytes - 1) // WRITE_STEP_BYTES)

    def whole(self, body_bytes: int) -> float:
        """Return the deadline of a whole exchange: big bodies get the time to write them on top."""
        return self.total + max(0.0, self.writing(body_bytes) - self.write)


class FastTransport(httpx.AsyncBaseTransport):
    """pyreqwest as an httpx transport: HTTP/1.1, no redirects, no proxy from the environment, TLS verified.

    Bound to the loop it is first used in. Raises only httpx errors.
    """

    def __init__(self, *, timeouts: Timeouts, max_connections: int) -> None:
        """Set up the client; nothing connects yet."""
        self._timeouts = timeouts
        self._places = asyncio.Semaphore(max_connections)
        self._inner = HttpxTransport(_build_client(timeouts, max_connections))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's head must come within connect + write + read seconds."""
        # Else the layer adds the four up to one and lays it over ours.
        request.extensions = {name: value for name, value in request.extensions.items() if name != "timeout"}
        await self._take_place(request)
        try:
            response = await self._head(request)
        except BaseException:
            self._places.release()
            raise
        response.stream = _PacedStream(response.stream, self._timeouts.read, self._places)
        return response

    async def _take_place(self, request: httpx.Request) -> None:
        try:
            async with asyncio.timeout(self._timeouts.pool):
                await self._places.acquire()
        except TimeoutError as exc:
            raise httpx.PoolTimeout("no connection came free in time", request=request) from exc

    async def _head(self, request: httpx.Request) -> httpx.Response:
        body_bytes = int(request.headers.get("content-length", "0"))
        seconds = self._timeouts.connect + self._timeouts.writing(body_bytes) + self._timeouts.read
        try:
            async with asyncio.timeout(seconds):
                return await self._inner.handle_async_request(request)
        except TimeoutError as exc:
            raise httpx.ReadTimeout("no answer in time", request=request) from exc
        except httpx.RequestError:
            raise
        except (PyreqwestError, ValueError, RuntimeError) as exc:
            raise httpx.TransportError(f"the transport failed: {type(exc).__name__}", request=request) from exc


def _build_client(timeouts: Timeouts, max_connections: int) -> Client:
    return (
        ClientBuilder()
        .http1_only()
        .follow_redirects(enable=False)
        .no_proxy()
        .connect_timeout(timedelta(seconds=timeouts.connect))
        .pool_max_idle_per_host(max_connections)
        .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
        # httpx unpacks by the header, which the fast client would drop together with the packing.
        .gzip(enable=False)
        .brotli(enable=False)
        .zstd(enable=False)
        .deflate(enable=False)
        .build()
    )


class _PacedStream(httpx.AsyncByteStream):
    """A body with a read timeout on each piece, that gives its place in the pool back once."""

    def __init__(
        self, inner: httpx.SyncByteStream | httpx.AsyncByteStream, seconds: float, places: asyncio.Semaphore
    ) -> None:
        if not isinstance(inner, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport gave a synchronous body")
        self._inner = inner
        self._seconds = seconds
        self._places: asyncio.Semaphore | None = places

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._inner)
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    piece = await anext(pieces, None)
            except TimeoutError as exc:
                raise httpx.ReadTimeout("the answer stopped half-way") from exc
            except PyreqwestError as exc:
                raise httpx.ReadError("the answer broke off") from exc
            if piece is None:
                return
            yield piece

    async def aclose(self) -> None:
        places, self._places = self._places, None
        try:
            await self._inner.aclose()
        except PyreqwestError as exc:
            raise httpx.ReadError("the answer could not be closed") from exc
        finally:
            if places is not None:
                places.release()

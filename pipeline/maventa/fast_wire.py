"""Exchanges over pyreqwest, with timeouts that mean what they say. Knows no token and no verdict.

httpx's own transport costs 2 to 6 ms CPU a request with many connections, and httpx in front of this one four times
what the exchange itself does (postiljon bench transports). The client has one trap, held by a test in
tests/contract/maventa/test_transports.py: its read timeout runs from the start of the request, so that a slow upload of
a big file would end as "no answer". So all waiting is timed here.
"""

import asyncio
from datetime import timedelta
from urllib.parse import urlencode

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.request import StreamRequest

from pipeline.domain.streamed import Streamed
from pipeline.maventa.failure import TransportFailureKind, classify
from pipeline.maventa.timeouts import Timeouts
from pipeline.maventa.wire import ANSWER_LIMIT_BYTES, USER_AGENT, Answer, Question

IDLE_SECONDS = 15.0
"""We drop idle connections before a server does (20 s is a common limit): a request on a dying one is in doubt."""


class FastWire:
    """See pipeline.maventa.wire.Wire: HTTP/1.1, no redirects, no cookies, no proxy of the environment, TLS verified.

    Bound to the loop it is first used in.
    """

    def __init__(self, *, base_url: str, timeouts: Timeouts, max_connections: int) -> None:
        """Set up the client; nothing connects yet."""
        self._base_url = base_url
        self._timeouts = timeouts
        self._places = asyncio.Semaphore(max_connections)
        self._client = _build_client(timeouts, max_connections)

    async def aclose(self) -> None:
        """See Wire.aclose."""
        await self._client.close()

    async def ask(self, question: Question, *, bearer: str | None = None) -> Answer | TransportFailureKind:
        """See Wire.ask."""
        # Built before the wait for a place, so that what cannot be built takes none.
        try:
            request = self._request(question, bearer)
            patience = _Patience(self._timeouts, len(question.content or b""))
            async with patience.timer, self._places:
                patience.begin()
                return await _exchange(request, patience)
        except PyreqwestError as exc:  # some of them are TimeoutErrors too
            return classify(exc)
        except TimeoutError:
            return patience.failure
        except (OSError, ValueError, RuntimeError) as exc:
            return classify(exc)

    def _request(self, question: Question, bearer: str | None) -> StreamRequest:
        query = "?" + urlencode(question.query) if question.query else ""
        builder = self._client.request(question.method, self._base_url + question.path + query)
        headers = [("Accept", question.accept)]
        if question.content_type is not None:
            headers.append(("Content-Type", question.content_type))
        if bearer is not None:
            headers.append(("Authorization", f"Bearer {bearer}"))
        content = question.content
        if isinstance(content, Streamed):
            headers.append(("Content-Length", str(content.size)))
            return builder.headers(headers).body_stream(content.read()).build_streamed()
        builder = builder.headers(headers)
        return (builder if content is None else builder.body_bytes(content)).build_streamed()


class _Patience:
    """What is being waited for, and until when: a place, the answer's head, each piece of its body."""

    def __init__(self, timeouts: Timeouts, body_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._body_bytes = body_bytes
        now = self._loop.time()
        self._deadline = now + timeouts.whole(body_bytes)
        self._step_failure = TransportFailureKind.POOL_TIMEOUT
        self._step_until = now + timeouts.pool
        self.timer = asyncio.timeout_at(min(self._step_until, self._deadline))

    @property
    def failure(self) -> TransportFailureKind:
        """What it means that the time is up."""
        return self._step_failure if self._step_until <= self._deadline else TransportFailureKind.DEADLINE

    def begin(self) -> None:
        """Wait for the answer's head: the connection, the request's way out, and the silence after it."""
        waits = self._timeouts
        self._step_failure = TransportFailureKind.READ_TIMEOUT
        self._wait(waits.connect + waits.writing(self._body_bytes) + waits.read)

    def go_on(self) -> None:
        """Wait for the next piece of the body."""
        self._wait(self._timeouts.read)

    def _wait(self, seconds: float) -> None:
        self._step_until = self._loop.time() + seconds
        self.timer.reschedule(min(self._step_until, self._deadline))


async def _exchange(request: StreamRequest, patience: _Patience) -> Answer | TransportFailureKind:
    async with request as response:
        patience.go_on()
        reader = response.body_reader
        body = bytearray()
        while (piece := await reader.read_chunk()) is not None:
            body += piece
            if len(body) > ANSWER_LIMIT_BYTES:
                return TransportFailureKind.PROTOCOL
            patience.go_on()
        return Answer(status=response.status, headers=response.headers, body=bytes(body))


def _build_client(timeouts: Timeouts, max_connections: int) -> Client:
    return (
        ClientBuilder()
        .http1_only()
        .follow_redirects(enable=False)
        .no_proxy()
        .user_agent(USER_AGENT)
        .connect_timeout(timedelta(seconds=timeouts.connect))
        .pool_max_idle_per_host(max_connections)
        .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
        .build()
    )

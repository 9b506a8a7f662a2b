"""One HTTP exchange: a question goes out, an answer or a failure comes back. Knows no token and no verdict."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from pipeline.domain.streamed import Content, Streamed
from pipeline.maventa.failure import TransportFailureKind, classify
from pipeline.maventa.schemas import ErrorAnswer
from pipeline.maventa.timeouts import Timeouts

T = TypeVar("T")

ANSWER_LIMIT_BYTES = 256 * 1024 * 1024
"""More than any file the operator can hold for us; a worker's memory is not for an endless answer."""

USER_AGENT = "postiljon/0.1"

_ERROR = TypeAdapter(ErrorAnswer)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to ask. `path` starts with a slash; `query` is already in wire form."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    content: Content | None = field(default=None, repr=False)
    content_type: str | None = None
    accept: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, complete."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Case-insensitive."""
    body: bytes = field(repr=False)

    def parse(self, shape: TypeAdapter[T]) -> T | None:
        """Read the body as JSON of a shape; None if it is none. A character that is none costs itself, no more."""
        try:
            return shape.validate_json(self.body)
        except ValidationError:
            return self._parse_patiently(shape)

    def _parse_patiently(self, shape: TypeAdapter[T]) -> T | None:
        # Bytes that are no UTF-8 are replaced, and the standard reader lets half characters through to their field.
        try:
            return shape.validate_python(json.loads(self.body.decode(errors="replace"), parse_float=Decimal))
        except (ValueError, RecursionError):
            return None

    def error(self) -> ErrorAnswer:
        """Read the body as a refusal; empty if it is none."""
        return self.parse(_ERROR) or ErrorAnswer()


class Wire(Protocol):
    """Connections to one base URL."""

    async def ask(self, question: Question, *, bearer: str | None = None) -> Answer | TransportFailureKind:
        """Make one exchange. Every failure below HTTP comes back as its name; nothing is retried."""

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""


class HttpxWire:
    """See Wire: over any transport of httpx. Bound to the loop it is first used in."""

    def __init__(self, *, base_url: str, transport: httpx.AsyncBaseTransport, timeouts: Timeouts) -> None:
        """Take over the transport; `aclose` closes it."""
        self._timeouts = timeouts
        self._base_url = base_url
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool
            ),
            follow_redirects=False,
            trust_env=False,
            # One client serves all companies: a cookie kept from one must never travel with another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"User-Agent": USER_AGENT},
        )

    async def aclose(self) -> None:
        """See Wire.aclose."""
        await self._http.aclose()

    async def ask(self, question: Question, *, bearer: str | None = None) -> Answer | TransportFailureKind:
        """See Wire.ask."""
        request = self._request(question, bearer)
        try:
            async with asyncio.timeout(self._timeouts.whole(len(question.content or b""))):
                return await self._exchange(request)
        except (httpx.HTTPError, httpx.StreamError, OSError) as exc:
            return classify(exc)

    def _request(self, question: Question, bearer: str | None) -> httpx.Request:
        headers = {"Accept": question.accept}
        if question.content_type is not None:
            headers["Content-Type"] = question.content_type
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        content = question.content
        if isinstance(content, Streamed):
            headers["Content-Length"] = str(content.size)
        return self._http.build_request(
            question.method,
            self._base_url + question.path,
            params=question.query or None,
            content=content.read() if isinstance(content, Streamed) else content,
            headers=headers,
        )

    async def _exchange(self, request: httpx.Request) -> Answer | TransportFailureKind:
        response = await self._http.send(request, stream=True)
        body = bytearray()
        try:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > ANSWER_LIMIT_BYTES:
                    return TransportFailureKind.PROTOCOL
        finally:
            await response.aclose()
        return Answer(status=response.status_code, headers=response.headers, body=bytes(body))

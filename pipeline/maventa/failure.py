"""What went wrong below HTTP, told from any exception of any transport. Knows nothing of what follows from it.

No exception type is believed. The fast transport reports a reset after the whole request arrived as `ConnectError` and
silence as `ConnectTimeout`; only the causes below it tell whether a connection ever came about.
Source: measured with pyreqwest 0.15.1 and httpx 0.28.1; tests/contract/maventa/test_transports.py holds it.
"""

import socket
import ssl
from collections.abc import Iterator
from enum import StrEnum

import httpcore
import httpx
from pyreqwest import exceptions as fast


class TransportFailureKind(StrEnum):
    """How an exchange broke. The first six prove that no byte of the request left us."""

    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    """Another reason why no connection came about: no route, address not available."""
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    """The handshake failed; the request goes out only after it."""
    POOL_TIMEOUT = "pool_timeout"
    """No connection of ours came free in time."""
    READ_TIMEOUT = "read_timeout"
    WRITE_TIMEOUT = "write_timeout"
    DEADLINE = "deadline"
    """The whole exchange took longer than we wait; it may have been in any part of it."""
    RESET = "reset"
    CLOSED = "closed"
    PROTOCOL = "protocol"
    UNKNOWN = "unknown"


NOT_SENT = frozenset(
    {
        TransportFailureKind.DNS,
        TransportFailureKind.REFUSED,
        TransportFailureKind.UNREACHABLE,
        TransportFailureKind.CONNECT_TIMEOUT,
        TransportFailureKind.TLS,
        TransportFailureKind.POOL_TIMEOUT,
    }
)
"""Kinds that are only ever given with proof; everything else may have arrived."""

_CONNECT_PROOF = "client error (Connect)"
"""In the fast transport's causes exactly when no connection came about, the TLS handshake included."""


def classify(exc: BaseException) -> TransportFailureKind:
    """Name the failure behind an exception of httpx's own transport, of the fast one, or of asyncio."""
    chain = tuple(_chain(exc))
    for link in chain:
        if isinstance(link, fast.PyreqwestError):
            return _classify_fast(link)
    if any(isinstance(link, httpx.PoolTimeout) for link in chain):
        return TransportFailureKind.POOL_TIMEOUT
    proof = next((link for link in chain if isinstance(link, httpcore.ConnectError | httpcore.ConnectTimeout)), None)
    if proof is not None:
        return _classify_unconnected(tuple(_chain(proof, with_context=True)))
    return _classify_connected(chain)


def _chain(exc: BaseException | None, *, with_context: bool = False) -> Iterator[BaseException]:
    # The context counts for details only: an error raised while an older one was being handled inherits no proof.
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or (exc.__context__ if with_context else None)


def _classify_unconnected(chain: tuple[BaseException, ...]) -> TransportFailureKind:
    # httpcore raises these two only while it opens the connection, and before it writes a request.
    if any(isinstance(link, socket.gaierror) for link in chain):
        return TransportFailureKind.DNS
    if any(isinstance(link, httpcore.ConnectTimeout) for link in chain):
        return TransportFailureKind.CONNECT_TIMEOUT
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return TransportFailureKind.REFUSED
    if any(isinstance(link, ssl.SSLError) for link in chain):
        return TransportFailureKind.TLS
    return TransportFailureKind.UNREACHABLE


_CONNECTED_TYPES: tuple[tuple[type[BaseException], TransportFailureKind], ...] = (
    (ConnectionResetError, TransportFailureKind.RESET),
    (BrokenPipeError, TransportFailureKind.RESET),
    (httpx.ReadTimeout, TransportFailureKind.READ_TIMEOUT),
    (httpx.WriteTimeout, TransportFailureKind.WRITE_TIMEOUT),
    (httpx.TimeoutException, TransportFailureKind.DEADLINE),
    (TimeoutError, TransportFailureKind.DEADLINE),
    (httpx.DecodingError, TransportFailureKind.PROTOCOL),
    (httpx.ReadError, TransportFailureKind.RESET),
    (httpx.WriteError, TransportFailureKind.RESET),
)


def _classify_connected(chain: tuple[BaseException, ...]) -> TransportFailureKind:
    for known, kind in _CONNECTED_TYPES:
        if any(isinstance(link, known) for link in chain):
            return kind
    if any(isinstance(link, httpx.ProtocolError) for link in chain):
        return _closed_or_protocol(" ".join(str(link) for link in chain))
    return TransportFailureKind.UNKNOWN


_CLOSED_TEXTS = ("disconnected", "closed connection", "connection closed", "end of file", "message length")


def _closed_or_protocol(text: str) -> TransportFailureKind:
    closed = any(part in text for part in _CLOSED_TEXTS)
    return TransportFailureKind.CLOSED if closed else TransportFailureKind.PROTOCOL


_FAST_UNCONNECTED_TEXTS = (
    ("dns error", TransportFailureKind.DNS),
    ("refused", TransportFailureKind.REFUSED),
    ("deadline has elapsed", TransportFailureKind.CONNECT_TIMEOUT),
    ("timed out", TransportFailureKind.CONNECT_TIMEOUT),
    ("tls", TransportFailureKind.TLS),
    ("certificate", TransportFailureKind.TLS),
    ("corrupt message", TransportFailureKind.TLS),
)

_FAST_CONNECTED_TEXTS = (
    ("timed out", TransportFailureKind.READ_TIMEOUT),
    ("reset by peer", TransportFailureKind.RESET),
    ("broken pipe", TransportFailureKind.RESET),
    ("connection closed", TransportFailureKind.CLOSED),
    ("end of file", TransportFailureKind.CLOSED),
)


def _classify_fast(exc: fast.PyreqwestError) -> TransportFailureKind:
    if isinstance(exc, fast.PoolTimeoutError):
        return TransportFailureKind.POOL_TIMEOUT
    causes = _causes(exc)
    text = " ".join(causes).lower()
    if _CONNECT_PROOF in causes:
        return _first_text(_FAST_UNCONNECTED_TEXTS, text, TransportFailureKind.UNREACHABLE)
    otherwise = TransportFailureKind.UNKNOWN
    if isinstance(exc, fast.DecodeError):
        otherwise = TransportFailureKind.PROTOCOL
    return _first_text(_FAST_CONNECTED_TEXTS, text, otherwise)


def _first_text(
    table: tuple[tuple[str, TransportFailureKind], ...], text: str, otherwise: TransportFailureKind
) -> TransportFailureKind:
    return next((kind for part, kind in table if part in text), otherwise)


def _causes(exc: fast.PyreqwestError) -> tuple[str, ...]:
    if not isinstance(exc, fast.DetailedPyreqwestError):
        return ()
    causes = tuple(cause["message"] for cause in exc.details.get("causes") or ())
    return tuple(cause for cause in causes if not cause.startswith("error sending request for url"))

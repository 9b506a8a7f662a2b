"""No exception proves by its type that nothing was sent; only what lies below it does."""

import httpcore
import httpx
import pytest
from pyreqwest import exceptions as fast

from pipeline.maventa.failure import NOT_SENT, TransportFailureKind, classify


def fast_error(kind: type[fast.DetailedPyreqwestError], *causes: str) -> fast.DetailedPyreqwestError:
    return kind("connection error", {"causes": [{"message": cause} for cause in causes]})


@pytest.mark.parametrize(
    "exc",
    [
        httpx.ConnectError("x"),
        httpx.ConnectTimeout("x"),
        ConnectionRefusedError("x"),
        TimeoutError(),
        fast_error(fast.ConnectError, "client error (SendRequest)", "connection error"),
        fast_error(fast.ConnectTimeoutError, "operation timed out"),
        fast_error(fast.ConnectTimeoutError),
        fast_error(fast.ConnectError, "error sending request for url (http://x/client error (Connect))"),
        fast_error(fast.ConnectError, "not a client error (Connect)"),
        fast.ConnectError("x", {"causes": None}),
        fast.ClientClosedError("x", {"causes": None}),
        fast.PyreqwestError("x"),
        RuntimeError("x"),
    ],
    ids=repr,
)
def test_exception_without_causes_proves_nothing(exc: Exception) -> None:
    assert classify(exc) not in NOT_SENT


def test_older_error_lends_no_proof() -> None:
    exc = httpx.ReadError("a later request broke")
    exc.__context__ = httpcore.ConnectError("an earlier one found nobody")

    assert classify(exc) is TransportFailureKind.RESET


@pytest.mark.parametrize(
    ("causes", "kind"),
    [
        (("dns error", "failed to lookup address information"), TransportFailureKind.DNS),
        (("tcp connect error", "Connection refused (os error 111)"), TransportFailureKind.REFUSED),
        (("tcp connect error", "deadline has elapsed"), TransportFailureKind.CONNECT_TIMEOUT),
        (("operation timed out",), TransportFailureKind.CONNECT_TIMEOUT),
        (("invalid peer certificate: UnknownIssuer",), TransportFailureKind.TLS),
        (("tls handshake eof",), TransportFailureKind.TLS),
        (("tcp connect error", "Connection reset by peer (os error 104)"), TransportFailureKind.UNREACHABLE),
        (("something new",), TransportFailureKind.UNREACHABLE),
    ],
)
def test_fast_transport_that_never_connected_says_why(causes: tuple[str, ...], kind: TransportFailureKind) -> None:
    exc = fast_error(fast.ConnectError, "client error (Connect)", *causes)

    assert classify(exc) is kind
    assert kind in NOT_SENT

"""What each transport makes of a server that behaves badly: held here so that an upgrade that changes it is seen."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.domain.outcome import OutcomeKind
from pipeline.domain.streamed import Content, Streamed
from pipeline.maventa.failure import NOT_SENT, TransportFailureKind
from pipeline.maventa.fast_wire import FastWire
from pipeline.maventa.timeouts import Timeouts
from pipeline.maventa.verdict import Phase, judge_failure
from pipeline.maventa.wire import Answer, HttpxWire, Question, Wire
from tests.contract.maventa.rude_server import (
    CREATED_HEAD,
    GOOD,
    Behaviour,
    Connection,
    free_port,
    full_backlog,
    serve,
)

K = TransportFailureKind
TIMEOUTS = Timeouts(connect=1.0, read=0.5, write=0.5, pool=0.3, total=8.0)
SMALL = b"<invoice/>"
BIG = bytes(range(256)) * (20 * 1024 * 4)
PIECE = 1024 * 1024


async def in_pieces() -> AsyncIterator[bytes]:
    for at in range(0, len(BIG), PIECE):
        yield BIG[at : at + PIECE]


async def cut_off() -> AsyncIterator[bytes]:
    yield BIG[:PIECE]
    raise ConnectionResetError("the rest cannot be read")


STREAMED = Streamed(size=len(BIG), read=in_pieces)


def fast(url: str, timeouts: Timeouts = TIMEOUTS) -> Wire:
    return FastWire(base_url=url, timeouts=timeouts, max_connections=4)


def plain(url: str, timeouts: Timeouts = TIMEOUTS) -> Wire:
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=4), trust_env=False)
    return HttpxWire(base_url=url, transport=transport, timeouts=timeouts)


MakeWire = Callable[..., Wire]
both = pytest.mark.parametrize("make", [fast, plain], ids=["fast", "httpx"])


fast_only = pytest.mark.parametrize("make", [fast], ids=["fast"])
"""What the product needs of the transport it uses and httpx's own does otherwise."""


def upload(content: Content = SMALL) -> Question:
    return Question(method="POST", path="/v1/invoices", content=content, content_type="application/octet-stream")


async def ask(make: MakeWire, url: str, question: Question | None = None) -> Answer | TransportFailureKind:
    wire = make(url)
    try:
        return await wire.ask(question or upload())
    finally:
        await wire.aclose()


async def reset(c: Connection) -> None:
    await c.take_request()
    c.reset()


async def close(c: Connection) -> None:
    await c.take_request()
    c.close()


async def silence(c: Connection) -> None:
    await c.take_request()
    await c.stay_silent()


async def close_in_head(c: Connection) -> None:
    await c.take_request()
    await c.say(b"HTTP/1.1 201 Cre")
    c.close()


async def reset_in_head(c: Connection) -> None:
    await c.take_request()
    await c.say(b"HTTP/1.1 201 Cre")
    c.reset()


async def close_in_body(c: Connection) -> None:
    await c.take_request()
    await c.say(CREATED_HEAD + b"x" * 100)
    c.close()


async def close_late_in_body(c: Connection) -> None:
    await c.take_request()
    await c.say(CREATED_HEAD + b"x" * 150_000)
    c.close()


async def silence_in_body(c: Connection) -> None:
    await c.take_request()
    await c.say(CREATED_HEAD + b"x" * 100)
    await c.stay_silent()


async def silence_late_in_body(c: Connection) -> None:
    await c.take_request()
    await c.say(CREATED_HEAD + b"x" * 150_000)
    await c.stay_silent()


async def no_http(c: Connection) -> None:
    await c.take_request()
    await c.say(b"SSH-2.0-nothing\r\n\r\n")
    c.close()


async def reset_at_once(c: Connection) -> None:
    c.reset()


async def close_at_once(c: Connection) -> None:
    c.close()


async def reset_in_request(c: Connection) -> None:
    await c.reader.readexactly(20_000)
    c.reset()


async def never_read(c: Connection) -> None:
    # Stops the stream's own reading ahead, so that the socket's buffers fill up.
    c.writer.transport.pause_reading()
    await c.stay_silent()


@dataclass(frozen=True)
class Row:
    behaviour: Behaviour
    fast: set[K]
    httpx: set[K]
    content: Content = SMALL


# A close with unread bytes is a reset for TCP, and which of the two is seen first is for the kernel to say.
BROKEN = {K.RESET, K.CLOSED}
ROWS = [
    Row(reset, {K.RESET}, {K.RESET}),
    Row(close, {K.CLOSED}, {K.CLOSED}),
    Row(silence, {K.READ_TIMEOUT}, {K.READ_TIMEOUT}),
    Row(close_in_head, {K.CLOSED}, {K.CLOSED}),
    Row(reset_in_head, BROKEN, BROKEN),
    Row(close_in_body, {K.CLOSED}, {K.CLOSED}),
    Row(close_late_in_body, {K.CLOSED}, {K.CLOSED}),
    Row(silence_in_body, {K.READ_TIMEOUT}, {K.READ_TIMEOUT}),
    Row(silence_late_in_body, {K.READ_TIMEOUT}, {K.READ_TIMEOUT}),
    Row(no_http, {K.PROTOCOL}, {K.PROTOCOL}),
    Row(reset_at_once, BROKEN | {K.UNREACHABLE}, BROKEN),
    Row(close_at_once, BROKEN, BROKEN),
    Row(reset_in_request, BROKEN, BROKEN, BIG),
    Row(never_read, {K.READ_TIMEOUT}, {K.WRITE_TIMEOUT}, BIG),
    Row(reset_in_request, BROKEN, BROKEN, STREAMED),
    Row(never_read, {K.READ_TIMEOUT}, {K.WRITE_TIMEOUT}, STREAMED),
    Row(silence, {K.RESET}, {K.RESET}, Streamed(size=len(BIG), read=cut_off)),
]


@both
@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{row.behaviour.__name__}-{type(row.content).__name__}-{len(row.content)}" for row in ROWS]
)
def test_broken_exchange_is_in_doubt(make: MakeWire, row: Row) -> None:
    """Once a connection came about, nothing that breaks is taken for proof that nothing was sent."""

    async def run() -> Answer | K:
        async with serve(row.behaviour) as server:
            return await ask(make, server.url, upload(row.content))

    failure = asyncio.run(run())

    assert isinstance(failure, K)
    assert failure in (row.fast if make is fast else row.httpx)
    if failure is not K.UNREACHABLE:  # reset before it was known to be open: then nothing was sent
        assert failure not in NOT_SENT
        assert judge_failure(Phase.UPLOAD, failure).kind is OutcomeKind.IN_DOUBT


def unused() -> str:
    return f"http://127.0.0.1:{free_port()}"


@both
@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (unused, K.REFUSED),
        (lambda: "http://operator.invalid", K.DNS),
        (lambda: "http://255.255.255.255:9", K.UNREACHABLE),
    ],
    ids=["refused", "dns", "no route"],
)
def test_connection_that_never_came_is_unavailable(make: MakeWire, url: Callable[[], str], kind: K) -> None:
    """Where no connection came about the invoice was provably not sent, and the cause is named."""
    failure = asyncio.run(ask(make, url()))

    assert failure is kind
    assert judge_failure(Phase.UPLOAD, failure).kind is OutcomeKind.UNAVAILABLE


@both
def test_content_cut_off_arrives_nowhere(make: MakeWire) -> None:
    """A document whose rest cannot be read is never a whole request: the operator cannot take it."""

    async def run() -> int:
        async with serve(silence) as server:
            await ask(make, server.url, upload(Streamed(size=len(BIG), read=cut_off)))
            return len(server.requests)

    assert asyncio.run(run()) == 0


@both
def test_full_backlog_is_a_connect_timeout(make: MakeWire) -> None:
    """A server that never accepts has not seen the invoice."""
    with full_backlog() as url:
        assert asyncio.run(ask(make, url)) is K.CONNECT_TIMEOUT


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = folder / "pair.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@both
def test_unknown_certificate_gets_no_invoice(make: MakeWire, tmp_path: Path) -> None:
    """TLS is verified, and a handshake that failed proves that nothing was sent."""

    async def run() -> tuple[Answer | K, int]:
        async with serve(silence, tls=self_signed(tmp_path)) as server:
            return await ask(make, server.url), len(server.requests)

    assert asyncio.run(run()) == (K.TLS, 0)


@both
def test_plain_server_behind_https_gets_no_invoice(make: MakeWire) -> None:
    """A server that answers the handshake with something else, or not at all, has not seen the invoice."""

    async def talk(c: Connection) -> None:
        await c.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        c.close()

    async def run(behaviour: Behaviour) -> Answer | K:
        async with serve(behaviour) as server:
            return await ask(make, server.url.replace("http:", "https:"))

    assert asyncio.run(run(talk)) in {K.TLS, K.UNREACHABLE}
    assert asyncio.run(run(Connection.stay_silent)) is K.CONNECT_TIMEOUT


@both
def test_full_pool_is_not_sent(make: MakeWire) -> None:
    """A request that found no connection of ours never left us; the others go on."""

    async def run() -> tuple[list[Answer | K], int]:
        async with serve(silence) as server:
            wire = make(server.url)
            failures = await asyncio.gather(*(wire.ask(upload()) for _ in range(6)))
            await wire.aclose()
            return failures, len(server.requests)

    failures, arrived = asyncio.run(run())

    assert sorted(failures) == [K.POOL_TIMEOUT] * 2 + [K.READ_TIMEOUT] * 4
    assert arrived == 4


@fast_only
def test_places_in_the_pool_come_back(make: MakeWire) -> None:
    """However exchanges end, as many as before may follow."""

    async def fail(c: Connection) -> None:
        if len(c.server.requests) < 12:
            await close_late_in_body(c)
        else:
            while True:
                await c.take_request()
                await c.say(GOOD)

    async def run() -> list[Answer | K]:
        async with serve(fail) as server:
            wire = make(server.url)
            for _ in range(12):
                await wire.ask(upload())
            answers = await asyncio.gather(*(wire.ask(upload()) for _ in range(4)))
            await wire.aclose()
            return answers

    assert [answer.status for answer in asyncio.run(run()) if isinstance(answer, Answer)] == [200] * 4


@both
def test_request_on_a_dying_connection_is_not_repeated(make: MakeWire) -> None:
    """A kept connection that closes after the second request makes that one in doubt; it is not sent again."""

    async def second_dies(c: Connection) -> None:
        await c.take_request()
        if len(c.server.requests) == 1:
            await c.say(GOOD)
            await c.take_request()
        c.close()

    async def run() -> tuple[Answer | K, int]:
        async with serve(second_dies) as server:
            wire = make(server.url)
            await wire.ask(upload())
            second = await wire.ask(upload())
            await wire.aclose()
            return second, len(server.requests)

    assert asyncio.run(run()) == (K.CLOSED, 2)


@both
@pytest.mark.parametrize("content", [BIG, STREAMED], ids=["at hand", "streamed"])
def test_bytes_arrive_as_given(make: MakeWire, content: Content) -> None:
    """Twenty megabytes arrive byte for byte, with their length and not in chunks."""

    async def good(c: Connection) -> None:
        await c.take_request()
        await c.say(GOOD)

    async def run() -> tuple[Answer | K, bytes, bytes]:
        async with serve(good) as server:
            answer = await ask(make, server.url, upload(content))
            return answer, *server.requests[0]

    answer, head, body = asyncio.run(run())

    assert isinstance(answer, Answer)
    assert body == BIG
    assert b"transfer-encoding" not in head.lower()
    assert head.lower().count(b"content-length") == 1


@fast_only
def test_slow_reader_gets_the_time_to_write(make: MakeWire) -> None:
    """A big body on a slow line is not cut off by the timeout for the answer: bytes still move."""
    tick = TIMEOUTS.read / 8

    async def slow(c: Connection) -> None:
        await c.reader.readuntil(b"\r\n\r\n")
        left, loop = len(BIG), asyncio.get_running_loop()
        until = loop.time() + TIMEOUTS.read * 1.5
        while left:
            taken = len(await c.reader.read(min(left, 1_000_000)))
            if not taken:
                return
            left -= taken
            if loop.time() < until:
                await asyncio.sleep(tick)
        await c.say(GOOD)

    async def run() -> Answer | K:
        async with serve(slow) as server:
            return await ask(make, server.url, upload(BIG))

    assert isinstance(asyncio.run(run()), Answer)


@fast_only
def test_trickling_answer_ends_at_the_deadline(make: MakeWire) -> None:
    """An answer that never stops coming in ends with the deadline of the whole exchange."""
    short = Timeouts(connect=0.3, read=0.5, write=0.5, pool=0.3, total=1.0)

    async def trickle(c: Connection) -> None:
        await c.take_request()
        await c.say(CREATED_HEAD)
        while not c.server.over.is_set():
            await c.say(b"x")
            await asyncio.sleep(0.1)

    async def run() -> Answer | K:
        async with serve(trickle) as server:
            wire = make(server.url, short)
            try:
                return await wire.ask(upload())
            finally:
                await wire.aclose()

    # The fast transport may gather pieces until the read timeout; either way it ends, and is in doubt.
    assert asyncio.run(run()) in {K.DEADLINE, K.READ_TIMEOUT}


@both
def test_proxy_of_the_environment_is_ignored(make: MakeWire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invoices go to the operator, whatever the environment of the machine says."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused())

    async def good(c: Connection) -> None:
        await c.take_request()
        await c.say(GOOD)

    async def run() -> Answer | K:
        async with serve(good) as server:
            return await ask(make, server.url)

    assert isinstance(asyncio.run(run()), Answer)


def test_closing_in_the_middle_is_in_doubt() -> None:
    """A client closed under a running upload says so as a failure, not as a foreign error."""

    async def run() -> Answer | K:
        async with serve(silence) as server:
            wire = fast(server.url)
            running = asyncio.ensure_future(wire.ask(upload()))
            while not server.requests:  # noqa: ASYNC110 - the server counts, it signals nothing
                await asyncio.sleep(0.01)
            await wire.aclose()
            return await running

    failure = asyncio.run(run())

    assert isinstance(failure, K)
    assert failure not in NOT_SENT

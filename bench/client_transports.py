"""What the fast client is worth: the same uploads over pyreqwest and over httpx with its own transport.

A bare asyncio server in a process of its own answers each upload after 20 ms. Run: python -m bench.client_transports
"""

import argparse
import asyncio
import multiprocessing
import resource
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from uuid import UUID, uuid4

import httpx

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import OutcomeKind
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.schemas import UploadOptions
from pipeline.settings import Installation

ANSWER_SECONDS = 0.02
CONTENT = b"<Invoice>" + b"x" * 8000 + b"</Invoice>"
CREDENTIALS = CompanyCredentials(company_id=UUID(int=1), user_api_key="u", vendor_api_key="v")


async def _serve(port_to: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port_to.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            if b"/oauth2/token" in head:
                answer = b'{"access_token": "t", "token_type": "bearer", "expires_in": 3600}'
            else:
                await asyncio.sleep(ANSWER_SECONDS)
                uuid = body.split(b'name="uuid"\r\n\r\n', 1)[1][:36]
                answer = b'{"id": "' + uuid + b'", "status": "PENDING"}'
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: ")
            writer.write(str(len(answer)).encode() + b"\r\n\r\n" + answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _run_server(port_to: Connection) -> None:
    asyncio.run(_serve(port_to))


async def _uploads(client: MaventaClient, count: int, at_once: int) -> None:
    room = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with room:
            outcome = await client.upload(
                CREDENTIALS,
                uuid=uuid4(),
                content=CONTENT,
                filename="i.xml",
                content_type="application/xml",
                options=UploadOptions(),
            )
        if outcome.kind is not OutcomeKind.ACCEPTED:
            raise SystemExit(f"an upload ended as {outcome}")

    await asyncio.gather(*(one() for _ in range(count)))


async def _measure(
    url: str, transport: httpx.AsyncBaseTransport | None, *, count: int, at_once: int
) -> tuple[float, float]:
    def clock() -> datetime:
        return datetime.now(UTC)

    client = MaventaClient(
        hosts=OperatorHosts.of(Installation.TEST, override_url=url),
        token_store=InMemoryTokenStore(clock=clock),
        max_connections=at_once,
        transport=transport,
        clock=clock,
    )
    async with client:
        await _uploads(client, at_once, at_once)
        began, cpu = time.monotonic(), _cpu_seconds()
        await _uploads(client, count, at_once)
        return count / (time.monotonic() - began), (_cpu_seconds() - cpu) * 1000 / count


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=100)
    chosen = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_run_server, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    limits = httpx.Limits(max_connections=chosen.at_once, max_keepalive_connections=chosen.at_once)
    try:
        size = {"count": chosen.uploads, "at_once": chosen.at_once}
        own_rate, own_cpu = asyncio.run(_measure(url, httpx.AsyncHTTPTransport(limits=limits), **size))
        fast_rate, fast_cpu = asyncio.run(_measure(url, None, **size))
    finally:
        server.terminate()
        server.join()
    print(f"| transport, {chosen.at_once} at once | uploads/s | CPU ms per upload | ratio |\n|---|---|---|---|")
    print(f"| httpx's own | {own_rate:.0f} | {own_cpu:.2f} | 1.0 |")
    print(f"| pyreqwest | {fast_rate:.0f} | {fast_cpu:.2f} | {fast_rate / own_rate:.1f} |")


if __name__ == "__main__":
    main()

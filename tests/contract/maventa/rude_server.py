"""A server that takes a request whole and then behaves badly, one way at a time. Counts what arrived."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

Behaviour = Callable[["Connection"], Awaitable[None]]

CREATED_HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Connection:
    """One accepted connection, as seen by a behaviour."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: "RudeServer") -> None:
        self.reader = reader
        self.writer = writer
        self.server = server

    async def take_request(self) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        body = await self.reader.readexactly(length)
        self.server.requests.append((head, body))

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def stay_silent(self) -> None:
        await self.server.over.wait()


class RudeServer:
    """Where it listens and what arrived, request by request."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.over = asyncio.Event()
        self.url = ""


@contextlib.asynccontextmanager
async def serve(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RudeServer]:
    """Run a server of one behaviour; all its connections end with it."""
    rude = RudeServer()
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await behaviour(Connection(reader, writer, rude))
        with contextlib.suppress(OSError):
            writer.close()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.ensure_future(on_connection(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(start, "127.0.0.1", 0, ssl=tls)
    rude.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield rude
    finally:
        rude.over.set()
        server.close()
        if tasks:
            _, waiting = await asyncio.wait(tasks, timeout=2)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def full_backlog():
    """Yield a URL whose listener never accepts and whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"

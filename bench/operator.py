"""A lean stand-in for the operator: the simulator's books at a fraction of its CPU, for measuring what sends to it.

Answers token, upload, list and show by UUID, each after a set latency. It reads no invoice: every document is taken.
Run: python -m bench.operator --port 0 --latency-ms 100
"""

import argparse
import asyncio
import gc
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl
from uuid import uuid4

import uvloop

from bench.books import SCOPES, Books, Entry
from bench.form import FormError, read_upload

REASONS = {200: b"OK", 201: b"Created", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 422: b"No"}
IDS_LIMIT = 100
TICK_SECONDS = 0.001
CONTROL = "/_simulator/"
UNKNOWN = "unknown"
TOKEN_SECONDS = 3600

Answer = tuple[int, object]


class Operator:
    """One operator: its books and the answers that wait for their time."""

    def __init__(self, books: Books, *, latency_seconds: float, settle_seconds: float) -> None:
        self.books = books
        self._latency_seconds = latency_seconds
        self._settle_seconds = settle_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, asyncio.Transport, bytes]] = deque()

    def answer_later(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Send an answer when the latency is over. All wait equally long: one timer serves them all."""
        if not self._waiting:
            self._loop.call_later(self._latency_seconds, self._flush)
        self._waiting.append((self._loop.time() + self._latency_seconds, transport, answer))

    def _flush(self) -> None:
        waiting, now = self._waiting, self._loop.time() + TICK_SECONDS / 2
        while waiting and waiting[0][0] <= now:
            _, transport, answer = waiting.popleft()
            if not transport.is_closing():
                transport.write(answer)
        if waiting:
            self._loop.call_later(max(waiting[0][0] - self._loop.time(), TICK_SECONDS), self._flush)

    def ask(self, method: str, target: str, head: bytes, body: bytes) -> tuple[int, object]:
        """Do what one request asks for and return status and body; count the answer as the simulator does."""
        path, _, query = target.partition("?")
        if path == "/v1/invoices" and method == "POST":
            name, answer = path, self._upload(head, body)
        elif path == "/oauth2/token":
            name, answer = path, self._token(body)
        else:
            name, answer = self._read(method, path, query, head)
        self.books.requests[f"{name} {answer[0]}" if name == UNKNOWN else f"{method} {name} {answer[0]}"] += 1
        return answer

    def control(self, method: str, path: str) -> tuple[int, object]:
        """Answer what is asked about the books; counted nowhere, and without latency."""
        asked = path.removeprefix(CONTROL)
        orders = {"reset": self.books.reset, "mark": self.books.mark}
        if method == "POST" and asked in orders:
            orders[asked]()
            return 200, {}
        known: dict[str, object] = {"health": {"status": "ok"}}
        if asked == "ledger/totals":
            return 200, self.books.totals()
        if asked == "ledger":
            return 200, {"invoices": self.books.shown(), "totals": self.books.totals()}
        return (200, known[asked]) if asked in known else refused(404, "not_found", "No such endpoint")

    def _upload(self, head: bytes, body: bytes) -> Answer:
        company = self._company(head)
        if company is None:
            return UNAUTHORIZED
        try:
            upload = read_upload(body, header(head, b"content-type"))
        except FormError as exc:
            return refused(400, "invalid_parameters", "Request parameters are invalid", [str(exc)])
        uuid = upload.uuid or str(uuid4())
        entry = self.books.upload(uuid, company_id=company, content=upload.content, now=time.time())
        if entry is None:
            told = "An invoice with this uuid already exists"
            return refused(422, "document_duplicate_transmission_id", told, ["uuid is already used"])
        return 201, {"id": uuid, "status": "PENDING", "created_at": instant(entry.created_at)}

    def _token(self, body: bytes) -> Answer:
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        keys = (form.get("client_id", ""), form.get("client_secret", ""), form.get("vendor_api_key", ""))
        text = self.books.grant(*keys) if form.get("grant_type") == "client_credentials" else None
        if text is None:
            return refused(401, "invalid_credentials", "Invalid credentials")
        scope = form.get("scope") or SCOPES
        return 200, {"access_token": text, "token_type": "bearer", "expires_in": TOKEN_SECONDS, "scope": scope}

    def _read(self, method: str, path: str, query: str, head: bytes) -> tuple[str, Answer]:
        company = self._company(head)
        known: dict[str, Answer] = {
            "/oauth2/current": (200, {"company": {"id": company, "name": "Yritys Oy"}, "scopes": ["eui", "global"]}),
            "/v1/company/authorization": (200, {"auth_state": "SIGNED", "company_state": "VERIFIED"}),
        }
        one = path.startswith("/v1/invoices/")
        if method != "GET" or not (one or path in known or path == "/v1/invoices"):
            return UNKNOWN, refused(404, "not_found", "No such endpoint")
        if company is None:
            return "/v1/invoices/{id}" if one else path, UNAUTHORIZED
        if one:
            uuid, _, rest = path.removeprefix("/v1/invoices/").partition("/")
            return self._show(company, uuid, actions=rest == "actions")
        return path, known[path] if path in known else self._list(company, query)

    def _list(self, company: str, query: str) -> Answer:
        values = parse_qsl(query)
        if ("direction", "SENT") not in values:
            return 200, []
        uuids = [value for name, value in values if name in {"ids[]", "ids"}]
        if len(uuids) > IDS_LIMIT:
            return refused(
                400, "invalid_parameters", "Request parameters are invalid", ["ids has more than 100 values"]
            )
        return 200, [self._view(uuid, entry) for uuid, entry in self.books.of_company(company, uuids)]

    def _show(self, company: str, uuid: str, *, actions: bool) -> tuple[str, Answer]:
        name = "/v1/invoices/{id}/actions" if actions else "/v1/invoices/{id}"
        found = self.books.of_company(company, [uuid])
        if not found:
            return name, refused(404, "not_found", "Requested resource not found or you don't have access to it")
        return name, (200, [] if actions else self._view(*found[0]))

    def _view(self, uuid: str, entry: Entry) -> dict[str, object]:
        settled = self._settle_seconds and time.time() - entry.created_at >= self._settle_seconds
        status = "DELIVERED" if settled else "PENDING"
        return {"id": uuid, "status": status, "created_at": instant(entry.created_at)}

    def _company(self, head: bytes) -> str | None:
        return self.books.tokens.get(header(head, b"authorization")[len("Bearer ") :])


class Exchange(asyncio.Protocol):
    """One connection: requests one after the other, each with a body of a stated length."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        """Collect until a request is whole; most come whole in one or two pieces."""
        self._pieces.append(data)
        if len(data) < self._missing:
            self._missing -= len(data)
            return
        whole = data if len(self._pieces) == 1 else b"".join(self._pieces)
        while whole:
            used, self._missing = self._take(whole)
            if not used:
                break
            whole = whole[used:]
        self._pieces = [whole] if whole else []

    def _take(self, data: bytes) -> tuple[int, int]:
        """Answer the first request if it is whole; return its bytes, or 0 and how many are missing at least."""
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return 0, 1
        head = data[: head_end + 2]
        size = head_end + 4 + int(header(head, b"content-length") or 0)
        if len(data) < size:
            return 0, size - len(data)
        line = head[: head.index(b"\r\n")].decode("latin-1")
        method, target, _ = line.split(" ", 2)
        self._answer(method, target, head, data[head_end + 4 : size])
        return size, 0

    def _answer(self, method: str, target: str, head: bytes, body: bytes) -> None:
        if self._transport is None:
            return
        if target.startswith(CONTROL):
            self._transport.write(encoded(*self._operator.control(method, target.partition("?")[0])))
            return
        self._operator.answer_later(self._transport, encoded(*self._operator.ask(method, target, head, body)))


def header(head: bytes, name: bytes) -> bytes:
    """Return a header's value, empty when there is none; `name` in lower case."""
    lowered = head.lower()
    start = lowered.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


def refused(status: int, code: str, message: str, details: Sequence[str] = ()) -> Answer:
    """Say no in the operator's one error shape."""
    return status, {"code": code, "message": message, "details": list(details)}


UNAUTHORIZED = refused(401, "auth_unauthorized", "Access token is missing, invalid or expired")


def encoded(status: int, body: object) -> bytes:
    """Write an answer as HTTP/1.1."""
    content = json.dumps(body).encode()
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, REASONS[status], len(content)) + content


def instant(at: float) -> str:
    """Write an epoch time as the operator does."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def serve(*, port: int, latency_ms: float, settle_seconds: float, companies: int) -> None:
    """Listen on loopback until SIGTERM or SIGINT; say where in one line of JSON."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    books = Books(companies=companies)
    operator = Operator(books, latency_seconds=latency_ms / 1000, settle_seconds=settle_seconds)
    server = await loop.create_server(lambda: Exchange(operator), "127.0.0.1", port, backlog=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sys.stdout.write(json.dumps({"event": "operator_listening", "url": url}) + "\n")
    sys.stdout.flush()
    # The books only grow and hold no cycles: looking through them again and again would be the main cost.
    gc.disable()
    await stop.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="bench.operator", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--settle-seconds", type=float, default=0.0, help="until DELIVERED; 0: stays PENDING")
    parser.add_argument("--companies", type=int, default=2)
    options = parser.parse_args(arguments)
    uvloop.run(
        serve(
            port=options.port,
            latency_ms=options.latency_ms,
            settle_seconds=options.settle_seconds,
            companies=options.companies,
        )
    )


if __name__ == "__main__":
    main()

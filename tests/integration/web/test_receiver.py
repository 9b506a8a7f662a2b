"""The webhook receiver, a real process on a real database: what it takes, what it refuses, and what neither changes."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from tests.integration.storage.rows import WAITING_FOR_A_LOCK, change, query
from tests.integration.web.conftest import Receiver, Side

LIMIT = 64 * 1024
SECRET = "s" * 43
MALFORMED = {
    "nothing": b"",
    "no JSON": b"event=DOCUMENTS.INVOICE.FAILED",
    "cut off": b'{"event": "DOCUMENTS.INVOICE.FAI',
    "a list": b'[{"event": "x"}]',
    "a number": b"1",
    "null": b"null",
    "no event": b'{"event_data": {"invoice_id": "x"}}',
    "event is a number": b'{"event": 7, "event_data": {}}',
    "event is empty": b'{"event": " ", "event_data": {}}',
    "event is an object": b'{"event": {"a": 1}}',
    "data is a list": b'{"event": "x", "event_data": [1]}',
    "data is text": b'{"event": "x", "event_data": "y"}',
    "not UTF-8": b'{"event": "\xff\xfe"}',
    "UTF-16": '{"event": "x"}'.encode("utf-16"),
    "NaN": b'{"event": "x", "n": NaN}',
    "infinity": b'{"event": "x", "n": -Infinity}',
    "deep lists": b'{"event": "x", "a": ' + b"[" * 60_000,
    "deep objects": b'{"a":' * 13_000,
    "deep and closed": b'{"event": "x", "a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "NUL bytes": b"\0" * 100,
}
HARMLESS = {
    "no data": {"event": "DOCUMENTS.INVOICE.FAILED"},
    "null data": {"event": "DOCUMENTS.INVOICE.FAILED", "event_data": None},
    "no invoice": {"event": "COMPANY.PROFILE.CREATED", "event_data": {"id": "x", "profiles": ["y"]}},
    "id is no UUID": {"event": "x", "event_data": {"invoice_id": "1 OR 1=1"}},
    "id is a number": {"event": "x", "event_data": {"invoice_id": 10**60}},
    "id is a list": {"event": "x", "event_data": {"invoice_id": ["a"]}},
    "id with NUL and surrogate": {"event": "x\0\ud800", "event_data": {"invoice_id": "\0\udfff"}},
    "unknown id": {"event": "x", "event_data": {"invoice_id": str(uuid4())}},
}
UNTOUCHED = (
    "SELECT (SELECT max(id) FROM event) AS events, (SELECT array_agg(i ORDER BY id) FROM invoice AS i)::text AS i"
)


def test_hint_is_committed_before_the_answer(receiver: Receiver, side: Side) -> None:
    """204 means that the invoice is due for a look and its history says why; its state is as before."""
    answer = receiver.post(side.secret, side.hint())

    assert answer.status_code == 204
    assert side.is_due
    assert side.row.state == "accepted"
    assert side.hints == ["the operator hints DOCUMENTS.INVOICE.FAILED; asking it"]
    assert side.heard_at is not None


@pytest.mark.parametrize("state", ["delivered", "failed"])
def test_invoice_nobody_would_look_at_is_looked_at_again(receiver: Receiver, side: Side, state: str) -> None:
    """A hint works after the last planned look too: DELIVERED may turn FAILED, and a failure may be mended."""
    side.put_off(state, look=False)

    assert receiver.post(side.secret, side.hint()).status_code == 204

    assert side.is_due
    assert side.row.state == state


@pytest.mark.parametrize("state", ["queued", "sending", "waiting", "in_doubt", "held", "refused", "superseded"])
def test_hint_of_an_invoice_that_is_not_followed_changes_nothing(receiver: Receiver, side: Side, state: str) -> None:
    """What was not accepted, or is over, is not to be looked at because somebody says so."""
    side.put_off(state)
    before = query(side.database, UNTOUCHED)

    assert receiver.post(side.secret, side.hint()).status_code == 204

    assert query(side.database, UNTOUCHED) == before


def test_doubled_and_reordered_hints_add_nothing(receiver: Receiver, side: Side) -> None:
    """However often and in whichever order they come, at once or after each other, there is one entry and one look."""
    names = ["DOCUMENTS.INVOICE.FAILED", "DOCUMENTS.INVOICE.DELIVERED", "DOCUMENTS.INVOICE.DELIVERY_CONFIRMED"] * 20
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda name: receiver.post(side.secret, side.hint(event=name)).status_code, names))

    assert set(answers) == {204}
    assert len(side.hints) == 1
    assert side.is_due


def test_invoice_of_another_company_is_left_alone(receiver: Receiver, side: Side, other: Side) -> None:
    """The company is the one of the path; what the payload says of it is not believed."""
    before = query(side.database, UNTOUCHED)

    assert receiver.post(side.secret, other.hint()).status_code == 204
    assert query(side.database, UNTOUCHED) == before

    assert receiver.post(other.secret, other.hint(company_id=str(side.company))).status_code == 204
    assert other.is_due


@pytest.mark.parametrize("payload", HARMLESS.values(), ids=HARMLESS)
def test_webhook_without_an_invoice_of_ours_is_taken(
    receiver: Receiver, side: Side, payload: dict[str, object]
) -> None:
    """The operator need not send it again, and nothing changed."""
    before = query(side.database, UNTOUCHED)

    assert receiver.post(side.secret, payload).status_code == 204

    assert query(side.database, UNTOUCHED) == before


def test_forged_paths_all_look_alike(receiver: Receiver, side: Side) -> None:
    """A wrong secret, a secret with a slip, no secret and a wrong method get one and the same answer."""
    before = query(side.database, UNTOUCHED)
    slip = side.secret[:-1] + ("x" if side.secret[-1] != "x" else "y")
    long = "a" * 20_000

    answers = [receiver.post(secret, side.hint()) for secret in (SECRET, slip, side.secret.upper(), "", "%00", long)]
    answers += [receiver.get(f"/webhooks/{side.secret}"), receiver.get("/"), receiver.get("/webhooks/" + SECRET)]
    answers += [receiver.post(side.secret + "/", side.hint())]

    assert {answer.status_code for answer in answers} == {404}
    assert len({(answer.text, answer.headers["content-type"]) for answer in answers}) == 1
    assert query(side.database, UNTOUCHED) == before


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_body_is_refused(receiver: Receiver, side: Side, body: bytes) -> None:
    """Whatever is no webhook gets 400 and leaves no trace; the receiver goes on."""
    before = query(side.database, UNTOUCHED)

    assert receiver.post(side.secret, body).status_code == 400

    assert query(side.database, UNTOUCHED) == before
    assert receiver.get("/health").status_code == 200


def test_huge_numbers_are_not_computed(receiver: Receiver, side: Side) -> None:
    """A number of 60,000 digits costs nothing: numbers are never read."""
    body = json.dumps(side.hint()).encode().replace(b'{"event"', b'{"n": ' + b"9" * 60_000 + b', "event"', 1)

    assert receiver.post(side.secret, body).status_code == 204
    assert side.is_due


def test_words_of_the_event_are_made_fit_to_show(receiver: Receiver, side: Side) -> None:
    """What stands in a history cannot move a cursor, hide, or go on for pages."""
    receiver.post(side.secret, side.hint(event="a\n\x1b[31m\0b\u202e" + "c" * 5000))

    assert len(side.hints) == 1
    assert side.hints[0].isprintable()
    assert len(side.hints[0]) < 200


def test_announced_size_is_refused_before_it_comes(receiver: Receiver, side: Side) -> None:
    """A large Content-Length gets 413 although not one byte of the body was sent."""
    with receiver.connect() as client:
        client.sendall(head(side, f"Content-Length: {LIMIT + 1}"))

        assert answer_of(client).startswith(b"HTTP/1.1 413 ")


def test_size_is_counted_where_it_is_not_announced(receiver: Receiver, side: Side) -> None:
    """A chunked body is cut off at the limit, and the connection ends however much more would come."""
    with receiver.connect() as client:
        client.sendall(head(side, "Transfer-Encoding: chunked"))
        client.sendall(b"%x\r\n" % (LIMIT + 1) + b"[" * (LIMIT + 1) + b"\r\n")

        assert answer_of(client).startswith(b"HTTP/1.1 413 ")

    sent = 0
    with receiver.connect() as client, contextlib.suppress(OSError):
        client.sendall(head(side, "Transfer-Encoding: chunked"))
        for _ in range(4000):
            client.sendall(b"10000\r\n" + b"[" * 65536 + b"\r\n")
            sent += 65536
    assert sent < 100_000_000
    assert not side.hints


def test_largest_body_allowed_is_read(receiver: Receiver, side: Side) -> None:
    """The limit itself is within the limit."""
    body = json.dumps(side.hint()).encode()

    assert receiver.post(side.secret, body + b" " * (LIMIT - len(body))).status_code == 204


def test_two_lengths_are_no_request(receiver: Receiver, side: Side) -> None:
    """What two readers would read differently is refused, and nothing behind it is taken for a second request."""
    body = json.dumps(side.hint()).encode()
    with receiver.connect() as client:
        client.sendall(head(side, "Content-Length: 3", f"Content-Length: {len(body)}") + body + head(side))

        assert answer_of(client).count(b"HTTP/1.1") == 1
    assert not side.hints


def test_slow_body_is_given_up(receiver: Receiver, side: Side) -> None:
    """A body that drips gets 408 after some seconds, headers that never end are cut off; meanwhile others are served."""
    began = time.monotonic()
    with receiver.connect() as endless, receiver.connect() as client:
        endless.sendall(head(side)[:-2])
        client.sendall(head(side, "Content-Length: 1000"))
        stop = threading.Event()
        dripping = threading.Thread(target=drip, args=(client, stop))
        dripping.start()

        assert receiver.post(side.secret, side.hint()).status_code == 204
        answer = answer_of(client)
        stop.set()
        dripping.join()
        assert answer_of(endless) == b""

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 5 < time.monotonic() - began < 28


def test_database_that_goes_away_costs_503_and_no_restart(receiver: Receiver, side: Side) -> None:
    """While the database refuses, nothing is acknowledged; when it is back, the same process takes hints again."""
    assert receiver.get("/health").status_code == 200
    with closed(side):
        assert receiver.post(side.secret, side.hint()).status_code == 503
        assert receiver.get("/health").status_code == 503
    assert not side.hints

    assert receiver.post(side.secret, side.hint()).status_code == 204
    assert receiver.get("/health").status_code == 200
    assert len(side.hints) == 1


def test_lock_that_nobody_releases_ends_in_503(receiver: Receiver, side: Side) -> None:
    """A database that answers too late counts as away; the hint that comes again is stored once."""
    with side.database.transaction() as session:
        session.connection().exec_driver_sql(f"SELECT FROM invoice WHERE id = '{side.invoice_id}' FOR UPDATE")

        assert receiver.post(side.secret, side.hint()).status_code == 503
        assert receiver.get("/health").status_code == 200
        assert not query(side.database, WAITING_FOR_A_LOCK)

    assert receiver.post(side.secret, side.hint()).status_code == 204
    assert len(side.hints) == 1


def test_log_holds_neither_secret_nor_body(receiver: Receiver, side: Side) -> None:
    """What was posted and where appears in no line, whether it was taken, refused or failed."""
    receiver.post(side.secret, side.hint(event="TOLD-BY-THE-OPERATOR"))
    receiver.post(side.secret, b"TOLD-BY-THE-OPERATOR")
    receiver.post(side.secret, b"[" * LIMIT)
    with closed(side):
        receiver.post(side.secret, side.hint(event="TOLD-BY-THE-OPERATOR"))

    written = receiver.log.read_text()
    assert "503" in written
    assert side.secret not in written
    assert "TOLD-BY-THE-OPERATOR" not in written


def test_hint_heard_long_ago_is_noted_anew(receiver: Receiver, side: Side) -> None:
    """When the operator was last heard is kept up, hint for hint or near enough."""
    change(side.database, "UPDATE webhook SET heard_at = '2020-01-01'")

    receiver.post(side.secret, side.hint())

    assert side.heard_at.year > 2020


def head(side: Side, *headers: str) -> bytes:
    lines = [f"POST /webhooks/{side.secret} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def answer_of(client: socket.socket) -> bytes:
    """Read until the receiver closes, which it must."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            answer += part
    return answer


def drip(client: socket.socket, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        with contextlib.suppress(OSError):
            client.sendall(b" ")


@contextlib.contextmanager
def closed(side: Side) -> Iterator[None]:
    """Shut the database and end every connection to it."""
    url, name = side.database.engine.url, side.database.engine.url.database
    side.database.close()
    address = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())

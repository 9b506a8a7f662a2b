"""What the containers' health check finds, on a real Valkey and a real HTTP server."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import redis

from pipeline.embedded.valkey import EmbeddedValkey
from pipeline.settings import Settings
from workers.app import configuration

SCRIPT = Path(__file__).parents[3] / "deploy" / "healthcheck.py"
LINE = "id=3 addr={addr} laddr=10.0.0.2:6379 fd=8 name={name} age=9 idle={idle} flags=N db=0 cmd=brpop"


def load():
    spec = importlib.util.spec_from_file_location("healthcheck", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


healthcheck = load()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey") / "server")
    with server:
        yield server


@pytest.fixture
def connection(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(valkey.url, client_name=healthcheck.CLIENT_NAME)
    client.ping()
    yield client
    client.close()


def run(*arguments: str, url: str = "") -> int:
    return healthcheck.main(list(arguments), {"POSTILJON_BROKER_URL": url})


def test_container_is_healthy_when_the_broker_heard_it(valkey: EmbeddedValkey, connection: redis.Redis) -> None:
    """A worker or beat that spoke to the broker of late is healthy."""
    assert run("broker", "30", url=valkey.url) == 0


def test_container_is_ill_when_the_broker_knows_no_connection(valkey: EmbeddedValkey, capsys) -> None:
    """The check's own connection does not count as a sign of life."""
    assert run("broker", "30", url=valkey.url) == 1
    assert "no connection from here" in capsys.readouterr().out


def test_container_is_ill_when_it_was_silent_for_too_long(
    valkey: EmbeddedValkey, connection: redis.Redis, capsys
) -> None:
    """A connection that is open but says nothing is that of a loop that hangs."""
    assert run("broker", "-1", url=valkey.url) == 1
    assert "has heard nothing from here" in capsys.readouterr().out


def test_subscription_is_no_sign_of_life(valkey: EmbeddedValkey, capsys) -> None:
    """What the broker says to a hanging worker, as Flower's questions do, does not make it healthy."""
    with (
        redis.Redis.from_url(valkey.url, client_name=healthcheck.CLIENT_NAME) as client,
        client.pubsub() as subscription,
    ):
        subscription.subscribe("questions")
        subscription.get_message(timeout=5)

        assert run("broker", "30", url=valkey.url) == 1

    assert "no connection from here" in capsys.readouterr().out


def test_wrong_password_is_told_in_one_line(valkey: EmbeddedValkey, capsys) -> None:
    assert run("broker", "30", url=f"redis://:wrong@127.0.0.1:{valkey.port}/0") == 1
    assert capsys.readouterr().out.startswith("the broker refused: WRONGPASS")


@pytest.mark.parametrize(
    "arguments", [["broker", "30"], ["broker"], ["broker", "soon"], [], ["http", "http://127.0.0.1:1/"]], ids=str
)
def test_what_cannot_be_checked_is_ill(arguments: list[str]) -> None:
    assert run(*arguments) == 1


@pytest.mark.parametrize(
    ("clients", "idle"),
    [
        ([], None),
        ([("10.0.0.5:1", "postiljon", 7), ("10.0.0.5:2", "postiljon", 40)], 7),
        ([("10.0.0.6:1", "postiljon", 0)], None),
        ([("10.0.0.5:1", "", 0)], None),
        ([("10.0.0.55:1", "postiljon", 0)], None),
    ],
    ids=["nobody", "the liveliest counts", "another container", "not ours", "address that only begins alike"],
)
def test_only_our_named_connections_from_here_count(clients, idle) -> None:
    lines = "\n".join(LINE.format(addr=addr, name=name, idle=seconds) for addr, name, seconds in clients)

    assert healthcheck.least_idle(lines, host="10.0.0.5") == idle


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (204, 1), (401, 1), (500, 1)])
def test_page_is_healthy_when_it_answers_200(status: int, exit_status: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()

        assert run("http", f"http://127.0.0.1:{server.server_port}/") == exit_status

        thread.join()


def test_check_needs_nothing_installed() -> None:
    """It imports the standard library alone, so each check costs some hundredths of a second."""
    imported = {
        line.split()[1].partition(".")[0]
        for line in SCRIPT.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }

    assert imported <= sys.stdlib_module_names


def test_name_is_the_one_workers_give_their_connections() -> None:
    """The check looks for the very name that workers/app.py sets."""
    options = configuration(Settings(broker_url="redis://broker"))["broker_transport_options"]

    assert options["client_name"] == healthcheck.CLIENT_NAME

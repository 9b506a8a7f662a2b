"""The embedded PostgreSQL and Valkey, really started, stopped and killed."""

import os
import signal
import socket
import stat
import subprocess
import sys

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.liveness import command_line, started, wait_until
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.valkey import EmbeddedValkey


def query(server, statement):
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def client(server):
    return redis.Redis.from_url(server.url, socket_timeout=5)


def kill_and_wait(server):
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: server.pid is None, seconds=10)


def test_postgres_starts_with_the_promised_settings(postgres):
    postgres.start()

    names = ("server_encoding", "TimeZone", "synchronous_commit", "listen_addresses", "max_connections", "fsync")
    found = {name: query(postgres, f"SHOW {name}")[0] for name in names}

    assert found == {
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "synchronous_commit": "on",
        "listen_addresses": "127.0.0.1",
        "max_connections": "100",
        "fsync": "off",
    }
    assert query(postgres, "SELECT lower('ÄÖÅ')")[0] == "äöå"


def test_durable_postgres_syncs_to_disk(tmp_path):
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server, "SHOW fsync")[0] == "on"


def test_postgres_keeps_its_rows_and_port_over_a_restart(postgres):
    postgres.start()
    query(postgres, "CREATE TABLE letter AS SELECT 42 AS number")
    port = postgres.port

    postgres.stop()
    postgres.start()

    assert query(postgres, "SELECT number FROM letter") == (42,)
    assert postgres.port == port


def test_postgres_recovers_after_kill_9(postgres):
    postgres.start()
    query(postgres, "CREATE TABLE letter AS SELECT 42 AS number")

    kill_and_wait(postgres)
    postgres.start()

    assert query(postgres, "SELECT number FROM letter") == (42,)


def test_postgres_ignores_a_pid_file_that_names_a_stranger(postgres):
    postgres.start()
    note = postgres.data / "postmaster.pid"
    content = note.read_text()
    postgres.stop()

    owner = postgres.data.stat().st_uid
    # Of the server's own user: PostgreSQL itself already sees through a stranger of another user.
    stranger = subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None)
    try:
        note.write_text("\n".join([str(stranger.pid), *content.split("\n")[1:]]))
        if os.geteuid() == 0:
            os.chown(note, owner, owner)
        postgres.start()

        assert query(postgres, "SELECT 1") == (1,)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_postgres_takes_another_port_when_its_own_is_taken(postgres):
    postgres.start()
    port = postgres.port
    postgres.stop()

    with socket.create_server(("127.0.0.1", port)):
        postgres.start()

        assert postgres.port != port
        assert query(postgres, "SELECT 1") == (1,)


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey], ids=["postgres", "valkey"])
def test_start_survives_losing_the_race_for_its_port(kind, tmp_path):
    thieves = []

    class Robbed(kind):
        def _configure(self):
            super()._configure()
            if not thieves:
                thieves.append(socket.create_server(("127.0.0.1", self.port)))

    with Robbed(tmp_path) as server, thieves[0]:
        assert server.port != thieves[0].getsockname()[1]
        assert server.is_ready()


def test_two_instances_of_each_run_side_by_side(tmp_path):
    with (
        EmbeddedPostgres(tmp_path / "a", durable=False) as first,
        EmbeddedPostgres(tmp_path / "b", durable=False) as second,
        EmbeddedValkey(tmp_path / "c") as third,
        EmbeddedValkey(tmp_path / "d") as fourth,
    ):
        client(third).set("where", "third")

        assert len({first.port, second.port, third.port, fourth.port}) == 4
        assert query(first, "SELECT 1") == query(second, "SELECT 1")
        assert client(fourth).get("where") is None


def test_a_second_start_in_the_same_directory_is_refused(valkey):
    valkey.start()

    with pytest.raises(EmbeddedServiceError, match="in use by another running process"):
        EmbeddedValkey(valkey.directory.path).start()

    assert valkey.is_ready()


def test_starting_twice_keeps_the_same_server(valkey):
    pid = valkey.start().pid

    assert valkey.start().pid == pid


def test_valkey_keeps_its_messages_over_restart_and_kill_9(valkey):
    valkey.start()
    client(valkey).set("letter", "42")
    client(valkey).waitaof(1, 0, 5000)

    kill_and_wait(valkey)
    valkey.start()
    after_kill = client(valkey).get("letter")
    valkey.stop()
    valkey.start()

    assert (after_kill, client(valkey).get("letter")) == (b"42", b"42")
    assert client(valkey).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_neither_server_lets_anybody_in_without_the_password(postgres, valkey):
    postgres.start()
    valkey.start()

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=postgres.port, user="postiljon", password="guess", dbname="postiljon")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)).ping()


def test_passwords_are_private_and_not_in_any_command_line(postgres, valkey):
    for server in (postgres.start(), valkey.start()):
        path = server.directory.path / "password"

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(server.directory.path.stat().st_mode) == 0o700
        assert server.directory.password() not in command_line(server.pid)


def test_stop_leaves_no_process(postgres, valkey):
    pids = [server.start().pid for server in (postgres, valkey)]

    postgres.stop()
    valkey.stop()
    valkey.stop()

    assert [started(pid) for pid in pids] == [None, None]


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey], ids=["postgres", "valkey"])
def test_a_file_in_the_place_of_the_directory_is_one_clear_line(kind, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedServiceError) as caught:
        kind(tmp_path / "file").start()

    assert "\n" not in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


def test_data_of_another_version_is_one_clear_line(postgres):
    postgres.data.mkdir(parents=True)
    (postgres.data / "PG_VERSION").write_text("15\n")

    with pytest.raises(EmbeddedServiceError, match="was made by PostgreSQL 15 and this is 18"):
        postgres.start()


def test_damaged_data_is_one_clear_line_and_nothing_runs(postgres):
    postgres.start()
    postgres.stop()
    (postgres.data / "global" / "pg_control").unlink()

    with pytest.raises(
        EmbeddedServiceError, match=r"PostgreSQL in .* ended with status \d+: .*could not open file"
    ) as caught:
        postgres.start()

    assert "\n" not in str(caught.value)
    assert postgres.pid is None


def test_an_interrupted_first_start_is_begun_anew(postgres):
    draft = postgres.directory.path / "data.new"
    draft.mkdir(parents=True)
    (draft / "half").write_text("written")

    postgres.start()

    assert query(postgres, "SELECT 1") == (1,)
    assert not draft.exists()


ORPHANING = """
import signal, sys
from pathlib import Path
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.valkey import EmbeddedValkey
servers = EmbeddedPostgres(Path(sys.argv[1]) / "pg", durable=False).start(), EmbeddedValkey(Path(sys.argv[1]) / "vk").start()
print(*(server.pid for server in servers), flush=True)
signal.pause()
"""


def test_servers_end_with_the_process_that_started_them(tmp_path):
    """A test run or a program that is killed with -9 leaves no server behind, even without a supervisor."""
    parent = subprocess.Popen([sys.executable, "-c", ORPHANING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in parent.stdout.readline().split()]

    parent.kill()
    parent.communicate()

    assert len(pids) == 2
    assert wait_until(lambda: [started(pid) for pid in pids] == [None, None], seconds=10)

"""`postiljon send` in a real process that is killed or interrupted in the middle, and run again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.integration.cli.conftest import Shell, finvoice

COMMAND = "from pipeline.cli.main import build_cli; build_cli(lambda: None)()"
COUNT = 3000
DEADLINE_SECONDS = 240.0
"""Three thousand documents take a second or two each time, and minutes beside other work."""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "invoices"
    place.mkdir()
    for number in range(COUNT):
        (place / f"{number:05}.xml").write_bytes(finvoice(str(number)))
    return place


@contextmanager
def sending(*words: str, **given: object) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", COMMAND, "send", "--company", "demo", *words]
    # No pipe for what is told: nobody would read it, and the command would wait for somebody who does.
    process = subprocess.Popen(command, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **given})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def number_in(database_url: str, table: str = "invoice") -> int:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


def wait_for(database_url: str, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while number_in(database_url) < count and process.poll() is None:
        assert time.monotonic() < deadline, "nothing was submitted in time"
        time.sleep(0.01)


def uuids(told: Path) -> list[str]:
    return [json.loads(line)["uuid"] for line in told.read_text().splitlines() if line.endswith("}")]


def test_kill_nine_in_the_middle_loses_and_doubles_nothing(
    shell: Shell, folder: Path, database_url: str, tmp_path: Path
):
    """Killed again and again at random points, the same command ends with each document in once and a whole answer."""
    chance, told = random.Random(os.getpid()), tmp_path / "verdicts.ndjson"
    words = (str(folder), "--batch", "night", "--verdicts", str(told))

    for _ in range(4):
        with sending(*words) as process:
            wait_for(database_url, number_in(database_url) + chance.choice([0, 1, 700]), process)
            time.sleep(chance.random() / 3)
            process.kill()
        # What was told is in the database, whatever came after.
        with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
            known = uuids(told) if told.exists() else []
            row = connection.execute("SELECT count(*) FROM invoice WHERE id = ANY(%s::uuid[])", (known,)).fetchone()
            assert row == (len(known),)
    answer = shell.json("send", *words, "--company", "demo")

    assert answer["queued"] + answer["known"] == COUNT == len(set(uuids(told)))
    assert answer["refused"] == 0
    assert [number_in(database_url, table) for table in ("invoice", "event", "document", "batch")] == [COUNT] * 3 + [1]


def test_no_process_is_left_behind_by_a_killed_command(shell: Shell, folder: Path, database_url: str):
    """The processes that inspect documents end when the one they work for is gone, however it went."""
    with sending(str(folder)) as process:
        wait_for(database_url, 1500, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()

    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a process outlived the command"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_ctrl_c_ends_after_the_group_in_hand_and_says_so(
    shell: Shell, folder: Path, database_url: str, tmp_path: Path, number: signal.Signals
):
    """Interrupted, everything told is stored and everything stored is told; the same command goes on from there."""
    told, out, errors = (tmp_path / name for name in ("verdicts.ndjson", "out", "errors"))

    with out.open("wb") as stdout, errors.open("wb") as stderr:
        words = (str(folder), "--json", "--verdicts", str(told))
        with sending(*words, stdout=stdout, stderr=stderr) as process:
            wait_for(database_url, 1, process)
            process.send_signal(number)
            assert process.wait(timeout=DEADLINE_SECONDS) == 128 + number

    answer = json.loads(out.read_text())
    assert answer["interrupted"] is True
    done = number_in(database_url)
    assert 0 < done < COUNT
    assert answer["queued"] == len(answer["files"]) == len(uuids(told)) == done
    assert f"{done:,} are in; the same command goes on" in errors.read_text()
    again = shell.json("send", str(folder), "--company", "demo")
    assert (again["known"], again["queued"]) == (done, COUNT - done)


def test_ctrl_c_ends_a_wait_for_stdin(shell: Shell, database_url: str):
    """A manifest that comes slowly is not waited for once a person has had enough."""
    with sending("--manifest", "-", stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not _handles_ctrl_c(process.pid):
            assert time.monotonic() < deadline, "it never began"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=DEADLINE_SECONDS) == 130


def _handles_ctrl_c(pid: int) -> bool:
    # SIGTERM has a handler of ours from the moment on that both have one.
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

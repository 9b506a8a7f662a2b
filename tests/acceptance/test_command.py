"""`postiljon demo` as a person runs it: its answer, its exit status, its errors, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from pipeline.cli.stack import POSTILJON
from pipeline.embedded.liveness import wait_until

from .papers import PROJECT, corpus_files, zips_of
from .processes import processes_of

FIELDS = {"submitted", "accepted", "delivered", "failed", "open", "timeouts_survived", "seconds", "operator"}
COUNTED_AT_THE_OPERATOR = {"held", "doubled", "missing", "altered"}
DEMO_SECONDS = 240
NOT_ALL = 1


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where temporary folders of the command are made, so that what it leaves can be told from others' work."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_demo_sends_published_invoices_and_zips(place: Path, tmp_path: Path):
    """On an ordinary day all 40 published invoices and ZIPs of them are held once each; the answer is one object."""
    files = corpus_files()
    zips = list(zips_of(files, tmp_path / "zips"))

    done = demo(place, "--from", files[0].parent, "--from", zips[0].parent, "--faults", "everyday", "--json")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert set(answer) >= FIELDS
    assert set(answer["operator"]) == COUNTED_AT_THE_OPERATOR
    total = len(files) + len(zips)
    assert (answer["submitted"], answer["accepted"], answer["open"]) == (total, total, 0)
    assert answer["delivered"] + answer["failed"] == total
    assert answer["operator"] == {"held": total, "doubled": 0, "missing": 0, "altered": 0}
    assert answer["seconds"] > 0
    assert processes_of(place) == []
    assert list(place.iterdir()) == []


def test_demo_for_a_person_says_what_became_of_them(place: Path):
    """Without --json the summary counts at the operator in words and says what to try next."""
    done = demo(place, "--invoices", "9", "--faults", "lying-500")

    assert done.returncode == 0, done.stderr
    for words in (
        "invoices submitted",
        "accepted by the operator",
        "delivered",
        "timeouts survived",
        "doubled",
        "missing",
    ):
        assert words in done.stdout
    assert "Try next" in done.stdout
    assert processes_of(place) == []


def test_unknown_fault_script_is_named(place: Path):
    """A fault script nobody knows: one line that names it and lists those there are; nothing keeps running."""
    done = demo(place, "--faults", "tempest", "--json")

    assert done.returncode != 0
    assert done.stdout == ""
    assert "tempest" in only_line(done)
    assert "everyday" in only_line(done)
    assert processes_of(place) == []


def test_folder_without_invoices_is_an_error(place: Path, tmp_path: Path):
    """A folder in which there is no invoice is named, in clear lines and with a status that is not success."""
    empty = tmp_path / "empty"
    empty.mkdir()

    done = demo(place, "--from", empty, "--json")

    assert done.returncode == NOT_ALL
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert all(line.startswith("error: ") for line in lines), done.stderr
    assert str(empty) in lines[0]
    assert "no invoice" in lines[-1]
    assert processes_of(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_ended_demo_leaves_nothing_running(place: Path, number: signal.Signals):
    """However the demo is ended in the middle, nothing of it runs on."""
    command = subprocess.Popen(
        [*POSTILJON, "demo", "--invoices", "400", "--faults", "accept-then-silence"],
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        # A test run that was started in the background ignores SIGINT, and so would its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    try:
        # Flower comes last: everything else runs by then.
        working = wait_until(lambda: any("flower" in words for words in processes_of(place)), seconds=60)
        assert working, f"the demo did not come up: {processes_of(place)}"

        command.send_signal(number)

        command.wait(60)
    finally:
        command.kill()
        command.wait()
    assert wait_until(lambda: not processes_of(place), seconds=30), f"still running: {processes_of(place)}"


def demo(place: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    words = [*POSTILJON, "demo", *map(str, arguments)]
    return subprocess.run(
        words, env=environment(place), capture_output=True, text=True, timeout=DEMO_SECONDS, check=False, cwd=PROJECT
    )


def environment(place: Path) -> dict[str, str]:
    """A home of its own, and everything temporary in one place."""
    return {**os.environ, "TMPDIR": str(place), "HOME": str(place.parent), "PYTHONPATH": str(PROJECT)}


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that failed."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]

"""`postiljon chaos` as a person runs it: the proof, its exit status when it fails, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.stack import POSTILJON
from pipeline.embedded.liveness import wait_until

from .papers import PROJECT
from .processes import processes_of

CHAOS_SECONDS = 240
STORM_SECONDS = 1200
"""One round of a storm takes 100; a machine that does other things as well needs several."""
LEAST_KINDS = 10
NOT_ALL, USAGE, INTERRUPTED = 1, 2, 130

SHORT = """
version = 1
faults = "everyday"
submit_seconds = 6
round_seconds = 8
rounds = 1

[[strike]]
kind = "kill-child"
of = ["send"]
times = 2

[[strike]]
kind = "kill-worker"
of = ["pump"]
times = 1

[[strike]]
kind = "kill-beat"
times = 1

[[strike]]
kind = "lose-valkey"
times = 1

[[strike]]
kind = "restart-postgres"
times = 1

[[strike]]
kind = "expire-tokens"
times = 1
"""
DOUBLING = """
version = 1
faults = "accept-then-silence"
submit_seconds = 0
round_seconds = 1
rounds = 1

[knobs]
hold_duplicates = true
list_lag_seconds = 15
show_lag_seconds = 15
"""
CALM = """
version = 1
submit_seconds = 0
round_seconds = 1
rounds = 1
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where temporary folders of the command are made, so that what it leaves can be told from others' work."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_two_hundred_invoices_go_once_through_a_short_chaos(place: Path, tmp_path: Path):
    """Worker, pump, beat, Valkey and PostgreSQL die while 200 invoices are sent: none is lost, doubled or altered."""
    done = chaos(place, plan(tmp_path, SHORT), "--invoices", "200", "--companies", "4", "--seed", "3", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert (answer["lost"], answer["doubled"], answer["altered"]) == (0, 0, 0)
    assert (answer["submitted"], answer["accepted"], answer["open"]) == (200, 200, 0)
    assert answer["delivered"] + answer["failed"] == 200
    # A strike that finds its target down already is not counted as struck.
    strikes = ("kill-child", "kill-worker", "kill-beat", "lose-valkey", "restart-postgres", "expire-tokens")
    assert sum(answer["struck"].get(kind, 0) + answer["missed"].get(kind, 0) for kind in strikes) >= 7
    assert sum(answer["struck"].get(kind, 0) > 0 for kind in strikes) >= 4, answer["struck"]
    assert any(name.startswith("operator ") for name in answer["struck"])
    assert answer["p95_seconds"] > 0
    assert processes_of(place) == []
    assert list(place.iterdir()) == []


@pytest.mark.timeout(STORM_SECONDS)
def test_three_thousand_invoices_go_once_through_a_storm(place: Path):
    """Every kind of strike and of operator fault at once: nothing lost, doubled or altered, and everything at rest."""
    asked = ("--invoices", "3000", "--companies", "8", "--seed", "11", "--minutes", "18", "--json")

    done = chaos(place, "storm", *asked, seconds=STORM_SECONDS - 20)

    answer = json.loads(done.stdout)
    assert (answer["lost"], answer["doubled"], answer["altered"]) == (0, 0, 0), answer["wrong"]
    assert answer["unsettled"] is None, done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert answer["submitted"] == 3000
    struck = {name for name in answer["mid_flight"] if not name.startswith("operator ")}
    assert len(struck) >= LEAST_KINDS, answer["mid_flight"]
    assert sum(name.startswith("kill at ") for name in answer["struck"]) >= 3, answer["struck"]
    assert len(answer["mid_flight"]) - len(struck) >= LEAST_KINDS, answer["mid_flight"]
    assert processes_of(place) == []
    assert list(place.iterdir()) == []


def test_own_waits_rules_and_limits_are_in_force(place: Path, tmp_path: Path):
    """A user's own settings count: with two uploads a second, 12 invoices take more than 5 s; addresses do not count."""
    own = tmp_path / "own.env"
    own.write_text("POSTILJON_UPLOADS_PER_SECOND=2\nPOSTILJON_DATABASE_URL=postgresql://elsewhere/real\n")

    done = chaos(place, plan(tmp_path, CALM), "--settings", str(own), "--invoices", "12", "--companies", "2", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["accepted"] == 12
    assert answer["p95_seconds"] > 4
    assert "POSTILJON_DATABASE_URL" in done.stderr


def test_operator_that_holds_twice_is_found_out(place: Path, tmp_path: Path):
    """Where the operator takes a UUID twice and hides it from questions, chaos fails and tells the whole story."""
    done = chaos(place, plan(tmp_path, DOUBLING), "--invoices", "6", "--companies", "1", "--json")

    assert done.returncode == NOT_ALL, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["well"] is False
    assert answer["doubled"] > 0
    story = next(each for each in answer["stories"] if each["uuid"] in answer["wrong"]["doubled"])
    assert story["operator"]["held"] > 1
    assert any("upload" in moment["what"] for moment in story["timeline"])


def test_time_that_is_over_is_no_proof(place: Path, tmp_path: Path):
    """Where the deadline passes before everything is at rest, the exit status is not 0 and the reason is said."""
    done = chaos(place, plan(tmp_path, SHORT), "--invoices", "20", "--minutes", "0.1")

    assert done.returncode == NOT_ALL, done.stdout + done.stderr
    assert "not settled: when the time was over" in done.stdout
    assert "Not proven" in done.stdout
    assert processes_of(place) == []


def test_wrong_plan_starts_nothing(place: Path, tmp_path: Path):
    """A plan with a mistake: one line with file and line number, nothing was started."""
    wrong = plan(tmp_path, SHORT.replace("kill-beat", "kill-bass"))

    done = chaos(place, wrong, "--json")

    assert done.returncode == USAGE
    assert done.stdout == ""
    assert f"{wrong}, line " in done.stderr
    assert "kill-bass" in done.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_chaos_leaves_nothing_running(place: Path, tmp_path: Path, number: signal.Signals):
    """Ctrl-C or SIGTERM in the middle, even twice: all that was started is ended, even what a strike has stopped."""
    paused = "version = 1\n[[strike]]\nkind = 'pause-worker'\nevery_seconds = 1\nseconds = 60\n"
    command = subprocess.Popen(
        [*POSTILJON, "chaos", "--plan", str(plan(tmp_path, paused)), "--invoices", "50"],
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
    )
    try:
        # Webhooks are registered last: what is stopped after that was stopped by a strike.
        assert wait_until(lambda: any(is_stopped(words) for words in processes_of(place)), seconds=180)

        command.send_signal(number)
        command.send_signal(signal.SIGTERM)

        assert command.wait(60) == INTERRUPTED
    finally:
        command.kill()
        command.wait()
    assert wait_until(lambda: not processes_of(place), seconds=30), f"still running: {processes_of(place)}"
    assert list(place.iterdir()) == []


def is_stopped(process: str) -> bool:
    """Whether a process of `processes_of` was stopped by a signal."""
    try:
        fields = Path(f"/proc/{process.split(maxsplit=1)[0]}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return fields.rpartition(")")[2].split()[0] == "T"


def plan(folder: Path, text: str) -> Path:
    """Write a plan."""
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def chaos(
    place: Path, played: Path | str, *arguments: str, seconds: int = CHAOS_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run chaos to its end."""
    words = [*POSTILJON, "chaos", "--plan", str(played), *arguments]
    return subprocess.run(
        words, env=environment(place), capture_output=True, text=True, timeout=seconds, check=False, cwd=PROJECT
    )


def environment(place: Path) -> dict[str, str]:
    """A home of its own, and everything temporary in one place."""
    return {**os.environ, "TMPDIR": str(place), "HOME": str(place.parent), "PYTHONPATH": str(PROJECT)}

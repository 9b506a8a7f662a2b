"""Strikes against processes of our own: each kind has means, what is stopped goes on, what is down already is said."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cli.chaos_means import POINTS_DIR, Armoury, MissedError
from pipeline.cli.chaos_plan import KINDS, Plan, Strike, StrikeRule
from pipeline.cli.chaos_strikes import Striker, Struck
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.embedded.liveness import children_of, wait_until

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process with one child, in a session of its own like every supervised one."""
    started = subprocess.Popen([sys.executable, "-c", PARENT], start_new_session=True)
    try:
        assert wait_until(lambda: children_of(started.pid) != [], seconds=10)
        yield started
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


class NoDatabase:
    def transaction(self) -> Any:
        raise ServiceUnavailableError("away")


def striker(pid: int | None, *rules: StrikeRule, rounds: int = 40, folder: Path = Path()) -> Striker:
    database: Any = NoDatabase()
    plan = Plan(name="test", rules=rules, round_seconds=1.0, rounds=rounds)
    return Striker(stack_of(pid), plan, seed=1, database=database, folder=folder, more_comes=lambda: False)


def stack_of(pid: int | None) -> Any:
    return SimpleNamespace(processes=(SimpleNamespace(name="worker-send", pid=pid),))


def armoury(pid: int | None, folder: Path = Path()) -> Armoury:
    database: Any = NoDatabase()
    return Armoury(stack=stack_of(pid), database=database, folder=folder, later=lambda *_: None)


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def test_every_kind_has_means():
    assert striker(None)._means.keys() == KINDS.keys()


def test_killed_child_dies_alone(process):
    (child,) = children_of(process.pid)

    armoury(process.pid).kill_child(Strike(at_seconds=0, kind="kill-child", target="send", chance=0.99))

    assert wait_until(lambda: child not in children_of(process.pid), seconds=10)


def test_paused_process_goes_on_when_playing_ends(process):
    rule = StrikeRule(kind="pause-worker", of=("send",), times=1, seconds=60.0)

    with striker(process.pid, rule) as playing:
        assert wait_until(lambda: status_of(process.pid) == "T", seconds=10)

    assert status_of(process.pid) != "T"
    assert playing.struck.kinds == {"pause-worker": 1}
    assert not +playing.struck.mid_flight  # with the database away nobody knows that anything was being sent


KILL_AT = StrikeRule(kind="kill-at", of=("after-claim",), times=1, seconds=60.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run."""
    (tmp_path / POINTS_DIR).mkdir()
    return tmp_path


def test_kill_at_a_point_struck_when_somebody_took_the_order(run):
    order = run / POINTS_DIR / "after-claim"

    with striker(None, KILL_AT, rounds=1, folder=run) as playing:
        assert wait_until(order.exists, seconds=10)
        assert not playing.struck.kinds
        order.unlink()
        assert wait_until(lambda: playing.is_over, seconds=10)

    assert playing.struck.kinds == {"kill at after-claim": 1}
    assert not playing.struck.missed


def test_kill_at_a_point_is_taken_away_when_nobody_came(run):
    order = run / POINTS_DIR / "after-claim"

    with striker(None, KILL_AT, rounds=1, folder=run) as playing:
        assert wait_until(order.exists, seconds=10)

    assert not order.exists()
    assert playing.struck.missed == {"kill at after-claim": 1}
    assert not playing.struck.kinds


@pytest.mark.parametrize("taken", [True, False])
def test_order_counts_by_whether_somebody_took_it_even_at_the_last_moment(run, taken):
    trap = armoury(None, run).kill_at(Strike(at_seconds=0, kind="kill-at", target="before-claim", seconds=5.0))
    if taken:
        (run / POINTS_DIR / "before-claim").unlink()

    assert trap.take_away() is taken


def test_point_that_waits_for_somebody_already_is_missed(run):
    strike = Strike(at_seconds=0, kind="kill-at", target="before-claim", seconds=5.0)
    armoury(None, run).kill_at(strike)

    with pytest.raises(MissedError):
        armoury(None, run).kill_at(strike)


def test_invoices_that_were_being_sent_are_counted_by_strike():
    struck = Struck()

    for sending in (0, 3, 2):
        struck.note("kill-child", sending=sending)

    assert (struck.kinds["kill-child"], struck.mid_flight["kill-child"], struck.in_the_air["kill-child"]) == (3, 2, 5)


def test_strike_without_a_target_is_missed_not_struck():
    rule = StrikeRule(kind="kill-worker", of=("send",), times=2)

    with striker(None, rule) as playing:
        assert wait_until(lambda: playing.struck.missed["kill-worker"] >= 2, seconds=10)

    assert not playing.struck.kinds
    assert playing.struck.broken is None


def test_strike_that_fails_unforeseen_is_recorded():
    playing = striker(None, StrikeRule(kind="kill-worker", of=("send",), times=1))
    playing._means["kill-worker"] = lambda _: (_ for _ in ()).throw(KeyError("oh"))

    with playing:
        assert wait_until(lambda: playing.is_over, seconds=10)

    assert playing.struck.broken is not None
    assert "KeyError" in playing.struck.broken


def test_process_that_is_down_is_not_guessed():
    with pytest.raises(MissedError):
        armoury(None).pid_of("worker-send")

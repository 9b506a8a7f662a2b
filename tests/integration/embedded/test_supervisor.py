"""The supervisor with real processes: it restarts them, stops them, and leaves none, however it ends."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from pipeline.embedded.detached import spawn_detached
from pipeline.embedded.errors import EmbeddedServiceError
from pipeline.embedded.liveness import started
from pipeline.embedded.process import ProcessSpec
from pipeline.embedded.state import Phase, ProcessPhase, read, running, stop
from pipeline.embedded.supervisor import Supervisor

from .looking import eventually, mentioning

FOREVER = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('armed', flush=True); signal.pause()"
# Two children that ignore SIGTERM, as a busy worker's do.
FAMILY = (
    "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); os.fork();"
    " print('armed', flush=True); signal.pause()"
)


def python(name, code, mark="", **options):
    return ProcessSpec(name=name, command=(sys.executable, "-c", code, str(mark)), **options)


def process(supervisor, name):
    return next(entry for entry in supervisor.state.processes if entry.name == name)


def test_start_follows_the_order_and_waits_for_readiness(tmp_path):
    seen = []
    note = tmp_path / "migrated"

    def ready():
        seen.append(note.exists())
        return len(seen) > 2

    specifications = [
        python("migrate", f"open({str(note)!r}, 'w').close()", one_shot=True),
        python("web", FOREVER, ready=ready),
    ]

    with Supervisor(tmp_path / "state", specifications, urls={"web": "http://x"}) as supervisor:
        state = running(tmp_path / "state")

        assert seen == [True, True, True]
        assert state.phase is Phase.READY
        assert state.urls == {"web": "http://x"}
        assert [entry.phase for entry in state.processes] == [ProcessPhase.DONE, ProcessPhase.RUNNING]
        assert state.processes[1].pid == process(supervisor, "web").pid


def test_state_file_and_logs_are_private(tmp_path):
    with Supervisor(tmp_path / "state", [python("one", "print('hello')", one_shot=True)]):
        for name in ("state.json", "logs/one.log"):
            assert stat.S_IMODE((tmp_path / "state" / name).stat().st_mode) == 0o600
        assert (tmp_path / "state/logs/one.log").read_text() == "hello\n"


def test_an_exited_process_is_started_again(tmp_path):
    with Supervisor(tmp_path, [python("worker", FOREVER)]) as supervisor:
        first = process(supervisor, "worker").pid

        os.kill(first, signal.SIGKILL)

        assert eventually(lambda: process(supervisor, "worker").restarts == 1)
        assert eventually(lambda: process(supervisor, "worker").phase is ProcessPhase.RUNNING)
        assert process(supervisor, "worker").pid not in {first, None}
        assert eventually(lambda: running(tmp_path).processes[0].restarts == 1)


def test_ready_text_counts_only_since_this_start(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/worker.log").write_text("armed, says the run before\n")

    with pytest.raises(EmbeddedServiceError, match="was not ready"):
        Supervisor(tmp_path, [python("worker", FOREVER, ready_text="armed", ready_seconds=0.3)]).start()
    with Supervisor(tmp_path, [python("worker", STUBBORN, ready_text="armed", stop_seconds=0.1)]) as supervisor:
        assert process(supervisor, "worker").phase is ProcessPhase.RUNNING


def test_restarts_back_off(tmp_path):
    with Supervisor(tmp_path, [python("worker", "raise SystemExit(1)", ready=lambda: True)]) as supervisor:
        begin = time.monotonic()

        assert eventually(lambda: process(supervisor, "worker").restarts == 2)

        assert time.monotonic() - begin > 0.2 + 0.4


def strike(supervisor, name, times, *, seconds):
    """Kill a process as often as named, each time once it runs; tell whether that took less than so long."""
    begin = time.monotonic()
    for number in range(times):
        assert eventually(
            lambda n=number: (
                (now := process(supervisor, name)).restarts == n and now.phase is ProcessPhase.RUNNING and now.pid
            ),
            seconds=seconds,
        )
        os.kill(process(supervisor, name).pid, signal.SIGKILL)
    return time.monotonic() - begin < seconds


def test_pauses_grow_no_longer_than_set(tmp_path):
    """Doubled eight times a pause of 0.2 s would be 51 s; everything waits for a database."""
    specification = python("database", FOREVER, longest_pause_seconds=0.3)
    with Supervisor(tmp_path, [specification]) as supervisor:
        assert strike(supervisor, "database", 9, seconds=15)


def test_health_makes_the_next_restart_quick_again(tmp_path):
    """Strikes that come again and again do not add up, if the process was well in between."""
    with Supervisor(tmp_path, [python("worker", FOREVER, steady_seconds=0.0)]) as supervisor:
        assert strike(supervisor, "worker", 9, seconds=15)


def test_the_children_of_an_exited_process_do_not_work_on(tmp_path):
    code = FAMILY.replace("signal.pause()", "os.getpid() == os.getpgrp() or signal.pause(); open(sys.argv[1]).read()")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Supervisor(tmp_path / "state", [python("worker", code, gate, restart=False)]) as supervisor:
        assert eventually(lambda: len(mentioning(gate)) == 4)

        gate.write_text("go")

        assert eventually(lambda: process(supervisor, "worker").phase is ProcessPhase.EXITED)
        assert eventually(lambda: mentioning(gate) == [])


def test_stop_leaves_nothing_not_even_the_stubborn(tmp_path):
    mark = tmp_path / "mark"
    specifications = [
        python("polite", FOREVER, mark),
        python("stubborn", STUBBORN, mark, stop_seconds=0.3),
        python("family", FAMILY, mark, stop_seconds=0.3, beside_previous=True),
    ]
    with Supervisor(tmp_path / "state", specifications):
        assert eventually(lambda: len(mentioning(mark)) == 6)

    assert mentioning(mark) == []
    assert mentioning(tmp_path) == []
    assert running(tmp_path / "state") is None


def test_stop_goes_in_reverse_order(tmp_path):
    journal = tmp_path / "journal"
    code = (
        "import signal, sys\n"
        "def end(*_):\n"
        f"    open({str(journal)!r}, 'a').write(sys.argv[1])\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('armed', flush=True)\n"
        "signal.pause()\n"
    )

    with Supervisor(tmp_path / "state", [python(name, code, name, ready_text="armed") for name in "abc"]):
        pass

    assert journal.read_text() == "cba"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"one_shot": True}, "raise SystemExit('no such table')", "bad ended with status 1: no such table"),
        ({}, "import sys; sys.exit('no broker')", "bad ended with status 1: no broker"),
        ({"ready_seconds": 0.3}, FOREVER, "bad was not ready within 0.3 seconds"),
        ({"one_shot": True, "ready_seconds": 0.3}, FOREVER, "bad was not ready within 0.3 seconds"),
    ],
    ids=["one-shot fails", "exits at once", "never ready", "one-shot hangs"],
)
def test_a_failed_start_is_one_line_and_leaves_nothing(tmp_path, options, code, message):
    mark = tmp_path / "mark"
    specifications = [python("good", FOREVER, mark), python("bad", code, mark, ready=lambda: False, **options)]

    with pytest.raises(EmbeddedServiceError, match=message) as caught:
        Supervisor(tmp_path, specifications).start()

    assert "\n" not in str(caught.value)
    assert mentioning(mark) == []
    assert running(tmp_path) is None


def test_a_process_that_ends_once_while_it_starts_stops_nobody(tmp_path):
    """A worker ends altogether when a child of it is killed during its start; the others need not go with it."""
    note = tmp_path / "tried"
    code = (
        f"import os, pathlib, signal, sys; note = pathlib.Path({str(note)!r}); first = not note.exists(); note.touch();"
        " first and sys.exit('child lost'); print('armed', flush=True); signal.pause()"
    )
    specifications = [python("good", FOREVER), python("worker", code, ready_text="armed")]

    with Supervisor(tmp_path / "state", specifications) as supervisor:
        assert process(supervisor, "worker").restarts == 1
        assert running(tmp_path / "state").processes[1].pid == process(supervisor, "worker").pid
        assert process(supervisor, "good").restarts == 0


def test_a_missing_program_is_one_clear_line(tmp_path):
    with pytest.raises(EmbeddedServiceError, match="cannot run /no/such/program: No such file"):
        Supervisor(tmp_path, [ProcessSpec(name="ghost", command=("/no/such/program",), ready=lambda: False)]).start()


def test_a_second_supervisor_in_the_same_directory_is_refused(tmp_path):
    with Supervisor(tmp_path, [python("one", FOREVER)]):
        with pytest.raises(EmbeddedServiceError, match="in use by another running process"):
            Supervisor(tmp_path, [python("two", FOREVER)]).start()

        assert running(tmp_path) is not None


@pytest.fixture
def program(tmp_path):
    """A supervising program with servers, a family that ignores SIGTERM, and a one-shot."""
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from pipeline.embedded.postgres import EmbeddedPostgres
        from pipeline.embedded.process import ProcessSpec
        from pipeline.embedded.supervisor import Supervisor
        from pipeline.embedded.valkey import EmbeddedValkey

        here = Path({str(tmp_path)!r})
        postgres, valkey = EmbeddedPostgres(here / "pg", durable=False), EmbeddedValkey(here / "vk")
        postgres.prepare()
        valkey.prepare()
        family = ProcessSpec(
            name="family", command=(sys.executable, "-c", {FAMILY!r}, str(here)), stop_seconds=0.3
        )
        if "fail" in sys.argv:
            sys.exit("the settings are wrong")
        urls = {{"postgres": postgres.url, "valkey": valkey.url}}
        Supervisor(
            here / "state", [postgres.as_process(), valkey.as_process(), family], urls=urls, grace_seconds=0.5
        ).run_until_signal()
        """)
    )
    yield path
    stop(tmp_path / "state")


def test_a_detached_supervisor_runs_until_it_is_stopped(tmp_path, program):
    state = spawn_detached([sys.executable, str(program)], tmp_path / "state", deadline_seconds=30)

    assert running(tmp_path / "state") == state
    assert [entry.phase for entry in state.processes] == [ProcessPhase.RUNNING] * 3
    with pytest.raises(EmbeddedServiceError, match=f"Already running in .* as process {state.pid}"):
        spawn_detached([sys.executable, str(program)], tmp_path / "state", deadline_seconds=30)

    assert stop(tmp_path / "state", deadline_seconds=20)
    assert mentioning(tmp_path) == []
    assert not stop(tmp_path / "state")


def test_kill_9_of_the_supervisor_leaves_nothing(tmp_path, program):
    """Whatever kills the supervisor, none of its processes outlives it by more than the grace."""
    state = spawn_detached([sys.executable, str(program)], tmp_path / "state", deadline_seconds=30)
    assert eventually(lambda: len(mentioning(tmp_path)) == 6)  # itself, PostgreSQL, the family

    os.kill(state.pid, signal.SIGKILL)

    assert eventually(lambda: mentioning(tmp_path) == [])
    assert all(started(entry.pid) is None for entry in state.processes)
    assert running(tmp_path / "state") is None
    assert read(tmp_path / "state") is not None


def test_a_new_start_succeeds_after_kill_9_of_everything(tmp_path, program):
    state = spawn_detached([sys.executable, str(program)], tmp_path / "state", deadline_seconds=30)
    for pid, _ in mentioning(tmp_path):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: running(tmp_path / "state") is None)

    again = spawn_detached([sys.executable, str(program)], tmp_path / "state", deadline_seconds=30)

    assert again.pid != state.pid
    assert again.urls == state.urls


def test_a_detached_failure_is_told_with_its_reason(tmp_path, program):
    with pytest.raises(EmbeddedServiceError, match="ended with status 1: the settings are wrong"):
        spawn_detached([sys.executable, str(program), "fail"], tmp_path / "state", deadline_seconds=30)

    assert mentioning(tmp_path) == []


def test_a_stale_state_file_is_not_taken_for_a_stranger(tmp_path):
    with Supervisor(tmp_path, [python("one", FOREVER)]) as supervisor:
        text = supervisor.state.to_json()
    stranger = subprocess.Popen([sys.executable, "-c", FOREVER])
    try:
        (tmp_path / "state.json").write_text(text.replace(str(os.getpid()), str(stranger.pid)))

        assert running(tmp_path) is None
        assert not stop(tmp_path)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'], ids=["empty", "cut", "list", "partial"])
def test_a_damaged_state_file_counts_as_none(tmp_path, text):
    (tmp_path / "state.json").write_text(text)

    assert running(tmp_path) is None

"""`postiljon bench` as a person runs it: its answer, and that it leaves nothing behind, also when it is broken off."""

import json
import os
import signal
import subprocess
from functools import partial

from pipeline.cli.stack import POSTILJON
from pipeline.embedded.liveness import wait_until

from .processes import processes_of

PROMISED = {
    *("invoices_per_second", "times_tutorial", "times_best_peer", "share_of_raw_client", "cpu_ms_per_invoice"),
}
SECONDS = 240
COMMAND = (
    *POSTILJON,
    "bench",
    "end-to-end",
    "--invoices",
    "60",
    "--only",
    "postiljon",
    "--only",
    "raw-client-1",
    "--json",
)
INTERRUPTED = 130


def test_end_to_end_tells_what_it_measured(tmp_path):
    """A small run prints one object with the promised ratios, its seed, machine and command, and ends what it began."""
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, timeout=SECONDS, env=environment(tmp_path), check=False
    )

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer.keys() >= PROMISED | {"seed", "machine", "versions", "command", "runs"}
    assert answer["invoices_per_second"] > 0
    assert answer["share_of_raw_client"] > 0
    assert answer["times_tutorial"] is None
    assert left_behind(tmp_path) == []


def test_ctrl_c_ends_everything(tmp_path):
    """Broken off in the middle, it ends every process it started and removes its files."""
    # So many that none of them is through when the first line is read.
    with subprocess.Popen(
        tuple("5000" if word == "60" else word for word in COMMAND),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        # A test run that was started in the background ignores SIGINT, and so would its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("running:"):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)

    assert process.returncode == INTERRUPTED
    assert wait_until(lambda: left_behind(tmp_path) == [], seconds=30)
    assert list(tmp_path.iterdir()) == []


def environment(folder):
    return {**os.environ, "TMPDIR": str(folder)}


def left_behind(folder):
    return processes_of(folder)

import json
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import httpx
import pytest

from simulator.knobs import Knobs

PROJECT = Path(__file__).resolve().parents[3]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_names_every_knob_and_control():
    """--help lists each knob with its default, and what can be controlled while the simulator runs."""
    told = run("--help").stdout

    assert set(re.findall(r"^  (\w+)=", told, re.MULTILINE)) == {field.name for field in fields(Knobs)}
    assert "PUT /_simulator/invoices/{id}" in told
    assert "DELETE /_simulator/invoices/{id}" in told
    assert "PUT /_simulator/outage" in told


def test_simulator_ends_cleanly_on_sigterm(start):
    """SIGTERM ends it with status 0 and a silent error stream, even with a client waiting in silence."""
    operator = start("--faults", "accept-then-silence")
    with pytest.raises(httpx.ReadTimeout):
        operator.upload(timeout=0.3)

    operator.process.send_signal(signal.SIGTERM)

    assert operator.process.wait(10) == 0
    assert operator.process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "thunder"], "no fault script called 'thunder'"),
        (["--knob", "colour=red"], "unknown knob 'colour'"),
        (["--knob", "duplicate_status=418"], "knob duplicate_status takes one of"),
        (["--knob", "settle_seconds"], "not of the form name=value"),
        (["--knob", "settle_seconds=soon"], "takes a float"),
        (["--knob", "settle_seconds=nan"], "out of range"),
        (["--validate", "/nowhere.json"], "cannot be read"),
        (["--companies", "-1"], "cannot be negative"),
    ],
)
def test_wrong_option_is_one_clear_line(arguments, complaint):
    """A wrong option ends with status 2 and one line that says what is wrong."""
    ended = run("--port", "0", *arguments)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert complaint in ended.stderr


def test_taken_port_is_one_clear_line(operator):
    """A port in use ends with status 1 and one line naming it."""
    port = operator.url.rpartition(":")[2]

    ended = run("--port", port)

    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert port in ended.stderr


@pytest.mark.parametrize("end", ["json", "toml"])
def test_fault_script_comes_from_a_file(start, tmp_path, end):
    """A script may be a JSON or TOML file."""
    path = tmp_path / f"script.{end}"
    toml = '[[rules]]\nfault = "503"\nattempt = "first"\nretry_after = 2\n'
    rules = {"rules": [{"fault": "503", "attempt": "first", "retry_after": 2}]}
    path.write_text(toml if end == "toml" else json.dumps(rules))

    operator = start("--faults", str(path), "--seed", "5")

    assert operator.upload().headers["Retry-After"] == "2"
    assert operator.control("GET", "faults")["seed"] == 5


def test_many_companies_are_ready(start):
    """--companies gives that many companies of the same numbering."""
    operator = start("--companies", "12", "--latency-ms", "1")

    assert operator.ask_token("00000000-0000-4000-8000-000000000012").status_code == 200
    assert operator.ask_token("00000000-0000-4000-8000-000000000013").status_code == 401
    assert len(operator.control("GET", "companies")) == 12


def test_ledger_of_one_company(operator, companies, uuid):
    """The ledger can be asked for one company; the totals stay of all."""
    operator.upload(uuid=uuid)
    operator.upload(company=companies[1])

    ledger = operator.control("GET", f"ledger?company={companies[0]}")

    assert list(ledger["invoices"]) == [uuid]
    assert set(ledger["invoices"][uuid]) == {
        "uploads", "sha256", "held", "held_sha256", "company_id", "status", "faults", "reroutes", "lost",
        "from_outside",
    }  # fmt: skip
    assert (ledger["totals"]["uploads"], ledger["totals"]["held"], ledger["totals"]["doubled"]) == (2, 2, 0)
    assert ledger["totals"]["requests"]["POST /v1/invoices 201"] == 2


def test_reset_forgets_what_happened(operator):
    """After a reset nothing is held, and old tokens are worth nothing."""
    operator.upload()

    operator.control("POST", "reset")

    assert operator.control("GET", "ledger")["invoices"] == {}
    assert operator.upload().status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("knobs", {"colour": 1}, "unknown knob"),
        ("knobs", {"webhook_lost": 2}, "out of range"),
        ("knobs", {"paging_headers": "perhaps"}, "takes a bool"),
        ("knobs", [], "not a JSON object"),
        ("companies/me", {}, "known by a UUID"),
        ("companies/00000000-0000-4000-8000-000000000001", {"colour": 1}, "no field 'colour'"),
        ("companies/00000000-0000-4000-8000-000000000001", {"daily_limit": "x"}, "takes a int"),
        ("companies/00000000-0000-4000-8000-000000000001", {"state": "SOSO"}, "state is one of"),
    ],
)
def test_wrong_setting_is_refused(operator, path, body, complaint):
    """Wrong settings answer 400 and say what is wrong."""
    answer = operator.http.put(f"/_simulator/{path}", json=body)

    assert answer.status_code == 400
    assert complaint in answer.json()["message"]


def test_health_answers(operator):
    """The simulator says that it is there."""
    assert operator.control("GET", "health") == {"status": "ok"}

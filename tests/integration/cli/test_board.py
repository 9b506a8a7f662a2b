"""The board: where everything stands, for people and machines, and what the doctor says of alarms."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from pipeline.storage import alarms, companies, leases
from pipeline.storage.database import Database
from tests.integration.cli.conftest import COMPANY_ID, Shell

COMPANY = UUID(COMPANY_ID)
SWEEPS = ("dispatch", "follow", "check_holds", "route", "watch")
Write = Callable[..., Path]


@pytest.fixture
def database(database_url: str):
    database = Database(database_url)
    yield database
    database.close()


def send(shell: Shell, write_invoice: Write, count: int) -> list[str]:
    paths = [str(write_invoice(f"{number}.xml", str(number))) for number in range(count)]
    return [each["uuid"] for each in shell.json("send", *paths, "--company", "demo")["files"]]


def hold(database: Database, *, reason: str = "Unauthorized") -> None:
    with database.transaction() as session:
        companies.hold_company(session, COMPANY, reason=reason, now=datetime.now(UTC) - timedelta(hours=2))


def ring(database: Database, *, ago: timedelta = timedelta()) -> None:
    with database.transaction() as session:
        for name in SWEEPS:
            leases.ring(session, name, now=datetime.now(UTC) - ago)


def change(database_url: str, statement: str, *values: object) -> None:
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def test_the_board_is_one_object_for_machines(
    shell: Shell, write_invoice: Write, database: Database, database_url: str
):
    """Its keys are what scripts rely on; every state is there, and ages are seconds."""
    ring(database)
    uuids = send(shell, write_invoice, 3)
    change(database_url, "UPDATE invoice SET state = 'held', held_for = 'person', reason = 'x' WHERE id = %s", uuids[0])
    change(database_url, "UPDATE invoice SET submitted_at = now() - interval '1 hour' WHERE id = %s", uuids[1])
    hold(database)

    told = shell.json("board")

    assert (told["states"]["queued"], told["states"]["held"], told["states"]["delivered"]) == (2, 1, 0)
    assert told["cases"] == {"accountant": 0, "engineer": 0}
    (company,) = told["companies"]
    assert (company["company"], company["company_name"]) == (COMPANY_ID, "demo")
    assert company["states"] == told["states"]
    assert company["cases"] == told["cases"]
    assert company["held"]["cause"] == "Unauthorized"
    (held,) = told["held_companies"]
    assert (held["company"], held["holds"]) == (COMPANY_ID, 1)
    assert "signed" in held["advice"]
    assert held["next_check"] > held["since"]
    assert 3600 <= told["oldest"]["queued"]["age_seconds"] < 3700
    assert set(told["oldest"]) == {"queued", "held"}
    (alarm,) = told["alarms"]
    assert (alarm["kind"], alarm["subject"], alarm["company"], alarm["invoice"]) == (
        *("company_held", COMPANY_ID, COMPANY_ID, None),
    )
    assert datetime.fromisoformat(alarm["raised_at"]) <= datetime.fromisoformat(told["at"])


def test_the_board_reads_no_invoices_but_the_oldest(shell: Shell, write_invoice: Write, database_url: str):
    """Counts come from the counters: they are believed, right or wrong."""
    send(shell, write_invoice, 2)
    change(
        database_url,
        "INSERT INTO tally_delta (subject, company_id, batch_id, name, n) VALUES ('invoice', %s, 0, 'queued', 40)",
        COMPANY,
    )

    assert shell.json("board")["states"]["queued"] == 42


def test_the_board_is_printed_once_where_no_terminal_is(shell: Shell, write_invoice: Write, database: Database):
    send(shell, write_invoice, 2)
    hold(database, reason="the software key is disabled [x]")
    ring(database)

    result = shell("board")

    assert result.exit_code == 0, result.output
    for words in (
        "queued",
        "accountant 0, engineer 0",
        "1 alarm",
        "the software key is disabled [x]",
        "next check now",
    ):
        assert words in result.stdout


def test_an_empty_installation_has_a_board(bare_shell: Shell):
    result = bare_shell("board")

    assert result.exit_code == 0
    assert "none yet" in result.stdout
    assert "nobody has ever rung" in result.stdout


def test_a_dead_beat_shows_although_nothing_runs(shell: Shell, database: Database):
    """Nobody was alive to raise an alarm, and both board and doctor name each sweep."""
    ring(database, ago=timedelta(hours=3))

    on_board = shell.json("board")["alarms"]
    by_doctor = [each for each in shell.json("doctor", status=1)["findings"] if each["check"] == "alarm not_rung"]

    assert {(alarm["kind"], alarm["subject"]) for alarm in on_board} == {("not_rung", name) for name in SWEEPS}
    assert len(by_doctor) == len(SWEEPS)
    assert all("beat" in each["found"] + each["what_to_do"] for each in by_doctor)


def test_the_doctor_names_every_alarm_and_what_to_do(shell: Shell, database: Database):
    ring(database)
    hold(database)
    with database.transaction() as session:
        for number in range(12):
            told = f"invoice {number} is pending. What to do: ask"
            alarms.raise_alarm(session, "pending_long", str(number), told=told, now=datetime.now(UTC))

    findings = shell.json("doctor", status=1)["findings"]

    told = [(each["found"], each["what_to_do"]) for each in findings if each["check"] == "alarm pending_long"]
    assert len(told) == 11
    assert told[0][0].startswith("invoice 0 is pending (since ")
    assert told[0][1] == "ask"
    assert told[-1][0] == "2 more of them"
    (held,) = [each for each in findings if each["check"] == "alarm company_held"]
    assert "auth_email" in held["what_to_do"]
    (company,) = [each for each in findings if each["check"] == "company demo"]
    assert "auth_email" in company["what_to_do"]


def test_companies_are_listed_with_their_hold(shell: Shell, database: Database):
    hold(database)

    (company,) = shell.json("company", "list")["companies"]
    listed = shell("company", "list").stdout

    assert (company["held"], company["hold_reason"], company["holds"]) == (True, "Unauthorized", 1)
    assert "signed" in company["hold_advice"]
    assert company["next_check"] > company["held_since"]
    for words in (COMPANY_ID, "held since", "what to do:", "next check"):
        assert words in listed


@pytest.mark.parametrize("columns", [80, 120])
def test_the_board_is_live_in_a_terminal_until_it_is_interrupted(
    shell: Shell, write_invoice: Write, database: Database, database_url: str, columns: int
):
    """It shows what changes, keeps within the width, and ends with 0 at Ctrl-C."""
    ring(database)
    send(shell, write_invoice, 3)
    hold(database)
    command = [sys.executable, "-m", "workers.console", "board", "--interval", "0.2"]
    terminal, inner = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}
    # A test run that was started in the background ignores SIGINT, and so would its children.
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(
        command,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=environment,
        preexec_fn=hear,  # noqa: PLW1509 - no threads
    )
    os.close(inner)
    try:
        first = read_until(terminal, r"queued +3 ")
        change(database_url, "UPDATE invoice SET state = 'held', held_for = 'person', reason = 'x'")
        later = read_until(terminal, r"held +3 ")
        running.send_signal(signal.SIGINT)
        rest = read_until(terminal, None)
        assert running.wait(timeout=60) == 0, rest
    finally:
        running.kill()
        running.wait()
        os.close(terminal)

    assert max(len(line) for line in plain(first + later).splitlines()) <= columns
    assert b"Traceback" not in rest


def read_until(terminal: int, pattern: str | None) -> bytes:
    """Read the terminal until a pattern shows or, without one, its other end is closed."""
    seen = b""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if pattern is not None and re.search(pattern, plain(seen)):
            return seen
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                return seen
    raise AssertionError(f"{pattern} did not show within 90 s: {plain(seen)[-2000:]}")


def plain(told: bytes) -> str:
    seen = told.decode(errors="replace")
    # A new picture begins with a jump to the upper left corner.
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.replace("\x1b[H", "\n")).replace("\r", "\n")


def test_the_board_fits_json_of_the_shell(shell: Shell):
    """Nothing but the object is on stdout."""
    assert set(json.loads(shell("board", "--json").stdout)) >= {
        *("at", "states", "cases", "companies", "oldest", "held_companies", "alarms")
    }

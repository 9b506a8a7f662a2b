"""`postiljon pace` and what the board tells of it: limits, speeds, circuits, the forecast and the fairness."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from pipeline.storage.forecasting import LAST_DUE
from tests.integration.cli.conftest import COMPANY_ID, Shell

OTHER_ID = "00000000-0000-4000-8000-000000000002"
HOST = "127.0.0.1"
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def operator_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", f"http://{HOST}:9")


def send(shell: Shell, write_invoice: Write, count: int, company: str = "demo") -> None:
    paths = [str(write_invoice(f"{company}{number}.xml", f"{company}{number}")) for number in range(count)]
    shell.json("send", *paths, "--company", company)


def add_other(shell: Shell) -> None:
    shell("company", "add", OTHER_ID, "--name", "other", "--user-key", "u", "--vendor-key", "v")


def change(database_url: str, statement: str, *values: object) -> None:
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def go(database_url: str, scope: str, speed: float) -> None:
    statement = "INSERT INTO pace (scope, lane, speed, speed_at) VALUES (%s, 'upload', %s, now())"
    change(database_url, statement, scope, speed)


def test_forecast_follows_the_limit(shell: Shell, write_invoice: Write, monkeypatch: pytest.MonkeyPatch):
    """What waits is divided by what the limit leaves; board and pace tell the same."""
    monkeypatch.setenv("POSTILJON_UPLOADS_PER_SECOND", "0.5")
    send(shell, write_invoice, 6)

    board, pace = shell.json("board"), shell.json("pace")

    assert board["forecast"].keys() == pace["forecast"].keys()
    assert (pace["forecast"]["backlog"], pace["forecast"]["basis"], pace["host"]["backlog"]) == (6, "limits", 6)
    assert 12 <= pace["forecast"]["seconds"] <= 15
    seconds = datetime.fromisoformat(pace["forecast"]["finish_at"]) - datetime.fromisoformat(pace["at"])
    assert seconds.total_seconds() == pytest.approx(pace["forecast"]["seconds"], abs=0.01)
    assert (pace["host"]["scope"], pace["host"]["lanes"]["upload"]["limit"]) == (HOST, 0.5)
    assert "6 done by about" in shell("board", "--once").stdout
    assert "within the limits" in shell("pace").stdout


def test_forecast_cannot_be_said_without_limit_or_speed(shell: Shell, write_invoice: Write):
    """Nothing measured and no limit known: no instant is made up."""
    send(shell, write_invoice, 2)

    told = shell.json("board")["forecast"]

    assert (told["finish_at"], told["seconds"], told["per_second"]) == (None, None, 0)
    assert told["told"].startswith("cannot say yet when 2 are done")
    assert "cannot say yet" in shell("board", "--once").stdout


def test_forecast_goes_by_the_measured_speed(shell: Shell, write_invoice: Write, database_url: str):
    """Without a limit it is the present speed."""
    send(shell, write_invoice, 10)
    go(database_url, HOST, 2.0)

    told = shell.json("pace")["forecast"]

    assert told["basis"] == "speed"
    assert 5 <= told["seconds"] <= 6
    assert "at the present speed" in told["told"]


def test_companies_on_hold_are_left_out_and_said(shell: Shell, write_invoice: Write, database_url: str):
    """A company on hold does not count, and the line says so."""
    add_other(shell)
    send(shell, write_invoice, 2)
    send(shell, write_invoice, 3, "other")
    shell.json("company", "limit", "demo", "--uploads", "1")
    change(database_url, "UPDATE company SET hold_reason = 'x', held_since = now() WHERE id = %s", OTHER_ID)

    told = shell.json("pace")["forecast"]

    assert (told["backlog"], told["left_out"]) == (2, 3)
    assert told["told"].endswith("; 3 of companies on hold are left out")


def test_open_circuit_is_shown_and_waited_for(shell: Shell, write_invoice: Write, database_url: str):
    """Nothing is expected before the next canary, and its evidence is told."""
    shell.json("company", "limit", "demo", "--uploads", "1")
    send(shell, write_invoice, 2)
    statement = """INSERT INTO circuit (scope, state, since, retry_at, trips, evidence)
        VALUES (%s, 'open', now() - interval '1 hour', now() + interval '5 minutes', 3, '14 of 14 exchanges failed')"""
    change(database_url, statement, HOST)

    told, words = shell.json("pace"), shell("pace").stdout

    assert (told["host"]["circuit"]["state"], told["host"]["circuit"]["trips"]) == ("open", 3)
    finish_at, canary_at = told["forecast"]["finish_at"], told["host"]["circuit"]["retry_at"]
    # From the canary on: how much of the five minutes is over by now is the machine's affair.
    assert 1 <= (datetime.fromisoformat(finish_at) - datetime.fromisoformat(canary_at)).total_seconds() <= 5
    assert 5 < told["forecast"]["seconds"] <= 305
    assert "left alone since" in words
    assert "14 of 14 exchanges failed" in words
    assert "if the operator answers at" in words


def test_pace_shows_what_is_found_out_and_blocked(shell: Shell, write_invoice: Write, database_url: str):
    """A limit found out is marked, a pause has its end, and the company's own words are beside it."""
    send(shell, write_invoice, 1)
    shell.json("company", "limit", "demo", "--weight", "2")
    statement = """INSERT INTO pace (scope, lane, rate, blocked_until, speed, speed_at)
        VALUES (%s, 'upload', 12.5, now() + interval '1 hour', 3, now())"""
    change(database_url, statement, COMPANY_ID)

    (company,) = shell.json("pace")["companies"]
    words = shell("pace").stdout

    assert (company["company_name"], company["weight"], company["backlog"]) == ("demo", 2, 1)
    lane = company["lanes"]["upload"]
    assert (lane["limit"], lane["is_adaptive"], lane["blocked_until"] is not None) == (12.5, True, True)
    assert "~12.5" in words
    assert "demo (weight 2)" in words
    assert "until" in words


def test_fairness_is_jains_index_of_speeds_by_weight(shell: Shell, write_invoice: Write, database_url: str):
    """Among companies with something to send it is 1 when each goes by its weight, and less when one has more."""
    add_other(shell)
    send(shell, write_invoice, 1)
    assert shell.json("board")["fairness"] is None

    send(shell, write_invoice, 1, "other")
    shell.json("company", "limit", "other", "--weight", "3")
    go(database_url, COMPANY_ID, 1.0)
    go(database_url, OTHER_ID, 3.0)
    fair = shell.json("board")["fairness"]
    change(database_url, "UPDATE pace SET speed = 0 WHERE scope = %s", OTHER_ID)
    unfair = shell.json("board")["fairness"]

    assert fair == pytest.approx(1, abs=0.01)
    assert unfair == pytest.approx(0.5, abs=0.01)
    assert "fairness 0.50" in shell("board", "--once").stdout


def test_forecast_reads_no_list_of_invoices(shell: Shell, write_invoice: Write, database_url: str):
    """Beside counters it looks at one invoice for each company, by the index of what is due."""
    send(shell, write_invoice, 3)
    statement = str(LAST_DUE.text).replace(":now", "now()")
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {statement}".encode()))

    assert "invoice_due" in plan
    assert "Sort" not in plan


def test_lift_ends_a_pause(shell: Shell, database_url: str):
    """Of the host, or of one company; a second time there is none to end."""
    pause = "INSERT INTO pace (scope, lane, blocked_until) VALUES (%s, 'upload', now() + interval '5 hours')"
    for scope in (HOST, COMPANY_ID):
        change(database_url, pause, str(scope))

    lifted = [shell.json("lift"), shell.json("lift", "--company", "demo"), shell.json("lift")]

    assert [(each["scope"], each["lifted"]) for each in lifted] == [
        (HOST, True),
        (str(COMPANY_ID), True),
        (HOST, False),
    ]
    assert shell.json("pace")["host"]["lanes"]["upload"]["blocked_until"] is None
    assert "no pause of" in shell("lift").stdout

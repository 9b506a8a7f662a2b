"""`postiljon arm` on a restored copy, against the simulator as a process of its own; and what others say of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from pipeline.settings import load_settings
from pipeline.storage.database import Database
from tests.arming import arm_here
from tests.integration.cli.conftest import COMPANY_ID, Shell

OTHER_KEY = "the key of another installation"


@pytest.fixture
def copy(bare_shell: Shell, database: Database, simulator: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A copy of an installation that was armed under another key, with a company the simulator knows."""
    httpx.post(f"{simulator}/_simulator/reset").raise_for_status()
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", simulator)
    arm_here(database, load_settings())
    keys = ("--user-key", "demo-user-key", "--vendor-key", "demo-vendor-key")
    assert bare_shell("company", "add", COMPANY_ID, "--name", "demo", *keys).exit_code == 0
    monkeypatch.setenv("POSTILJON_INSTANCE_KEY", OTHER_KEY)
    return bare_shell


def sent_by_the_living_one(simulator: str, uuid: str, content: bytes) -> None:
    """Upload as another installation with the company's keys does."""
    form = {
        "grant_type": "client_credentials",
        "client_id": COMPANY_ID,
        "client_secret": "demo-user-key",
        "vendor_api_key": "demo-vendor-key",
        "scope": "eui",
    }
    token = httpx.post(f"{simulator}/oauth2/token", data=form).raise_for_status().json()["access_token"]
    answer = httpx.post(
        f"{simulator}/v1/invoices",
        headers={"Authorization": f"Bearer {token}"},
        files={"file": ("a.xml", content, "application/xml")},
        data={"uuid": uuid},
    )
    assert answer.status_code == 201, answer.text


def states(shell: Shell) -> dict[str, str]:
    return {each["uuid"]: each["state"] for each in shell.json("list")["invoices"]}


def test_arming_shows_adopts_and_needs_a_yes(copy: Shell, simulator: str, tmp_path: Path, database_url: str) -> None:
    """Without --yes nothing changes; with it what the living installation sent is adopted and all is asked about."""
    command = (sys.executable, "-m", "simulator.samples", "--count", "3", "--to", str(tmp_path / "samples"))
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    paths = sorted((tmp_path / "samples").iterdir())
    there, here = [each["uuid"] for each in copy.json("send", *map(str, paths[:2]), "--company", "demo")["files"]]
    sent_by_the_living_one(simulator, there, paths[0].read_bytes())
    stranger = "00000000-0000-4000-8000-00000000abcd"
    sent_by_the_living_one(simulator, stranger, paths[2].read_bytes())

    looked = copy.json("arm", status=1)

    assert (looked["armed"], looked["done"], looked["unsent"]) == (False, None, 2)
    assert [each["part"] for each in looked["differences"]] == ["instance key"]
    [company] = looked["companies"]
    assert (company["to_adopt"], company["unknown"], company["failure"]) == ([there], 1, None)
    assert company["first_unknown"][0]["uuid"] == stranger
    assert set(states(copy).values()) == {"queued"}

    done = copy.json("arm", "--yes")["done"]

    assert done == {"adopted": 1, "asked_first": 1, "cases": 0}
    assert states(copy) == {there: "in_doubt", here: "in_doubt"}
    again = copy.json("arm")
    assert (again["armed"], again["done"]) == (True, None)
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        by = connection.execute("SELECT armed_by FROM arming ORDER BY id DESC LIMIT 1").fetchone()
    assert by is not None
    assert " at " in by[0]


def test_for_a_person_it_says_what_differs(copy: Shell, write_invoice: Callable[..., Path]) -> None:
    copy("send", str(write_invoice("a.xml")), "--company", "demo")

    result = copy("arm")

    assert result.exit_code == 1
    for words in ("Disarmed", "instance key", "1 invoices are unsent here", "does not know", "--yes arms it"):
        assert words in result.output, words
    assert set(states(copy).values()) == {"queued"}
    assert copy("arm", "--yes").exit_code == 0
    assert "armed since" in copy("arm").output


def test_show_board_and_doctor_say_why_nothing_is_sent(copy: Shell, write_invoice: Callable[..., Path]) -> None:
    [file] = copy.json("send", str(write_invoice("a.xml")), "--company", "demo")["files"]

    assert "disarmed (instance key differs)" in copy.json("show", file["uuid"])["next_step"]
    assert "postiljon arm" in copy.json("show", file["uuid"])["next_step"]
    assert copy.json("board")["alarms"][0]["kind"] == "disarmed"
    assert "disarmed" in copy("board").output
    findings = {each["check"]: each for each in copy.json("doctor", status=1)["findings"]}
    assert not findings["arming"]["ok"]
    assert "instance key" in findings["arming"]["found"]
    assert "alarm disarmed" not in findings
    copy("arm", "--yes")
    assert {each["check"]: each for each in copy.json("doctor", status=1)["findings"]}["arming"]["ok"]


def test_webhooks_stay_with_the_living_installation(copy: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTILJON_WEBHOOK_URL", "http://127.0.0.1:9")

    for words in (("register", "--all"), ("remove", "--all"), ("resend", "--all")):
        result = copy("webhooks", *words)
        assert result.exit_code == 2
        assert "disarmed" in result.stderr
    assert copy.json("webhooks", "list")["webhooks"][0]["state"] == "not registered"


def test_without_a_key_nothing_can_be_armed(copy: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTILJON_INSTANCE_KEY")

    result = copy("arm", "--yes")

    assert result.exit_code == 2
    assert "POSTILJON_INSTANCE_KEY_FILE" in result.stderr


def test_upgrade_says_that_it_is_disarmed(copy: Shell) -> None:
    """The command that every deployment runs tells it, and does not arm a copy."""
    result = copy("db", "upgrade")

    assert result.exit_code == 0
    assert "disarmed" in result.stderr
    assert copy.json("db", "upgrade")["armed"] is False

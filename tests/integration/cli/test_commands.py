"""The other commands: JSON forms, help with an example, and one line with a status when something is not there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import typer

from pipeline.cli.main import build_cli
from tests.integration.cli.conftest import COMPANY_ID, Shell


def commands() -> list[tuple[str, ...]]:
    cli = typer.main.get_command(build_cli(lambda: None))
    found: list[tuple[str, ...]] = []
    for name, command in cli.commands.items():
        found += [(name, inner) for inner in command.commands] if hasattr(command, "commands") else [(name,)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_has_an_example(command: tuple[str, ...], bare_shell: Shell):
    """Every command explains itself with an example."""
    result = bare_shell(*command, "--help")

    assert result.exit_code == 0
    assert f"Example: postiljon {' '.join(command)}" in " ".join(result.stdout.split())
    assert "--json" in result.stdout


def test_the_named_commands_are_there():
    """Scripts of others rely on these names."""
    assert {command[0] for command in commands()} >= {
        *("demo", "up", "down", "send", "show", "list", "company", "simulator", "db", "doctor")
    }


def test_companies_are_added_listed_and_shown(shell: Shell):
    """A company is found by name and UUID; no answer shows a key."""
    listed = shell.json("company", "list")["companies"]

    assert [(each["company"], each["name"], each["held"]) for each in listed] == [(COMPANY_ID, "demo", False)]
    assert shell.json("company", "show", "demo") == listed[0]
    assert "user_api_key" not in shell("company", "show", "demo").stdout


def test_keys_with_blanks_are_refused(bare_shell: Shell):
    """A key pasted with a blank inside is refused before it is stored."""
    words = ("company", "add", COMPANY_ID, "--name", "x", "--user-key", "a b", "--vendor-key", "v")

    result = bare_shell(*words)

    assert result.exit_code == 1
    assert "user key" in result.stderr
    assert bare_shell.json("company", "list")["companies"] == []


def test_unknown_invoices_are_named(shell: Shell):
    """An unknown UUID is named in the error; something that is no UUID is a usage error."""
    uuid = str(uuid4())

    unknown, nonsense = shell("show", uuid), shell("show", "nonsense")

    assert (unknown.exit_code, nonsense.exit_code) == (1, 2)
    assert uuid in unknown.stderr


def test_lists_filter(shell: Shell, write_invoice: Callable[..., Path]):
    """State, company, number and batch narrow the list; an unknown state names the known ones."""
    shell("send", str(write_invoice("a.xml", "A")), "--company", "demo", "--batch", "one")
    shell("send", str(write_invoice("b.xml", "B")), "--company", "demo")

    assert len(shell.json("list", "--state", "queued", "--company", "demo")["invoices"]) == 2
    assert [each["number"] for each in shell.json("list", "--number", "B")["invoices"]] == ["B"]
    assert [each["number"] for each in shell.json("list", "--batch", "one")["invoices"]] == ["A"]
    assert shell.json("list", "--state", "failed")["invoices"] == []
    assert shell("list", "--state", "sent").exit_code == 2


def test_a_database_that_is_down_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Without a database the command says so in one line and exits with 3."""
    monkeypatch.setenv("POSTILJON_DATABASE_URL", "postgresql+psycopg://x:y@127.0.0.1:1/postiljon")

    result = shell("list")

    assert result.exit_code == 3
    assert len(result.stderr.strip().splitlines()) == 1
    assert "database cannot be reached" in result.stderr


def test_missing_settings_are_named(bare_shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Without a database or a key the setting to make is named, with status 2; there is no default key."""
    monkeypatch.delenv("POSTILJON_ENCRYPTION_KEY")
    words = ("company", "add", COMPANY_ID, "--name", "x", "--user-key", "u", "--vendor-key", "v")
    no_key = bare_shell(*words)
    monkeypatch.delenv("POSTILJON_DATABASE_URL")
    no_database = bare_shell("list")

    assert (no_key.exit_code, no_database.exit_code) == (2, 2)
    assert "POSTILJON_ENCRYPTION_KEY_FILE" in no_key.stderr
    assert "POSTILJON_DATABASE_URL" in no_database.stderr


def test_an_old_database_asks_for_the_upgrade(shell: Shell, database_url: str):
    """Tables that are missing lead to `postiljon db upgrade`, not to a traceback."""
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP TABLE event, attempt, invoice CASCADE")

    result = shell("list")

    assert result.exit_code == 2
    assert "postiljon db upgrade" in result.stderr


def test_a_person_releases_a_held_invoice(shell: Shell, write_invoice: Callable[..., Path], database_url: str):
    """An invoice held for a person goes on to a probe if it was ever uploaded; one that is not held stays."""
    paths = [str(write_invoice(f"{number}.xml", number)) for number in "12"]
    held, queued = [each["uuid"] for each in shell.json("send", *paths, "--company", "demo")["files"]]
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "UPDATE invoice SET state = 'held', held_for = 'person', reason = 'too long', uploads = 2 WHERE id = %s",
            [held],
        )

    result = shell("release", held, queued)

    assert result.exit_code == 1
    assert queued in result.stderr
    shown = shell.json("show", held)
    assert (shown["state"], shown["events"][-1]["kind"]) == ("in_doubt", "released")
    assert shell.json("show", queued)["state"] == "queued"


def test_doctor_names_what_is_wrong(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """With nothing but a database, the doctor names broker, workers and operator, and what to do."""
    monkeypatch.setenv("POSTILJON_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", "http://127.0.0.1:1")

    report = shell.json("doctor", status=1)

    findings = {finding["check"]: finding for finding in report["findings"]}
    assert report["ok"] is False
    assert findings["database"]["ok"]
    for name in ("broker", "workers and beat", "operator"):
        assert not findings[name]["ok"], name
        assert findings[name]["what_to_do"], name


def test_doctor_names_a_missing_database_once(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Without a database the doctor says so once, and still looks at the broker."""
    monkeypatch.setenv("POSTILJON_DATABASE_URL", "postgresql+psycopg://x:y@127.0.0.1:1/postiljon")
    monkeypatch.setenv("POSTILJON_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", "http://127.0.0.1:1")

    report = shell.json("doctor", status=1)

    assert [finding["check"] for finding in report["findings"]] == ["database", "broker", "operator", "disk"]


def test_a_broker_that_is_down_loses_nothing(
    shell: Shell, write_invoice: Callable[..., Path], database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The real command queues the invoice although nobody can be rung for: the database is the truth."""
    monkeypatch.setenv("POSTILJON_BROKER_URL", "redis://127.0.0.1:1/0")
    command = [sys.executable, "-m", "workers.console", "send", str(write_invoice("a.xml")), "--company", "demo"]

    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert len(shell.json("list", "--state", "queued")["invoices"]) == 1

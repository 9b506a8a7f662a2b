"""`postiljon webhooks` against the simulator as a process of its own."""

import httpx
import pytest

from pipeline.settings import load_settings
from pipeline.storage.database import Database
from tests.arming import arm_here
from tests.integration.cli.conftest import COMPANY_ID, Shell

BASE = "http://127.0.0.1:9"


@pytest.fixture
def desk(bare_shell: Shell, database: Database, simulator: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell whose company `demo` the simulator knows, and whose receiver has a URL."""
    httpx.post(f"{simulator}/_simulator/reset").raise_for_status()
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", simulator)
    monkeypatch.setenv("POSTILJON_WEBHOOK_URL", BASE)
    arm_here(database, load_settings())
    add(bare_shell, COMPANY_ID, "demo")
    return bare_shell


def add(shell: Shell, company_id: str, name: str, *words: str, key: str = "demo-user-key") -> None:
    keys = ("--user-key", key, "--vendor-key", "demo-vendor-key")
    assert shell("company", "add", company_id, "--name", name, *keys, *words).exit_code == 0


def states(shell: Shell, *words: str, status: int = 0) -> list[str]:
    return [each["state"] for each in shell.json("webhooks", "list", *words, status=status)["webhooks"]]


def test_webhooks_are_registered_listed_and_removed(desk: Shell) -> None:
    """Each command says what it did, twice does no more than once, and the list puts both sides together."""
    assert states(desk) == ["not registered"]

    assert [desk.json("webhooks", "register", "demo")["webhooks"][0]["done"] for _ in "12"] == [
        "registered",
        "unchanged",
    ]
    assert states(desk) == ["registered"]

    assert [desk.json("webhooks", "remove", "--all")["webhooks"][0]["done"] for _ in "12"] == ["removed", "nothing"]
    assert states(desk) == ["not registered"]


def test_secret_is_printed_for_who_asks_only(desk: Shell) -> None:
    """The path that lets hints in is not shown in passing, of ours and of strangers alike."""
    registered = desk("webhooks", "register", "--all").output
    [shown] = desk.json("webhooks", "list", "--show-url")["webhooks"]
    secret = shown["url"].rpartition("/")[2]

    assert shown["url"] == f"{BASE}/webhooks/{secret}"
    assert len(secret) == 43
    assert secret not in registered + desk("webhooks", "list").output + desk("webhooks", "list", "--json").output


def test_webhook_moves_with_the_url(desk: Shell) -> None:
    """Another --url moves the subscription and keeps the secret."""
    desk.json("webhooks", "register", "--all")
    [before] = desk.json("webhooks", "list", "--show-url")["webhooks"]

    moved = desk.json("webhooks", "register", "--all", "--url", "http://localhost:9/")

    [after] = desk.json("webhooks", "list", "--show-url")["webhooks"]
    assert moved["webhooks"][0]["done"] == "moved"
    assert after["url"] == before["url"].replace(BASE, "http://localhost:9")


def test_company_without_the_scope_is_told_what_to_do(desk: Shell) -> None:
    """One company that may not does not keep the others from it; the status and the line say so."""
    other = "00000000-0000-4000-8000-000000000002"
    add(desk, other, "poor", "--scope", "invoice:send")

    result = desk("webhooks", "register", "--all")

    assert result.exit_code == 1
    assert "demo: registered" in result.output
    assert "poor: refused" in result.output
    assert "company:write" in result.output


def test_operator_that_is_away_means_try_again(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an operator nothing is done, status 3 says that trying again is right, and the list says it was not asked."""
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", "http://127.0.0.1:1")

    assert desk.json("webhooks", "register", "demo", status=3)["webhooks"][0]["done"] == "unclear"
    assert states(desk, status=1) == ["operator not asked"]


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_failure_is_told_on_stderr(desk: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Whoever keeps stderr alone learns which company, what happened, why, and what to do."""
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", "http://127.0.0.1:1")

    result = desk("webhooks", "register", "--all", *words)

    assert result.exit_code == 3
    [line] = result.stderr.splitlines()
    assert line.startswith("error: demo: unclear: ")
    assert "the connection was refused" in line
    assert "run it again" in line


def test_unacknowledged_are_asked_for_again(desk: Shell) -> None:
    """The operator is asked to send once more what it never got an answer for."""
    assert desk.json("webhooks", "resend", "--all")["webhooks"][0]["done"] == "asked"


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["register"], 2, "--all"),
        (["register", "demo", "--all"], 2, "--all"),
        (["register", "nobody"], 1, "unknown company"),
        (["register", "demo", "--url", "hooks.example.com"], 2, "https://"),
        (["remove"], 2, "--all"),
    ],
    ids=["nobody named", "named and all", "unknown company", "no URL", "remove nobody"],
)
def test_wrong_use_is_one_line(desk: Shell, words: list[str], status: int, told: str) -> None:
    """What is missing or wrong is said in one line, and nothing is done."""
    result = desk("webhooks", *words)

    assert result.exit_code == status
    assert told in result.stderr
    assert states(desk) == ["not registered"]


def test_url_is_asked_for_where_none_is_set(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting to make is named."""
    monkeypatch.delenv("POSTILJON_WEBHOOK_URL")

    result = desk("webhooks", "register", "demo")

    assert result.exit_code == 2
    assert "POSTILJON_WEBHOOK_URL" in result.stderr


def test_production_wants_https(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """In production the secret does not travel in the clear."""
    monkeypatch.setenv("POSTILJON_INSTALLATION", "production")

    result = desk("webhooks", "register", "demo", "--url", "http://hooks.example.com")

    assert result.exit_code == 2
    assert "https" in result.stderr

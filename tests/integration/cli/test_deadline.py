"""`postiljon send --deadline`: which instant is meant, where it is shown, and that a late one is still sent."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Shell

Write = Callable[..., Path]


@pytest.fixture
def in_helsinki(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine two hours east of UTC in winter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EET-2EEST,M3.5.0/3,M10.5.0/4")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2036-12-01T06:00", "2036-12-01T04:00:00+00:00"),
        ("2036-07-01T06:00", "2036-07-01T03:00:00+00:00"),
        ("2036-12-01 06:00:30", "2036-12-01T04:00:30+00:00"),
        ("2036-12-01T06:00Z", "2036-12-01T06:00:00+00:00"),
        ("2036-12-01T06:00+05:30", "2036-12-01T00:30:00+00:00"),
    ],
    ids=["winter", "summer", "blank", "utc", "offset"],
)
def test_a_deadline_is_kept_as_an_instant(shell: Shell, write_invoice: Write, in_helsinki: None, given, meant):
    """A time without zone is this machine's, with its summer time; one with a zone is what it says."""
    sent = shell.json("send", str(write_invoice("a.xml")), "--company", "demo", "--deadline", given)

    kept = shell.json("show", sent["files"][0]["uuid"])["deadline"]
    assert datetime.fromisoformat(kept) == datetime.fromisoformat(meant)


def test_show_names_the_deadline(shell: Shell, write_invoice: Write):
    """A person reads the deadline in UTC, and nothing of one where there is none."""
    paths = [str(write_invoice(f"{name}.xml", name)) for name in ("a", "b")]
    urgent = shell.json("send", paths[0], "--company", "demo", "--deadline", "2036-12-01T06:00Z")["files"][0]["uuid"]
    plain = shell.json("send", paths[1], "--company", "demo")["files"][0]["uuid"]

    assert "deadline   2036-12-01 06:00:00 UTC" in shell("show", urgent).stdout
    assert "deadline" not in shell("show", plain).stdout


def test_a_deadline_that_is_over_warns_and_sends(shell: Shell, write_invoice: Write):
    """What misses its deadline is still sent: the command says that it is over, and queues."""
    over = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    result = shell("send", str(write_invoice("a.xml")), "--company", "demo", "--deadline", over)

    assert result.exit_code == 0
    assert "is over" in result.stderr
    assert "1 queued" in result.stdout


@pytest.mark.parametrize("given", ["tomorrow", "2036-12-01", "2036-13-01T06:00", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_refused(shell: Shell, write_invoice: Write, given):
    """A deadline that cannot be read queues nothing and says how to write it."""
    result = shell("send", str(write_invoice("a.xml")), "--company", "demo", "--deadline", given)

    assert result.exit_code != 0
    assert "2026-12-01T06:00" in result.stderr
    assert shell.json("list")["invoices"] == []


def test_what_was_submitted_before_keeps_its_deadline(shell: Shell, write_invoice: Write):
    """The same document again is the same invoice, with the deadline of the first time."""
    path = str(write_invoice("a.xml"))
    first = shell.json("send", path, "--company", "demo", "--deadline", "2036-12-01T06:00Z")["files"][0]["uuid"]

    again = shell.json("send", path, "--company", "demo", "--deadline", "2036-11-01T06:00Z")

    assert (again["known"], again["files"][0]["uuid"]) == (1, first)
    assert shell.json("show", first)["deadline"].startswith("2036-12-01T06:00:00")


def test_the_help_says_whose_time_is_meant(shell: Shell):
    """`--help` states the time zone rule."""
    told = " ".join(shell("send", "--help").stdout.replace("│", " ").split())

    assert "--deadline" in told
    assert "this machine's" in told

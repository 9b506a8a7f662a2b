"""`postiljon expunge` by the command line: looks first, needs a yes, and `show` tells of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage import shelving
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database
from tests.integration.cli.conftest import COMPANY_ID, Shell
from tests.integration.storage.rows import change

CUSTOMER = ("--company", "demo", "--customer", "Ostaja €")


@pytest.fixture
def sent(shell: Shell, write_invoice: Callable[..., Path]) -> str:
    """The UUID of a submitted invoice."""
    shell.json("send", str(write_invoice("a.xml", "1001")), "--company", "demo")
    uuid: str = shell.json("list")["invoices"][0]["uuid"]
    return uuid


def put_away(database: Database) -> None:
    change(database, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    change(database, "UPDATE invoice SET state = 'delivered', accepted_at = now(), due_at = NULL")
    change(database, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")
    with database.transaction() as session:
        now = read_clock(session)
        assert shelving.shelve(session, rested_since=now, accepted_before=now, now=now, limit=9) == 1


def test_an_open_invoice_is_named_with_what_to_do(shell: Shell, sent: str):
    refused = shell.json("expunge", *CUSTOMER, "--yes", status=1)

    assert refused["done"] is None
    assert [(each["uuid"], each["state"]) for each in refused["open"]] == [(sent, "queued")]
    assert "postiljon cancel" in shell("expunge", *CUSTOMER, "--yes").stderr
    assert shell.json("show", sent)["number"] == "1001"


def test_without_a_yes_nothing_is_changed(shell: Shell, sent: str, database: Database):
    put_away(database)

    looked = shell("expunge", *CUSTOMER)

    assert looked.exit_code == 1
    assert "1 invoices of demo" in looked.stdout
    assert "nothing was changed: --yes removes it" in looked.stderr
    assert shell.json("show", sent)["number"] == "1001"


def test_an_expunged_invoice_says_what_happened(shell: Shell, sent: str, database: Database):
    """The answer holds the proof; `show` tells when, by whom and under which number, and nothing of the customer."""
    put_away(database)

    done = shell.json("expunge", "--company", COMPANY_ID, "--invoice", sent, "--yes")["done"]

    assert (done["invoices"], done["tables"]["document"]["rows"]) == (1, 1)
    told = shell("show", sent).stdout
    assert f"removal {done['removal']}" in " ".join(told.split())
    assert "Ostaja" not in told
    assert "1001" not in told
    assert shell.json("show", sent)["customer"] is None
    assert shell("list").exit_code == 0


@pytest.mark.parametrize("words", [[], [*CUSTOMER[2:], "--invoice", "00000000-0000-4000-8000-0000000000aa"]])
def test_whose_data_is_said_in_one_way(shell: Shell, words: list[str]):
    assert shell("expunge", "--company", "demo", *words, "--yes").exit_code == 2

"""What is kept and dropped, by the command line."""

import pytest

from tests.integration.cli.conftest import COMPANY_ID, Shell


def test_months_of_a_company_are_set_shown_and_cleared(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """What is set counts before the installation's; what is not named stays; cleared, the installation's count."""
    monkeypatch.setenv("POSTILJON_KEEP_FAILED_MONTHS", "84")
    monkeypatch.setenv("POSTILJON_KEEP_DELIVERED_MONTHS", "12")
    shell.json("company", "keep", "demo", "--delivered", "24")
    told = shell.json("company", "keep", COMPANY_ID, "--documents", "6")

    assert told["own"] == {"delivered": 24, "failed": None, "documents": 6}
    assert told["keep"] == {"delivered": 24, "failed": 84, "documents": 6}
    assert shell.json("company", "keep", "demo") == told
    assert "delivered 24 months, failed 84 months" in shell("company", "keep", "demo").stdout
    cleared = shell.json("company", "keep", "demo", "--clear")
    assert cleared["own"] == {"delivered": None, "failed": None, "documents": None}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--delivered", "6", "--documents", "12"], "documents are dropped before records"),
        (["--delivered", "6", "--failed", "5"], "keep failures at least as long"),
        (["--delivered", "0"], "from 1 to 1200"),
    ],
)
def test_months_that_contradict_each_other_change_nothing(shell: Shell, words: list[str], complaint: str):
    before = shell.json("company", "keep", "demo")

    refused = shell("company", "keep", "demo", *words)

    assert refused.exit_code == 1
    assert complaint in " ".join(refused.stderr.split())
    assert shell.json("company", "keep", "demo") == before


def test_retention_says_what_is_kept_and_what_goes(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Without settings nothing goes; a contradiction in the settings is a matter of configuration."""
    assert "delivered for ever" in shell("retention", "--dry-run").stdout
    monkeypatch.setenv("POSTILJON_KEEP_DELIVERED_MONTHS", "12")
    assert shell.json("retention", "--dry-run") == {
        "dry_run": True,
        "keep": {"delivered": 12, "failed": None, "documents": None},
        "parts": [],
        "put_off": [],
    }
    assert shell.json("retention")["dry_run"] is False
    monkeypatch.setenv("POSTILJON_KEEP_DOCUMENTS_MONTHS", "13")
    assert shell("retention").exit_code == 2

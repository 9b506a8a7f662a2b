"""Limits, shares and caps of a company by the command line."""

import pytest

from tests.integration.cli.conftest import COMPANY_ID, Shell


def test_limits_of_a_company_are_set_and_shown(shell: Shell):
    """What is set is shown by every command that shows the company; what is not named stays."""
    shell.json("company", "limit", "demo", "--uploads", "2.5", "--reads", "10", "--weight", "3", "--cap", "50")
    told = shell.json("company", "limit", COMPANY_ID, "--reads", "none")

    wanted = {"uploads_per_second": 2.5, "reads_per_second": None, "weight": 3, "cap": 50}
    assert {name: told[name] for name in wanted} == wanted
    assert shell.json("company", "show", "demo") == shell.json("company", "list")["companies"][0] == told
    assert "uploads at most 2.5 a second" in shell("company", "show", "demo").stdout
    assert "at most 50 at once" in shell("company", "list").stdout


def test_limits_outlive_new_keys(shell: Shell):
    """Entering the keys anew changes no limit."""
    shell.json("company", "limit", "demo", "--uploads", "5")

    shell("company", "add", COMPANY_ID, "--name", "demo", "--user-key", "new", "--vendor-key", "new")

    assert shell.json("company", "show", "demo")["uploads_per_second"] == 5


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--uploads", "many"], "uploads_per_second is a number or none, not 'many'"),
        (["--uploads", "0"], "uploads_per_second is a number from 0.001 to 100000, not 0"),
        (["--reads", "nan"], "reads_per_second is a number or none"),
        (["--weight", "none"], "always has a weight"),
        (["--weight", "-1"], "weight is a number from 0.01 to 1000"),
        (["--cap", "0.5"], "cap is a whole number from 1"),
        (["--cap", "0"], "cap is a whole number from 1"),
    ],
)
def test_wrong_limit_is_one_clear_line(shell: Shell, words: list[str], complaint: str):
    """A wrong limit is refused with what it takes, and nothing changes."""
    before = shell.json("company", "show", "demo")

    refused = shell("company", "limit", "demo", "--reads", "7", *words)

    assert refused.exit_code == 1
    assert complaint in " ".join(refused.stderr.split())
    assert shell.json("company", "show", "demo") == before


def test_unknown_company_has_no_limit(shell: Shell):
    assert shell("company", "limit", "nobody", "--cap", "1").exit_code == 1

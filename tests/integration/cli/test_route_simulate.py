"""`postiljon route`: rules are checked to the line, and replayed on history without touching anything."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.storage.failure_history import promise_to_read_only
from tests.integration.cli.case_rows import FAILED_AT, CaseRows
from tests.integration.cli.conftest import Shell

SINCE = ("--since", "2026-09-01")
RULES = """version = 1
[[rule]]
name = "wrong-address-by-email"
cause = "recipient_address"
way = "email"

[[rule]]
name = "print-after-two-days"
cause = "recipient_address"
way = "print"
after = "48h"

[company.demo]
automatic = ["email", "print"]
"""
EVERYTHING = "SELECT xmin::text, ctid::text, * FROM {} ORDER BY 2"
TABLES = ("route_case", "failure", "way_out", "invoice", "event", "tally_delta")


@pytest.fixture
def rows(shell: Shell, database) -> CaseRows:
    return CaseRows(database)


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "routing.toml"
    path.write_text(RULES, encoding="utf-8")
    return str(path)


def failed(rows: CaseRows, **given):
    return rows.case(told="Unknown e-invoice address", verdict=given.pop("verdict", "no-route"), **given)


def test_history_shows_what_rules_would_have_done(shell: Shell, rows: CaseRows, rules: str):
    """Each past failure is judged and decided anew, with the reason where a person would be asked."""
    failed(rows, email="buyer@example.com")
    failed(rows)
    rows.case(told="a text that nobody has seen")

    told = shell.json("route", "simulate", "--rules", rules, *SINCE)

    assert (told["cases"], told["failures"]) == (3, 3)
    assert (told["would"]["email"], told["would"]["person"]) == (1, 2)
    assert sum(told["would"].values()) == 3
    assert sum(told["persons_why"].values()) == 2
    assert any("no e-mail address" in why for why in told["persons_why"])
    assert told["changed_verdict"] >= 1


def test_what_people_did_is_compared(shell: Shell, rows: CaseRows, rules: str):
    """Agreement with people is counted, and a difference names both ways and whether it was delivered."""
    agreed, first = failed(rows, email="a@example.com", number="1")
    other, second = failed(rows, email="b@example.com", number="2", state="delivered")
    rows.way(agreed, first, kind="email", at=FAILED_AT + timedelta(minutes=5), chosen_by="a person (maija)")
    rows.way(other, second, kind="print", at=FAILED_AT + timedelta(minutes=5), chosen_by="a person (maija)")

    told = shell.json("route", "simulate", "--rules", rules, *SINCE)

    assert (told["decided_by_people"], told["agreed_with_people"], told["differences"]) == (2, 1, 1)
    (difference,) = told["differs"]
    assert (difference["case"], difference["uuid"]) == (other, str(second))
    assert (difference["would"], difference["really"], difference["delivered"]) == ("email", "print", True)
    assert difference["why"] == "rule wrong-address-by-email"


def test_a_rule_that_waits_is_overtaken(shell: Shell, rows: CaseRows, tmp_path: Path):
    """A rule with a wait counts as later where a person acted before its time, and as its way where nobody did."""
    path = tmp_path / "wait.toml"
    path.write_text(
        RULES.replace('way = "email"', 'way = "resend"\nafter = "48h"').replace('["email"', '["resend"'),
        encoding="utf-8",
    )
    overtaken, uuid = failed(rows, number="1")
    failed(rows, number="2")
    rows.way(overtaken, uuid, kind="print", at=FAILED_AT + timedelta(hours=1), chosen_by="a person (maija)")

    told = shell.json("route", "simulate", "--rules", str(path), *SINCE)

    assert (told["would"]["later"], told["would"]["resend"], told["differences"]) == (1, 1, 0)


def test_earlier_rounds_count_as_tried(shell: Shell, rows: CaseRows, rules: str):
    """A way that was taken before the invoice failed again is not taken once more."""
    case, uuid = failed(rows, email="a@example.com")
    rows.way(case, uuid, kind="email", at=FAILED_AT + timedelta(minutes=5))
    rows.failure(case, uuid, at=FAILED_AT + timedelta(hours=1), told="Unknown e-invoice address")

    told = shell.json("route", "simulate", "--rules", rules, *SINCE)

    assert (told["cases"], told["failures"]) == (1, 2)
    assert (told["would"]["email"], told["would"]["person"]) == (1, 1)
    assert any("tried already" in why for why in told["persons_why"])


def test_simulating_touches_nothing(shell: Shell, rows: CaseRows, rules: str):
    """Not a row of any table is written, and the database would refuse it."""
    case, uuid = failed(rows, email="a@example.com")
    rows.way(case, uuid)
    before = [rows.query(EVERYTHING.format(table)) for table in TABLES]

    assert shell("route", "simulate", "--rules", rules, *SINCE).exit_code == 0

    assert [rows.query(EVERYTHING.format(table)) for table in TABLES] == before
    assert shell.rung == []


def test_the_database_refuses_writes_of_a_simulation(rows: CaseRows):
    """A transaction that promised to read only cannot write, whatever the code above does."""
    rows.case()

    with pytest.raises(Exception, match="read-only"), rows.database.transaction() as session:  # noqa: PT012
        promise_to_read_only(session)
        session.connection().exec_driver_sql("DELETE FROM way_out")


def test_history_is_read_in_pages(shell: Shell, rows: CaseRows, rules: str, monkeypatch: pytest.MonkeyPatch):
    """Every failure is seen once, also where pages end between failures of one instant."""
    monkeypatch.setattr("pipeline.services.simulate_routing.PAGE_FAILURES", 2)
    for number in range(5):
        failed(rows, number=str(number))

    told = shell.json("route", "simulate", "--rules", rules, *SINCE)

    assert (told["cases"], told["failures"], sum(told["would"].values())) == (5, 5, 5)


def test_time_and_company_narrow_the_history(shell: Shell, rows: CaseRows, rules: str):
    """Only failures since the instant, of the company, are replayed."""
    failed(rows)
    later = ("--since", "2026-10-02")

    assert shell.json("route", "simulate", "--rules", rules, *later)["failures"] == 0
    assert shell.json("route", "simulate", "--rules", rules, *SINCE, "--company", "demo")["failures"] == 1
    assert shell("route", "simulate", "--rules", rules, "--company", "nobody").exit_code == 1
    assert shell("route", "simulate", "--rules", rules, "--since", "last month").exit_code == 2
    assert "Nothing failed" in shell("route", "simulate", "--rules", rules, *later).stdout


def test_wrong_rules_are_told_by_line(shell: Shell, tmp_path: Path):
    """Every mistake is told with its line, one a line, with status 2; nothing is replayed."""
    path = tmp_path / "wrong.toml"
    path.write_text(
        'version = 1\n[[rule]]\nname = "x"\nway = "pigeon"\n[company.demo]\nautomatik = []\n', encoding="utf-8"
    )

    for command in ("simulate", "check"):
        result = shell("route", command, "--rules", str(path))

        assert result.exit_code == 2
        lines = result.stderr.splitlines()
        assert len(lines) == 2, result.stderr
        assert "wrong.toml:4:" in lines[0]
        assert "wrong.toml:6:" in lines[1]


def test_rules_for_strangers_are_warned_of(shell: Shell, tmp_path: Path):
    """A company in the rules that is not known here is told, since nothing would come of its part."""
    path = tmp_path / "stranger.toml"
    path.write_text('version = 1\n[company.stranger]\nautomatic = ["print"]\n', encoding="utf-8")

    assert "stranger" in shell("route", "simulate", "--rules", str(path)).stderr
    assert len(shell.json("route", "simulate", "--rules", str(path))["warnings"]) == 1


def test_checked_rules_show_what_they_switch_on(bare_shell: Shell, rules: str, monkeypatch: pytest.MonkeyPatch):
    """Good rules are called ok with what each company lets happen without asking; no database is needed."""
    monkeypatch.delenv("POSTILJON_DATABASE_URL")

    printed, told = bare_shell("route", "check", "--rules", rules), bare_shell.json("route", "check", "--rules", rules)

    assert printed.exit_code == 0
    assert "ok" in printed.stdout
    assert "demo: email, print without asking" in printed.stdout
    assert told["companies"] == {"demo": {"automatic": ["email", "print"], "rules": 0}}


def test_a_missing_file_of_rules_is_named(bare_shell: Shell, tmp_path: Path):
    """A file that is not there, or is no text, is one line with status 2."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")

    for path in (tmp_path / "none.toml", binary):
        result = bare_shell("route", "check", "--rules", str(path))

        assert result.exit_code == 2
        assert path.name in result.stderr


def test_a_person_who_decides_again_is_no_difference(shell: Shell, rows: CaseRows, rules: str):
    """Where a person decided and the rules would ask a person, nothing differs; where a rule acted, it does."""
    asked, first = rows.case(told="a text that nobody has seen", number="1")
    acted, second = rows.case(told="a text that nobody has seen", number="2")
    rows.way(asked, first, at=FAILED_AT + timedelta(minutes=5), chosen_by="a person (maija)")
    rows.way(acted, second, at=FAILED_AT + timedelta(minutes=5), chosen_by="rule old")

    told = shell.json("route", "simulate", "--rules", rules, *SINCE)

    assert [each["case"] for each in told["differs"]] == [acted]

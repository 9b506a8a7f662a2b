"""`postiljon show`: one timeline of all that happened, the chain of resends, and what happens next and when."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.cli.case_rows import FAILED_AT, CaseRows
from tests.integration.cli.conftest import Shell


@pytest.fixture
def rows(shell: Shell, database) -> CaseRows:
    return CaseRows(database)


def test_the_story_is_one_timeline(shell: Shell, rows: CaseRows):
    """Attempts, events, the operator's actions, failures and ways out stand in one list in order of time."""
    case, uuid = rows.case(email="buyer@example.com")
    rows.action(uuid, type="ERROR", key="action_route_failed", channel="EINVOICE", message="no such address")
    rows.way(case, uuid, at=FAILED_AT + timedelta(hours=1), fields={"recipient_email": "b@example.com"})

    shown = shell.json("show", str(uuid))

    moments = shown["timeline"]
    assert [each["at"] for each in moments] == sorted(each["at"] for each in moments)
    assert [(each["who"], each["kind"]) for each in moments] == [
        ("operator", "ERROR"),
        ("case", "failure"),
        ("case", "planned"),
        ("case", "asked"),
        ("case", "done"),
        ("us", "submitted"),
    ]
    assert "no such address" in " ".join(each["what"] for each in moments)
    assert shown["case"]["case"] == case
    assert shown["failures"][0]["told"] == "no such address"
    assert shown["ways_out"][0]["fields"] == {"recipient_email": "b@example.com"}
    assert shown["operator_actions"][0]["key"] == "action_route_failed"


def test_the_chain_has_every_uuid(shell: Shell, rows: CaseRows):
    """From any invoice of a chain of resends the whole chain is seen, with each one's state."""
    case, first = rows.case(number="first", state="failed")
    rows.move(first, "superseded")
    second = rows.invoice(number="second", state="accepted")
    rows.change("UPDATE invoice SET supersedes = :first WHERE id = :second", first=first, second=second)
    rows.change("UPDATE route_case SET invoice_id = :second WHERE id = :case", second=second, case=case)

    earlier, later = shell.json("show", str(first)), shell.json("show", str(second))

    chain = [(str(first), "superseded"), (str(second), "accepted")]
    assert [(each["uuid"], each["state"]) for each in earlier["chain"]] == chain
    assert [(each["uuid"], each["state"]) for each in later["chain"]] == chain
    assert (earlier["supersedes"], earlier["superseded_by"]) == (None, str(second))
    assert (later["supersedes"], later["superseded_by"]) == (str(first), None)
    assert earlier["case"]["case"] == later["case"]["case"] == case
    assert str(second) in shell("show", str(first)).stdout


def test_a_cancelled_successor_is_in_no_chain(shell: Shell, rows: CaseRows):
    """An invoice that was cancelled before it was sent took nobody's place."""
    first = rows.invoice(state="failed")
    second = rows.invoice(number="2", state="queued")
    rows.change("UPDATE invoice SET supersedes = :first WHERE id = :second", first=first, second=second)
    rows.move(second, "cancelled")

    assert [each["uuid"] for each in shell.json("show", str(first))["chain"]] == [str(first)]


@pytest.mark.parametrize(
    ("number", "name", "only"),
    [(0, "PENDING", False), (1, "SENT", False), (3, "ACCEPTED", True), (92, "DISPUTED", True), (99, "ERROR", False)],
)
def test_the_operators_state_says_what_it_means(shell: Shell, rows: CaseRows, number, name, only):
    """The finer state has its number, and is marked where it is information only."""
    uuid = rows.invoice(state="accepted")
    rows.change("UPDATE invoice SET operator_state = :number, channel = 'EMAIL' WHERE id = :id", number=number, id=uuid)

    shown, printed = shell.json("show", str(uuid)), shell("show", str(uuid)).stdout

    assert shown["operator_state"] == {"number": number, "name": name, "information_only": only}
    assert shown["channel"] == "EMAIL"
    assert f"{number} {name}" in printed
    assert ("information only" in printed) is only


def test_next_says_when_it_is_looked_at(shell: Shell, rows: CaseRows):
    """An accepted invoice tells when its status is asked for next."""
    uuid = rows.invoice(state="accepted")
    rows.change("UPDATE invoice SET look_at = :at WHERE id = :id", at=FAILED_AT, id=uuid)

    shown = shell.json("show", str(uuid))

    assert "(next at 2026-10-01 08:00:00 UTC)" in shown["next_step"]
    assert shown["next_look_at"].startswith("2026-10-01T08:00:00")


def test_next_says_who_decides(shell: Shell, rows: CaseRows):
    """A failed invoice tells whose its case is and what the plan says."""
    _, uuid = rows.case()

    assert shell.json("show", str(uuid))["next_step"] == "the accountant decides: no rule fits"


def test_next_says_when_the_rules_decide(shell: Shell, rows: CaseRows):
    """Where rules decide, the time is told and nobody is sent to act."""
    case, uuid = rows.case()
    rows.change(
        "UPDATE route_case SET decide_at = :at, plan = 'print when 48 h are over' WHERE id = :id", at=FAILED_AT, id=case
    )

    assert shell.json("show", str(uuid))["next_step"] == (
        "the rules decide (at 2026-10-01 08:00:00 UTC): print when 48 h are over"
    )


def test_next_says_what_is_under_way(shell: Shell, rows: CaseRows):
    """A planned way out is told with its time; an unclear one with what is done about it."""
    case, uuid = rows.case(status="under_way")
    rows.way(case, uuid, status="planned", fields={"recipient_email": "b@example.com"})
    planned = shell.json("show", str(uuid))["next_step"]
    rows.change("UPDATE way_out SET status = 'unclear'")

    assert planned == "reroute by e-mail (email b@example.com) (not before 2026-10-01 08:00:00 UTC)"
    assert "unclear" in shell.json("show", str(uuid))["next_step"]


def test_next_says_why_it_is_closed(shell: Shell, rows: CaseRows):
    """A closed case asks nobody to act and tells the reason."""
    _, uuid = rows.case(status="closed")

    assert shell.json("show", str(uuid))["next_step"] == "nothing: its case was closed: paid by card"


def test_next_says_what_a_held_company_waits_for(shell: Shell, rows: CaseRows):
    """What waits for its company tells the company's cause, what to do and when it is asked about again."""
    uuid = rows.invoice(state="held")
    rows.change("UPDATE invoice SET held_for = 'company' WHERE id = :id", id=uuid)
    rows.change(
        "UPDATE company SET hold_reason = 'not verified', hold_advice = 'verify it at the operator', check_at = :at",
        at=FAILED_AT,
    )

    told = shell.json("show", str(uuid))["next_step"]

    assert "not verified" in told
    assert "verify it at the operator" in told
    assert "(next at 2026-10-01 08:00:00 UTC)" in told


def test_the_story_fits_a_terminal(shell: Shell, rows: CaseRows, monkeypatch: pytest.MonkeyPatch):
    """At 80 columns no line is cut and every UUID stands whole."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("pipeline.cli.output.PIPE_WIDTH", 80)
    _, uuid = rows.case(email="buyer@example.com")

    printed = shell("show", str(uuid)).stdout

    assert str(uuid) in printed
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 80


def test_a_cut_list_says_so(shell: Shell, write_invoice: Callable[..., Path]):
    """A list that shows not all there is says so, on stderr and in JSON; a whole one does not."""
    paths = [str(write_invoice(f"{number}.xml", number)) for number in "123"]
    shell("send", *paths, "--company", "demo")

    cut, whole = shell("list", "--limit", "2"), shell("list", "--limit", "3")

    assert "2 of 3; more: --before " in cut.stderr
    assert "--before" not in whole.stderr
    assert (shell.json("list", "--limit", "2")["more"], shell.json("list", "--limit", "3")["more"]) == (True, False)
    assert len(shell.json("list", "--limit", "2")["invoices"]) == 2


def test_pages_hold_each_invoice_once(shell: Shell, write_invoice: Callable[..., Path]):
    """Page after page a list shows every invoice exactly once, newest first, and says how many there are."""
    paths = [str(write_invoice(f"{number}.xml", number)) for number in "12345"]
    shell("send", *paths, "--company", "demo", "--batch", "five")
    whole = [invoice["uuid"] for invoice in shell.json("list")["invoices"]]

    for chosen in ((), ("--state", "queued"), ("--company", "demo"), ("--batch", "five")):
        pages, more = [], ()
        while len(pages) <= 5:
            page = shell.json("list", "--limit", "2", *chosen, *more)
            assert page["total"] == (None if "--batch" in chosen else 5)
            pages += [invoice["uuid"] for invoice in page["invoices"]]
            if page["next"] is None:
                break
            more = ("--before", page["next"])
        assert pages == whole


def test_an_unknown_page_is_refused(shell: Shell):
    unknown = shell("list", "--before", "0b0f6a6e-3f0c-5b0a-8c43-2f0a7f0c1d2e")

    assert "give --before a UUID that a list has shown" in unknown.stderr

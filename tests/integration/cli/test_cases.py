"""`postiljon cases`: preview first, then one case, or many behind a canary with time to take it back."""

import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from pipeline.domain.way import Way
from pipeline.services.orders import Pace, Wish, carry_out, preview
from pipeline.storage.cases import CaseFilter, list_cases
from pipeline.storage.clock import read_clock
from tests.integration.cli.case_rows import ADDRESS, ALL_BUT_RETRY, CaseRows, invoice_xml
from tests.integration.cli.conftest import Shell

EMAIL = ("--to", "email")
BY_CAUSE = ("--cause", "recipient_address")


@pytest.fixture
def rows(shell: Shell, database) -> CaseRows:
    return CaseRows(database)


def with_email(rows: CaseRows, count: int):
    return [rows.case(number=str(n), email=f"buyer{n}@example.com") for n in range(1, count + 1)]


def test_cases_are_listed_by_filter(shell: Shell, rows: CaseRows):
    """Cause, owner, company, batch, status, verdict and time narrow the list; the oldest stands first."""
    old, _ = rows.case(batch="november")
    new, _ = rows.case(cause="operator", owner="engineer", verdict="file-lost", number="2")

    def listed(*words):
        return [each["case"] for each in shell.json("cases", "list", *words)["cases"]]

    assert listed() == [old, new]
    assert listed("--cause", "operator") == listed("--owner", "engineer") == listed("--verdict", "file-lost") == [new]
    assert listed("--batch", "november") == [old]
    assert listed("--company", "demo", "--status", "open") == [old, new]
    assert listed("--status", "closed") == []
    assert (listed("--since", "2026-10-02"), listed("--since", "2026-10-01")) == ([], [old, new])
    assert listed("--limit", "1") == [old]
    assert shell.json("cases", "list", "--limit", "1")["more"] is True
    assert shell("cases", "list", "--cause", "weather").exit_code == 2
    assert shell("cases", "list", "--since", "yesterday").exit_code == 2


def test_a_case_is_shown_by_number_and_uuid(shell: Shell, rows: CaseRows):
    """A case shows its history, what may be done, the plan and the advice."""
    case, uuid = rows.case()
    rows.way(case, uuid, status="refused", fields={"recipient_email": "b@example.com"})

    by_number, by_uuid = shell.json("cases", "show", str(case)), shell.json("cases", "show", str(uuid))

    assert by_number == by_uuid
    assert by_number["ways"] == ALL_BUT_RETRY
    assert by_number["failures"][0]["told"] == "no such address"
    assert by_number["ways_out"][0]["status"] == "refused"
    assert [each["uuid"] for each in by_number["chain"]] == [str(uuid)]
    printed = " ".join(shell("cases", "show", str(case)).stdout.split())
    for words in ("Ask the customer", "no rule fits", "einvoice, email, print, resend, close", "no such address"):
        assert words in printed


@pytest.mark.parametrize(
    ("name", "status"),
    [("999", 1), (str(UUID(int=404)), 1), ("9" * 30, 1), ("nonsense", 2), ("order-99", 1), ("-1", 2)],
)
def test_unknown_cases_are_one_line(shell: Shell, rows: CaseRows, name, status):
    """What names no case is one line with a status, never a traceback."""
    for command in (("show",), ("undo",)):
        result = shell("cases", *command, name)

        assert result.exit_code == status, result.output


def test_one_case_is_rerouted_at_once(shell: Shell, rows: CaseRows):
    """One named case is planned for now, without an order, with the document's address and who chose it."""
    ((case, uuid),) = with_email(rows, 1)

    told = shell.json("cases", "reroute", str(case), *EMAIL, "--reason", "customer asked", "--yes")

    assert (told["count"], told["planned"], told["order"], told["canary"]) == (1, [case], None, None)
    assert told["sum"] == {"EUR": "12.50"}
    (way,) = rows.ways()
    assert (way.kind, way.status, way.invoice_id, way.order_id) == ("email", "planned", uuid, None)
    assert way.fields == {"recipient_email": "buyer1@example.com"}
    assert (way.not_before, way.reason) == (way.planned_at, "customer asked")
    assert way.chosen_by.startswith("a person")
    assert rows.case_row(case).status == "under_way"


def test_what_is_given_wins_over_the_document(shell: Shell, rows: CaseRows):
    """Options replace what the document says, field by field."""
    ((_, uuid),) = with_email(rows, 1)

    shell.json("cases", "reroute", str(uuid), *EMAIL, "--email", "other@example.com", "--yes")

    assert rows.ways()[0].fields == {"recipient_email": "other@example.com"}


def test_a_letter_goes_to_the_address_given(shell: Shell, rows: CaseRows):
    """The document's address is used whole, or the one given; half of each is never put together."""
    document, _ = rows.case(number="1", address=ADDRESS)
    given, _ = rows.case(number="2", address=ADDRESS)
    lacking, _ = rows.case(number="3")
    words = ("--address1", "Uusi katu 1", "--post-code", "00100", "--post-office", "Helsinki")

    shell.json("cases", "reroute", str(document), "--to", "print", "--yes")
    shell.json("cases", "reroute", str(given), "--to", "print", *words, "--yes")
    told = shell.json("cases", "reroute", str(lacking), "--to", "print", *words, "--yes", status=1)

    old, new = (way.fields for way in rows.ways())
    assert (old["recipient_address1"], old["recipient_address2"]) == ("Vanha katu 7", "Porras B")
    assert new == {
        "recipient_name": "Ostaja Oy",
        "recipient_address1": "Uusi katu 1",
        "recipient_post_code": "00100",
        "recipient_post_office": "Helsinki",
        "recipient_country": "FI",
    }
    assert "give --country" in told["skipped"][0]["why"]


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "email", "--email", "not an address"),
        ("--to", "email", "--country", "FI"),
        ("--to", "print", "--country", "Finland"),
        ("--to", "pigeon"),
        ("--to", "email", "--undo-window", "soon"),
        ("--to", "email", "--per-minute", "0"),
        ("--to", "email", "--reason", "  "),
        ("--to", "email", "--cause", "recipient_address"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_before_anything(shell: Shell, rows: CaseRows, words):
    """A wrong option ends with status 2 and plans nothing."""
    ((case, _),) = with_email(rows, 1)

    result = shell("cases", "reroute", str(case), *words, "--yes")

    assert result.exit_code == 2, result.output
    assert rows.ways() == []


def test_without_cases_or_filter_is_wrong_usage(shell: Shell, rows: CaseRows):
    """A command about everything by accident does not exist."""
    with_email(rows, 2)

    assert shell("cases", "reroute", *EMAIL, "--yes").exit_code == 2
    assert shell("cases", "close", "--reason", "x", "--yes").exit_code == 2
    assert rows.ways() == []


def test_without_yes_nothing_is_done(shell: Shell, rows: CaseRows):
    """Where nobody can answer, the preview is shown and the status is 2; a dry run is asked for and ends well."""
    with_email(rows, 2)

    unasked, dry = (
        shell("cases", "reroute", *EMAIL, *BY_CAUSE),
        shell("cases", "reroute", *EMAIL, *BY_CAUSE, "--dry-run"),
    )

    assert (unasked.exit_code, dry.exit_code) == (2, 0)
    assert "add --yes" in unasked.stderr
    assert "2 cases, 25.00 EUR" in unasked.stdout
    assert rows.ways() == []
    assert shell.json("cases", "reroute", *EMAIL, *BY_CAUSE, status=2)["done"] is False
    assert rows.ways() == []


def test_what_is_skipped_says_why(shell: Shell, rows: CaseRows):
    """Each case that is passed over is named with its invoice and the reason; the sum counts the others only."""
    ready, _ = rows.case(number="1", email="a@example.com", total="100", currency="SEK")
    other, _ = rows.case(number="2", email="b@example.com")
    blank, blank_uuid = rows.case(number="3")
    barred, _ = rows.case(number="4", email="c@example.com", ways=["resend", "close"])
    taken, _ = rows.case(number="5", email="d@example.com", status="under_way")
    closed, _ = rows.case(number="6", email="e@example.com", status="closed")
    gone, _ = rows.case(number="7", email="f@example.com", state="delivered")
    names = [str(each) for each in (ready, other, blank, barred, taken, closed, gone)]

    told = shell.json("cases", "reroute", *names, *EMAIL, "--dry-run", status=1)

    assert (told["count"], told["sum"]) == (2, {"SEK": "100", "EUR": "12.50"})
    why = {each["case"]: each["why"] for each in told["skipped"]}
    assert set(why) == {blank, barred, taken, closed, gone}
    assert "recipient_email" in why[blank]
    assert "--email" in why[blank]
    assert "resend, close" in why[barred]
    assert "already under way" in why[taken]
    assert why[closed] == "closed: paid by card"
    assert "delivered" in why[gone]
    assert told["skipped"][0]["uuid"] == str(blank_uuid)
    printed = shell("cases", "reroute", *names, *EMAIL, "--dry-run").stdout
    assert str(blank_uuid) in printed
    assert "Skipped: 5" in printed


def test_nothing_that_fits_is_status_one(shell: Shell, rows: CaseRows):
    """Where no case can be rerouted nothing is ordered, and the status says so."""
    rows.case()

    assert shell("cases", "reroute", *EMAIL, *BY_CAUSE, "--yes").exit_code == 1
    assert rows.query("SELECT * FROM route_order") == []


def test_many_go_behind_a_canary(shell: Shell, rows: CaseRows):
    """The first goes at once; the rest is planned after the undo window, so many a minute, in one order."""
    cases = [case for case, _ in with_email(rows, 4)]

    told = shell.json("cases", "reroute", *EMAIL, *BY_CAUSE, "--per-minute", "6", "--undo-window", "1h30m", "--yes")

    assert (told["planned"], told["canary"]) == (cases, cases[0])
    (order,) = rows.query("SELECT * FROM route_order")
    assert (order.id, order.status, order.per_minute, order.kind) == (told["order"], "canary", 6, "email")
    assert order.chosen["cause"] == "recipient_address"
    ways = rows.ways(order.id)
    assert order.canary_id == ways[0].id
    window = timedelta(minutes=90)
    assert order.undo_until == order.created_at + window
    assert [way.not_before - order.created_at for way in ways] == [
        timedelta(0),
        window,
        window + timedelta(seconds=10),
        window + timedelta(seconds=20),
    ]
    shown = shell.json("cases", "show", f"order-{order.id}")
    assert (shown["status"], shown["counts"]) == ("canary", {"planned": 4})


def test_the_rules_set_the_pace(shell: Shell, rows: CaseRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pace, undo window and the canary's time come from the rules where no option says otherwise."""
    path = tmp_path / "routing.toml"
    path.write_text('version = 1\nper_minute = 30\nundo_window = "5m"\ncanary_wait = "1m"\n', encoding="utf-8")
    monkeypatch.setenv("POSTILJON_ROUTING_FILE", str(path))
    with_email(rows, 2)

    told = shell.json("cases", "reroute", *EMAIL, *BY_CAUSE, "--yes")

    assert (told["per_minute"], told["undo_window_seconds"], told["canary_wait_seconds"]) == (30, 300.0, 60.0)
    (order,) = rows.query("SELECT canary_until - created_at AS wait FROM route_order")
    assert order.wait == timedelta(minutes=1)


def test_twice_the_same_order_plans_nothing_twice(shell: Shell, rows: CaseRows):
    """The same command again finds everything under way, says so and changes nothing."""
    with_email(rows, 3)
    shell.json("cases", "reroute", *EMAIL, *BY_CAUSE, "--yes")

    again = shell.json("cases", "reroute", *EMAIL, *BY_CAUSE, "--yes", status=1)

    assert (again["count"], len(again["skipped"]), again["order"]) == (0, 3, None)
    assert all("already under way" in each["why"] for each in again["skipped"])
    assert len(rows.ways()) == 3


def test_an_order_is_taken_back(shell: Shell, rows: CaseRows):
    """What has not begun is undone and its cases open again; what has begun is listed and stays."""
    cases = [case for case, _ in with_email(rows, 3)]
    order = shell.json("cases", "reroute", *EMAIL, *BY_CAUSE, "--yes")["order"]
    rows.change("UPDATE way_out SET status = 'done', asked = 1, outcome = 'rerouted' WHERE case_id = :c", c=cases[0])

    told = shell.json("cases", "undo", f"order-{order}", status=1)

    assert [each["case"] for each in told["undone"]] == cases[1:]
    assert [(each["case"], each["status"]) for each in told["too_late"]] == [(cases[0], "done")]
    assert [way.status for way in rows.ways(order)] == ["done", "undone", "undone"]
    assert [rows.case_row(case).status for case in cases] == ["under_way", "open", "open"]
    assert shell.json("cases", "show", f"order-{order}")["status"] == "undone"
    assert shell.json("cases", "undo", f"order-{order}", status=1)["undone"] == []


def test_one_case_is_taken_back(shell: Shell, rows: CaseRows):
    """A planned way out of one case is undone by the case's number or its invoice's UUID, once."""
    ((case, uuid),) = with_email(rows, 1)
    shell.json("cases", "reroute", str(case), *EMAIL, "--yes")

    assert [each["case"] for each in shell.json("cases", "undo", str(uuid))["undone"]] == [case]
    assert rows.case_row(case).status == "open"
    assert "nothing was taken back" in shell("cases", "undo", str(case)).stderr


def test_a_corrected_document_is_resent(shell: Shell, rows: CaseRows, tmp_path: Path):
    """A corrected document is checked like a submitted one, stored, and planned for exactly one case."""
    (case, _), (other, _) = with_email(rows, 2)
    good, same, bad = tmp_path / "good.xml", tmp_path / "same.xml", tmp_path / "bad.pdf"
    good.write_bytes(invoice_xml("1", total="99.00"))
    same.write_bytes(invoice_xml("1", email="buyer1@example.com"))
    bad.write_bytes(b"%PDF-1.7")
    resend = ("cases", "resend", str(case), "--document")

    assert shell("cases", "resend", str(case), str(other), "--document", str(good), "--yes").exit_code == 2
    assert shell(*resend, str(bad), "--yes").exit_code == 1
    assert shell(*resend, str(tmp_path / "none.xml"), "--yes").exit_code == 1
    assert "leave it out" in shell.json(*resend, str(same), "--yes", status=1)["skipped"][0]["why"]
    assert rows.ways() == []
    shell.json(*resend, str(good), "--reason", "total corrected", "--yes")

    (way,) = rows.ways()
    assert (way.kind, way.document_filename) == ("resend", "good.xml")
    assert way.successor_id is not None
    (stored,) = rows.query("SELECT content FROM document WHERE sha256 = :sha", sha=way.document_sha256)
    assert bytes(stored.content) == good.read_bytes()


def test_the_same_document_is_resent(shell: Shell, rows: CaseRows):
    """Without a document the same bytes go again, and no second document is stored."""
    ((case, _),) = with_email(rows, 1)

    shell.json("cases", "resend", str(case), "--yes")

    assert rows.ways()[0].document_sha256 is None
    assert len(rows.query("SELECT 1 FROM document")) == 1


def test_only_refused_invoices_are_retried(shell: Shell, rows: CaseRows):
    """A refused invoice is retried; what the operator holds is skipped with what can be done instead."""
    refused, _ = rows.case(number="1", state="refused", ways=["resend", "retry", "close"])
    failed, _ = rows.case(number="2")

    told = shell.json("cases", "retry", str(refused), str(failed), "--yes", status=1)

    assert told["planned"] == [refused]
    assert [each["case"] for each in told["skipped"]] == [failed]
    assert [way.kind for way in rows.ways()] == ["retry"]


def test_closing_needs_a_reason(shell: Shell, rows: CaseRows):
    """Cases are closed at once, with the reason and who gave it; without a reason nothing happens."""
    open_, _ = rows.case(number="1")
    taken, _ = rows.case(number="2", status="under_way")

    assert shell("cases", "close", str(open_), "--yes").exit_code == 2
    told = shell.json("cases", "close", *BY_CAUSE, "--reason", "paid by card", "--yes", status=1)

    assert (told["planned"], told["order"]) == ([open_], None)
    assert [each["case"] for each in told["skipped"]] == [taken]
    row = rows.case_row(open_)
    assert row.status == "closed"
    assert row.closed_reason.startswith("paid by card (a person")


def test_what_changes_after_the_preview_is_skipped(rows: CaseRows):
    """A case that somebody else took between preview and order is skipped with the reason; the rest is ordered."""

    cases = [case for case, _ in with_email(rows, 3)]
    wish = Wish(way=Way.EMAIL, chosen_by="a person")
    pace = Pace(per_minute=60, undo_window=timedelta(0), canary_wait=timedelta(0))
    with rows.database.transaction() as session:
        previewed = preview(session, list_cases(session, CaseFilter()), wish)
    rows.change("UPDATE route_case SET status = 'closed', closed_reason = 'paid' WHERE id = :id", id=cases[0])

    with rows.database.transaction() as session:
        ordered = carry_out(session, previewed, wish, pace=pace, chosen={}, now=read_clock(session))

    assert (ordered.planned, ordered.canary) == (tuple(cases[1:]), cases[1])
    assert [each.case_id for each in ordered.skipped] == [cases[0]]
    (order,) = rows.query("SELECT canary_id FROM route_order")
    assert order.canary_id == rows.ways()[0].id


def test_a_terminal_is_asked(rows: CaseRows, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """In a terminal the question is asked: no leaves everything, yes does it."""

    ((case, _),) = with_email(rows, 1)
    code = f"from pipeline.cli.main import build_cli; build_cli(lambda: None)(['cases', 'reroute', '{case}', '--to', 'email'])"
    statuses = []
    for answer in (b"n\n", b"y\n"):
        master, slave = pty.openpty()
        process = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave)
        os.write(master, answer)
        os.close(slave)
        statuses.append(process.wait(60))
        os.close(master)

    assert statuses == [2, 0]
    assert [way.kind for way in rows.ways()] == ["email"]


def test_cases_fit_a_terminal(shell: Shell, rows: CaseRows, monkeypatch: pytest.MonkeyPatch):
    """At 80 columns nothing is cut: every UUID, total and reason can be read."""
    monkeypatch.setattr("pipeline.cli.output.PIPE_WIDTH", 80)
    found = with_email(rows, 2)
    rows.case(number="9")

    for words in (("list",), ("show", str(found[0][0])), ("reroute", *EMAIL, *BY_CAUSE, "--dry-run")):
        printed = shell("cases", *words).stdout
        assert "…" not in printed
        assert str(found[0][1]) in printed
        assert max(len(line) for line in printed.splitlines()) <= 80

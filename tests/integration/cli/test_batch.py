"""`postiljon batch` and `postiljon cancel`: progress, balance, what is ahead, waiting, and taking back what never left."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from pipeline.services.watch_batches import tend_batches
from pipeline.storage.database import Database
from tests.integration.cli.conftest import Shell

Write = Callable[..., Path]
OTHER_ID = "00000000-0000-4000-8000-000000000002"


@pytest.fixture(autouse=True)
def operator_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTILJON_OPERATOR_URL", "http://127.0.0.1:9")


def send(shell: Shell, write_invoice: Write, count: int, *options: str, batch: str = "november") -> list[str]:
    paths = [str(write_invoice(f"{uuid4()}.xml", str(uuid4()))) for _ in range(count)]
    answer = shell.json("send", *paths, "--company", "demo", "--batch", batch, *options)
    return [each["uuid"] for each in answer["files"]]


def change(database_url: str, statement: str, *values: object) -> None:
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def settle(database_url: str, uuids: list[str], state: str = "delivered") -> None:
    change(database_url, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    moved = "UPDATE invoice SET state = %s, reason = 'x', accepted_at = now(), due_at = NULL WHERE id = ANY(%s::uuid[])"
    change(database_url, moved, state, uuids)
    change(database_url, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")


def tend(database: Database) -> None:
    tend_batches(database, now=datetime.now(UTC), limit=1000)


def test_a_batch_is_shown_with_its_balance(shell: Shell, write_invoice: Write, database_url: str):
    uuids = send(shell, write_invoice, 4)
    settle(database_url, uuids[:1])
    settle(database_url, uuids[1:2], "failed")

    found = shell.json("batch", "show", "november")
    told = shell("batch", "show", "november").stdout

    assert (found["total"], found["delivered"], found["failed"], found["open"]) == (4, 1, 1, 2)
    assert found["balanced"]
    assert not found["is_complete"]
    assert found["states"]["queued"] == 2
    assert "50.0% through" in told
    assert "4 = 1 delivered + 1 failed + 2 open + 0 held + 0 cancelled + 0 superseded" in told
    assert "2 to send; when cannot be said yet" in told
    assert [each["batch"] for each in shell.json("batch", "list")["batches"]] == ["november"]


def test_an_unknown_batch_is_told(shell: Shell):
    result = shell("batch", "show", "december")

    assert result.exit_code == 1
    assert "unknown batch 'december'" in result.stderr
    assert shell("batch", "wait", "december", "--timeout", "0").exit_code == 1


def test_a_send_that_ends_closes_its_batch(shell: Shell, write_invoice: Write, tmp_path: Path):
    """A run through everything says that no more comes; one that is partly refused, or says so, leaves it open."""
    send(shell, write_invoice, 1)
    assert shell.json("batch", "show", "november")["closed_at"] is not None
    send(shell, write_invoice, 1, "--more-to-come")
    assert shell.json("batch", "show", "november")["closed_at"] is None
    broken = tmp_path / "broken.xml"
    broken.write_text("<Finvoice>")
    good = write_invoice("good.xml", "good")
    shell("send", str(broken), str(good), "--company", "demo", "--batch", "november")
    assert shell.json("batch", "show", "november")["closed_at"] is None

    shell("send", str(good), "--company", "demo", "--batch", "november")

    assert shell.json("batch", "show", "november")["closed_at"] is not None


def test_batches_that_a_manifest_names_are_opened_and_closed_too(
    shell: Shell, write_invoice: Write, tmp_path: Path, database: Database, database_url: str
):
    """Closed by a run before, a batch is not complete while a manifest adds to it, and is when that is through."""
    settle(database_url, send(shell, write_invoice, 1))
    good, manifest = write_invoice("good.xml", "good"), tmp_path / "manifest.ndjson"
    lines = [{"path": str(good), "batch": "november"}, {"path": "missing.xml", "batch": "december"}]
    manifest.write_text("\n".join(map(json.dumps, lines)))

    shell("send", "--manifest", str(manifest), "--company", "demo")
    tend(database)
    assert shell.json("batch", "show", "november")["closed_at"] is None

    manifest.write_text(json.dumps(lines[0]))
    shell("send", "--manifest", str(manifest), "--company", "demo")
    assert shell.json("batch", "show", "november")["closed_at"] is not None


def test_waiting_ends_when_the_batch_is_complete(
    shell: Shell, write_invoice: Write, database: Database, database_url: str
):
    """Status 1 while it is not complete in time, 0 when all is well, 1 when something failed."""
    uuids = send(shell, write_invoice, 2)
    late = shell("batch", "wait", "november", "--timeout", "0")
    settle(database_url, uuids)
    tend(database)

    through = shell.json("batch", "wait", "november")

    assert late.exit_code == 1
    assert "not complete after 0 seconds" in late.stderr
    assert through["is_complete"]
    assert through["completed_total"] == 2
    settle(database_url, uuids[:1], "failed")
    assert shell("batch", "wait", "november", "--timeout", "0").exit_code == 1


def test_waiting_in_a_terminal_shows_the_progress(shell: Shell, write_invoice: Write, monkeypatch: pytest.MonkeyPatch):
    """What is waited for is seen to move; what was waited for stays on the screen."""
    send(shell, write_invoice, 2)
    monkeypatch.setenv("FORCE_COLOR", "1")

    result = shell("batch", "wait", "november", "--timeout", "1.2")

    assert result.exit_code == 1
    assert result.stderr.count("0.0% through") >= 2
    assert "0.0% through" in result.stdout


def test_what_comes_after_the_completion_is_told(
    shell: Shell, write_invoice: Write, database: Database, database_url: str
):
    """The completion stands, the newcomer is sent and counted, and waiting waits for it."""
    settle(database_url, send(shell, write_invoice, 2))
    tend(database)
    send(shell, write_invoice, 1)

    found = shell.json("batch", "show", "november")

    assert (found["completed_total"], found["total"], found["open"], found["is_complete"]) == (2, 3, 1, False)
    assert "1 came later" in shell("batch", "show", "november").stdout
    assert shell("batch", "wait", "november", "--timeout", "0").exit_code == 1


def test_a_batch_can_be_closed_by_hand(shell: Shell, write_invoice: Write, database: Database, database_url: str):
    settle(database_url, send(shell, write_invoice, 1, "--more-to-come"))
    tend(database)
    assert "more may come under its name" in shell("batch", "show", "november").stdout

    assert shell.json("batch", "close", "november")["closed"] is True
    assert shell.json("batch", "close", "november")["closed"] is False
    tend(database)

    assert shell.json("batch", "wait", "november")["is_complete"]


def test_who_will_miss_the_cut_off_is_told_before(
    shell: Shell, write_invoice: Write, monkeypatch: pytest.MonkeyPatch, database_url: str
):
    """At one in a hundred seconds and an hour to go, those beyond are counted, on the board and for the batch."""
    monkeypatch.setenv("POSTILJON_UPLOADS_PER_SECOND", "0.01")
    at = (datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)).isoformat()
    send(shell, write_invoice, 45, "--deadline", at)
    send(shell, write_invoice, 5, batch="whenever")

    board, batch = shell.json("board"), shell.json("batch", "show", "november")

    assert 5 <= board["cut_offs"]["will_miss"] <= 15
    assert batch["will_miss"] == pytest.approx(board["cut_offs"]["will_miss"], abs=2)
    assert shell.json("batch", "show", "whenever")["will_miss"] == 0
    assert "will miss the cut-off at the present speed" in shell("board", "--once").stdout
    assert "will miss the cut-off at the present speed, the first at" in shell("batch", "show", "november").stdout
    assert batch["accepted_by"] < shell.json("batch", "show", "whenever")["accepted_by"]


def test_what_holds_a_batch_up_is_told(shell: Shell, write_invoice: Write, database_url: str):
    send(shell, write_invoice, 1, "--not-before", "2100-01-01T06:00+00:00", "--priority", "2")
    change(database_url, "UPDATE company SET hold_reason = 'keys are wrong', hold_advice = 'mend them'")

    found = shell.json("batch", "show", "november")

    assert found["not_before"] == "2100-01-01T06:00:00+00:00"
    held, asleep = found["waits_for"]
    assert held == "the company is on hold: keys are wrong; mend them"
    assert asleep == "not all may leave before 2100-01-01 06:00 UTC"


def test_what_never_left_is_cancelled(shell: Shell, write_invoice: Write, database_url: str):
    """What never left is cancelled, twice does no harm; what left is refused with the reason."""
    queued, sending, accepted, uploaded = uuids = send(shell, write_invoice, 4)
    change(
        database_url,
        "UPDATE invoice SET state = 'sending', uploads = 1, due_at = NULL, lease_until = now() WHERE id = ANY(%s::uuid[])",
        [sending, accepted, uploaded],
    )
    change(database_url, "UPDATE invoice SET state = 'accepted', accepted_at = now() WHERE id = %s", accepted)
    change(database_url, "UPDATE invoice SET state = 'waiting', due_at = now() WHERE id = %s", uploaded)
    unknown = str(uuid4())

    answer = shell.json("cancel", *uuids, unknown, status=1)

    assert answer["cancelled"] == [queued]
    why = {each["uuid"]: each["why"] for each in answer["refused"]}
    assert why[sending] == "a worker is sending it now"
    assert "it is accepted: it left" in why[accepted]
    assert "uploaded 1 times, and the operator may hold it" in why[uploaded]
    assert why[unknown] == "no such invoice"
    assert shell.json("cancel", queued)["cancelled"] == [queued]
    assert shell.json("show", queued)["state"] == "cancelled"


def test_a_batch_is_cancelled_as_far_as_it_never_left(
    shell: Shell, write_invoice: Write, database: Database, database_url: str
):
    uuids = send(shell, write_invoice, 3)
    settle(database_url, uuids[:1])

    result = shell("cancel", "--batch", "november")
    tend(database)

    assert (result.exit_code, result.stdout.strip()) == (0, "2 cancelled")
    found = shell.json("batch", "wait", "november")
    assert (found["cancelled"], found["delivered"], found["is_complete"]) == (2, 1, True)


def test_cancel_wants_invoices_or_a_batch(shell: Shell):
    assert shell("cancel").exit_code == 2
    assert shell("cancel", str(uuid4()), "--batch", "november").exit_code == 2

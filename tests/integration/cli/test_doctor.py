"""The doctor names each cause for which work stands still, and what to do about it."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.services.gate import host_scope
from pipeline.settings import load_settings
from pipeline.storage import alarms
from pipeline.storage.database import Database
from tests.integration.cli.conftest import COMPANY_ID, Shell

CHECKS = ("beat", "dispatcher", "oldest age", "deaf workers", "circuits", "pace", "set aside")


def change(database: Database, statement: str, **parameters: object) -> None:
    with database.transaction() as session:
        session.connection().execute(text(statement), parameters)


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def rung(database: Database, *, done_at: datetime | None) -> None:
    change(
        database,
        "INSERT INTO lease (name, rung, rung_at, done_at) VALUES ('dispatch', 1, :now, :done)",
        now=ago(),
        done=done_at,
    )


def invoice(database: Database) -> str:
    """A due invoice of an hour ago."""
    parameters = {"id": str(uuid4()), "company": COMPANY_ID, "sha": b"x", "due": ago(hours=1)}
    change(database, "INSERT INTO document VALUES (:sha, '', 0, 'xml', now()) ON CONFLICT DO NOTHING", sha=b"x")
    change(
        database,
        "INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,"
        " uploads, tries, looks, format, submitted_at, changed_at) VALUES (:id, :company, :sha, now(), 0, 'a.xml', '{}',"
        " 'queued', 0, :due, 0, 0, 0, 'finvoice', now(), now())",
        **parameters,
    )
    return str(parameters["id"])


def held(database: Database, reason: str) -> str:
    """An invoice that waits for a person."""
    uuid = invoice(database)
    for words in ("state = 'sending', lease_until = now()", "state = 'held', held_for = 'person', reason = :reason"):
        parameters = {"reason": reason} if ":reason" in words else {}
        change(database, f"UPDATE invoice SET {words}, due_at = NULL WHERE id = :id", id=uuid, **parameters)
    return uuid


def look(shell: Shell) -> dict[str, list[dict]]:
    findings = shell.json("doctor", status=1)["findings"]
    return {name: [each for each in findings if each["check"] == name] for name in {f["check"] for f in findings}}


def wrong(found: dict[str, list[dict]]) -> set[str]:
    return {name for name in CHECKS if not all(each["ok"] for each in found[name])}


@pytest.fixture
def well(shell: Shell, database: Database) -> Database:
    """Nothing is wrong with the work."""
    rung(database, done_at=ago(seconds=1))
    assert wrong(look(shell)) == set()
    return database


def only(shell: Shell, check: str) -> dict:
    """The one thing that is wrong; whatever is wrong says what to do."""
    found = look(shell)
    assert wrong(found) == {check}
    assert all(each["what_to_do"] for each in found[check])
    return found[check][0]


def test_missing_beat_is_named(shell: Shell, well: Database):
    change(well, "UPDATE lease SET rung_at = :at", at=ago(minutes=5))

    assert "nobody rings for dispatch" in only(shell, "beat")["found"]


@pytest.mark.parametrize("done_at", [None, ago(minutes=5)], ids=["never", "long ago"])
def test_stuck_dispatcher_is_named(shell: Shell, well: Database, done_at: datetime | None):
    change(well, "UPDATE lease SET rung_at = now(), done_at = :done", done=done_at)

    assert "stuck" in only(shell, "dispatcher")["what_to_do"]


def test_growing_oldest_age_is_named(shell: Shell, well: Database):
    invoice(well)
    with well.transaction() as session:
        alarms.raise_alarm(session, "oldest_age", COMPANY_ID, told="old", now=ago())

    assert only(shell, "oldest age")["found"] == "work of demo is due for 60 min and grows older"
    assert "alarm oldest_age" not in look(shell)


def test_deaf_worker_is_named(shell: Shell, well: Database):
    with well.transaction() as session:
        told = "worker send@one took nothing. What to do: read its log"
        alarms.raise_alarm(session, "worker_deaf", "send@one send", told=told, now=ago())

    found = only(shell, "deaf workers")

    assert (found["found"], found["what_to_do"]) == ("worker send@one took nothing.", "read its log")


@pytest.mark.parametrize(("state", "is_wrong"), [("open", True), ("half_open", True), ("closing", False)])
def test_circuit_that_is_not_closed_is_named(shell: Shell, well: Database, state: str, is_wrong: bool):  # noqa: FBT001 - a table
    change(
        well,
        "INSERT INTO circuit (scope, state, since, retry_at, evidence) VALUES (:scope, :state, :now, :now, '9 of 9 failed')"
        # The doctor's own questions to the operator leave evidence, like everybody's.
        " ON CONFLICT (scope) DO UPDATE SET state = excluded.state, since = excluded.since, evidence = excluded.evidence",
        scope=COMPANY_ID,
        state=state,
        now=ago(),
    )

    found = look(shell)

    assert wrong(found) == ({"circuits"} if is_wrong else set())
    assert "asked for demo" in found["circuits"][0]["found"]


@pytest.mark.parametrize(("seconds", "is_wrong"), [(30, False), (600, True)], ids=["soon over", "long"])
def test_wait_the_operator_asked_for_is_named(shell: Shell, well: Database, seconds: float, is_wrong: bool):  # noqa: FBT001 - a table
    scope = host_scope(load_settings())
    change(
        well,
        "INSERT INTO pace (scope, lane, blocked_until) VALUES (:scope, 'upload', :until)",
        scope=scope,
        until=ago(seconds=-seconds),
    )

    found = look(shell)

    assert wrong(found) == ({"pace"} if is_wrong else set())
    assert f"no uploads of {scope} until" in found["pace"][0]["found"]


def test_what_ended_its_workers_is_named(shell: Shell, well: Database):
    """An invoice that a person holds for another reason is not meant."""
    words = (
        "its processing ended the worker 5 times and the operator does not hold it; set aside so that the rest goes on"
    )
    poison = held(well, words)
    other = held(well, "the retry budget is used up")

    found = only(shell, "set aside")["found"]

    assert poison in found
    assert other not in found

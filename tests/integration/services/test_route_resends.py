"""Resends and retries: a successor takes the place of what provably is not on its way, once."""

import asyncio
import hashlib
import json
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.way import Way
from pipeline.services.alone import LEASE_SECONDS
from pipeline.services.route_means import Means
from pipeline.services.take_ways import take_ways

from .routes import (
    NO_ROUTE,
    REFUSAL,
    UNREACHABLE,
    case,
    fail,
    failed,
    finvoice,
    kinds,
    let_time_pass,
    opened,
    plan,
    refused,
    settle,
    way,
)

K = OutcomeKind


def successor_of(line, uuid):
    return line.query("SELECT * FROM invoice WHERE supersedes = :id", id=uuid)[0]


def keep_document(line, content):
    sha256 = hashlib.sha256(content).digest()
    line.change(
        "INSERT INTO document (sha256, content, size, kind, created_at) VALUES (:sha256, :content, :size, 'XML', :now)",
        sha256=sha256,
        content=content,
        size=len(content),
        now=line.clock(),
    )
    return sha256


def test_resend_puts_a_successor_in_its_place(line):
    uuid = opened(line)
    found = case(line, uuid)
    way_out = plan(line, uuid, Way.RESEND)
    minted = way(line, way_out).successor_id

    counts = line.route()

    new = successor_of(line, uuid)
    assert counts["resent"] == 1
    assert (new.id, new.state) == (minted, "queued")
    assert line.row(uuid).state == "superseded"
    assert line.row(uuid).reason == f"sent anew as {minted}"
    assert (case(line, minted).id, case(line, minted).status) == (found.id, "under_way")
    assert way(line, way_out).status == "done"
    assert kinds(line, uuid)[-1] == "superseded"
    assert kinds(line, minted) == ["submitted"]
    assert "a person: they asked for it" in line.events(minted)[0].cause
    line.work()
    assert line.content(minted) == line.operator.held[minted] == line.operator.held[uuid]
    assert line.row(minted).state == "accepted"


def test_resend_keeps_what_the_invoice_was_known_by(line):
    uuid = failed(line, batch="November")
    line.route()
    line.change("UPDATE invoice SET reference = 'R-1', options = '{\"a\": 1}' WHERE id = :id", id=uuid)
    plan(line, uuid, Way.RESEND)

    line.route()

    old, new = line.row(uuid), successor_of(line, uuid)
    for name in ("company_id", "batch_id", "document_sha256", "size", "filename", "reference", "options", "number"):
        assert getattr(new, name) == getattr(old, name), name
    assert new.total == 100


def test_resend_with_a_corrected_document(line):
    uuid = opened(line)
    corrected = finvoice().replace(b"100,00", b"120,00")
    way_out = plan(
        line, uuid, Way.RESEND, document_sha256=keep_document(line, corrected), document_filename="corrected.xml"
    )

    line.route()
    line.work()

    new = successor_of(line, uuid)
    assert line.operator.held[new.id] == corrected
    assert (new.filename, new.total, new.size) == ("corrected.xml", 120, len(corrected))
    assert new.number != line.row(uuid).number
    assert way(line, way_out).status == "done"


GIVEN = {"recipient_eia": "003799", "recipient_operator": "NOBODY", "lang": "FI"}


@pytest.mark.parametrize(
    ("told", "corrected", "kept"),
    [
        (NO_ROUTE, True, {"lang": "FI"}),
        (UNREACHABLE, True, {"lang": "FI"}),
        ("Schematron validation failed", True, GIVEN),
        (NO_ROUTE, False, GIVEN),
    ],
    ids=["wrong address", "not reachable", "wrong content", "the same document"],
)
def test_an_address_that_led_nowhere_gives_way_to_a_corrected_document(line, told, corrected, kept):
    uuid = failed(line, told)
    line.change("UPDATE invoice SET options = CAST(:given AS jsonb) WHERE id = :id", id=uuid, given=json.dumps(GIVEN))
    line.route()
    document = {"document_sha256": keep_document(line, finvoice()), "document_filename": "new.xml"} if corrected else {}
    plan(line, uuid, Way.RESEND, **document)

    line.route()

    assert successor_of(line, uuid).options == kept


def test_corrected_document_that_is_none_goes_to_a_person(line):
    uuid = opened(line)
    plan(line, uuid, Way.RESEND, document_sha256=keep_document(line, b"no xml"), document_filename="broken.xml")

    assert line.route()["refused"] == 1

    assert line.row(uuid).state == "failed"
    assert "the corrected document cannot be sent" in case(line, uuid).plan


def test_batch_balances_after_a_resend(line):
    uuid = failed(line, batch="November")
    line.route()
    plan(line, uuid, Way.RESEND)

    line.route()

    counted = "SELECT name, sum(n) AS n FROM tally_delta WHERE subject = 'invoice' AND batch_id <> 0 GROUP BY 1"
    tally = {row.name: row.n for row in line.query(counted) if row.n}
    assert tally == {"queued": 1, "superseded": 1}


def test_resend_at_once_gives_one_successor(line):
    """No resend is doubled: at most one live successor, however many carry it out."""
    uuids = [opened(line) for _ in range(3)]
    for uuid in uuids:
        plan(line, uuid, Way.RESEND)
        assert isinstance(plan(line, uuid, Way.RESEND), str)
    parts = {"vault": line.vault, "operator": line.operator, "settings": line.settings, "clock": line.clock}
    means = Means(database=line.database, **parts)

    async def many():
        return await asyncio.gather(*(take_ways(means) for _ in range(4)))

    asyncio.run(many())

    assert line.query("SELECT count(*) AS n FROM invoice WHERE supersedes IS NOT NULL")[0].n == 3
    assert all(isinstance(plan(line, successor_of(line, uuid).id, Way.RESEND), str) for uuid in uuids)


def test_second_successor_is_refused_by_the_database(line):
    uuid = opened(line)
    way_out = plan(line, uuid, Way.RESEND)
    line.change(
        "INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,"
        " uploads, tries, looks, format, submitted_at, changed_at, supersedes)"
        " SELECT gen_random_uuid(), company_id, document_sha256, document_at, size, filename, options, 'queued', 0, :now,"
        " 0, 0, 0, format, :now, :now, id FROM invoice WHERE id = :id",
        id=uuid,
        now=line.clock(),
    )

    assert line.route()["refused"] == 1

    assert line.query("SELECT count(*) AS n FROM invoice WHERE supersedes = :id", id=uuid)[0].n == 1
    assert (line.row(uuid).state, case(line, uuid).status) == ("failed", "open")
    assert "took its place already" in way(line, way_out).outcome
    assert kinds(line, uuid)[-1] == "way_refused"


@pytest.mark.parametrize("status", ["DELIVERED", "PENDING"])
def test_nothing_is_resent_that_is_not_failed_any_more(line, status):
    uuid = opened(line)
    way_out = plan(line, uuid, Way.RESEND)
    line.operator.statuses_of[uuid] = status

    assert line.route()["skipped"] == 1

    assert line.query("SELECT 1 FROM invoice WHERE supersedes IS NOT NULL") == []
    assert line.row(uuid).state == "accepted"
    assert way(line, way_out).status == "skipped"


def test_refused_invoice_is_resent_only_when_proven_absent(line):
    uuid = refused(line)
    line.route()
    plan(line, uuid, Way.RESEND)
    line.operator.on_probe[uuid] = [Outcome(kind=K.IN_DOUBT, message="not found, which also means no access")]

    line.route()
    assert line.query("SELECT 1 FROM invoice WHERE supersedes IS NOT NULL") == []
    let_time_pass(line, seconds=30)

    assert successor_of(line, uuid).state == "queued"
    assert line.row(uuid).state == "superseded"


def test_refused_invoice_that_the_operator_holds_is_not_resent(line):
    uuid = refused(line)
    line.route()
    way_out = plan(line, uuid, Way.RESEND)
    line.operator.held[uuid] = line.content(uuid)

    assert line.route()["skipped"] == 1
    settle(line, uuid)

    assert line.query("SELECT 1 FROM invoice WHERE supersedes IS NOT NULL") == []
    assert line.row(uuid).state == "accepted"
    assert "holds it after all" in way(line, way_out).outcome


def test_failure_of_the_successor_comes_back_to_the_same_case(line):
    uuid = opened(line)
    plan(line, uuid, Way.RESEND)
    line.route()
    line.work()
    new = successor_of(line, uuid).id
    fail(line, new, UNREACHABLE)

    line.route()

    assert (case(line, new).round, case(line, new).status) == (2, "open")
    failures = line.query("SELECT invoice_id FROM failure WHERE case_id = :id ORDER BY id", id=case(line, new).id)
    assert [each.invoice_id for each in failures] == [uuid, new]


def test_retry_sends_the_same_bytes_under_the_same_uuid(line):
    uuid = refused(line)
    line.route()
    way_out = plan(line, uuid, Way.RETRY)

    assert line.route()["retried"] == 1
    row = line.row(uuid)
    assert (row.state, row.refusal, row.tries, row.route_at) == ("in_doubt", None, 0, None)
    settle(line, uuid)

    assert line.row(uuid).state == "accepted"
    assert line.operator.uploads == [uuid, uuid]
    assert line.operator.held[uuid] == line.content(uuid)
    assert (way(line, way_out).status, case(line, uuid).status) == ("done", "under_way")
    assert "retried" in kinds(line, uuid)


def test_retry_refused_again_comes_back(line):
    uuid = refused(line)
    line.route()
    plan(line, uuid, Way.RETRY)
    line.operator.on_upload[uuid].append(REFUSAL)
    line.route()
    settle(line, uuid)

    line.route()

    assert line.row(uuid).state == "refused"
    assert (case(line, uuid).status, case(line, uuid).round) == ("open", 2)


def test_retry_of_what_arrived_after_all_sends_nothing(line):
    uuid = refused(line)
    line.route()
    plan(line, uuid, Way.RETRY)
    line.operator.held[uuid] = line.content(uuid)

    line.route()
    settle(line, uuid)

    assert line.row(uuid).state == "accepted"
    assert line.operator.uploads == [uuid]


def test_router_beside_another_does_nothing(line):
    failed(line)
    until = line.clock() + timedelta(seconds=LEASE_SECONDS)
    line.change("UPDATE lease SET holder = :holder, until = :until WHERE name = 'route'", holder=uuid4(), until=until)

    assert line.route().total() == 0
    assert line.query("SELECT 1 FROM route_case") == []

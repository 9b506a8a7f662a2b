"""Submitting inside the caller's own transaction: once, all or nothing, and the bell after the commit."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from threading import Barrier
from uuid import UUID, uuid4

import pytest

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import (
    BrokenXmlError,
    DocumentTooLargeError,
    InvalidInputError,
    UnknownCompanyError,
    UuidConflictError,
)
from pipeline.domain.state import State
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.submit import derive_uuid, submit

from .line import START, document
from .submitting import NOTHING, TABLES, Bell, counts, send

COMPANY = UUID("00000000-0000-4000-8000-000000000001")


def test_a_submitted_document_is_queued_as_it_is(line):
    content = '<?xml version="1.0" encoding="ISO-8859-15"?><Finvoice>€ä</Finvoice>'.encode("iso-8859-15")

    with line.database.transaction() as session:
        submitted = send(session, line, content, batch="night", reference="R-1")

    row = line.row(submitted.uuid)
    assert (submitted.created, submitted.state, submitted.sha256) == (True, State.QUEUED, sha256(content).hexdigest())
    assert (row.state, row.due_at, row.size, row.reference) == ("queued", START, len(content), "R-1")
    assert line.content(submitted.uuid) == content
    assert [event.cause for event in line.events(submitted.uuid)] == ["submitted as invoice.xml in batch night"]


def test_a_refused_submit_leaves_nothing_behind_although_the_caller_commits(line):
    uuid = uuid4()
    with line.database.transaction() as session:
        send(session, line, uuid=uuid)
    before = counts(line)

    with line.database.transaction() as session:
        with pytest.raises(UuidConflictError):
            send(session, line, document("<InvoiceNumber>other</InvoiceNumber>"), uuid=uuid, batch="night")
        good = send(session, line)

    assert line.states([good.uuid]) == ["queued"]
    assert counts(line) == {table: before[table] + (table != "batch") for table in TABLES}


def test_the_same_document_comes_back_as_the_same_invoice(line):
    content = document()

    with line.database.transaction() as session:
        first, second = send(session, line, content), send(session, line, content)
    with line.database.transaction() as session:
        third = send(session, line, content, filename="renamed.xml")

    assert first.uuid == second.uuid == third.uuid
    assert [first.created, second.created, third.created] == [True, False, False]
    assert counts(line) == {"invoice": 1, "document": 1, "event": 1, "batch": 0}


def test_the_present_state_comes_back_with_a_known_invoice(line):
    (uuid,) = line.submit()
    content = line.content(uuid)
    line.work()

    with line.database.transaction() as session:
        assert send(session, line, content).state is State.ACCEPTED


def test_other_bytes_under_a_uuid_are_refused_with_both_hashes(line):
    uuid, one, other = uuid4(), document(), document()
    with line.database.transaction() as session:
        send(session, line, one, uuid=uuid)

    with line.database.transaction() as session, pytest.raises(UuidConflictError) as caught:
        send(session, line, other, uuid=uuid)

    for told in (sha256(one).hexdigest(), sha256(other).hexdigest(), str(uuid), "invoice.xml"):
        assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bytes_under_a_reference_are_refused(line):
    with line.database.transaction() as session:
        send(session, line, reference="R-1")

    with line.database.transaction() as session, pytest.raises(UuidConflictError, match="other bytes"):
        send(session, line, reference="R-1")


def test_other_options_are_refused_and_equal_ones_are_not(line):
    content, chosen = document(), UploadOptions(disabled_routes=("print",), lang="FI")
    with line.database.transaction() as session:
        send(session, line, content, options=chosen)

    with line.database.transaction() as session:
        same = UploadOptions.from_json(chosen.to_json())
        assert send(session, line, content, options=same).created is False
        with pytest.raises(UuidConflictError, match="other routing options"):
            send(session, line, content, options=UploadOptions(lang="FI"))


def test_a_uuid_of_another_company_is_refused_without_telling_what_it_is(line):
    uuid, content = uuid4(), document()
    with line.database.transaction() as session:
        send(session, line, content, uuid=uuid)

    with line.database.transaction() as session, pytest.raises(UuidConflictError, match="another company") as caught:
        send(session, line, content, uuid=uuid, company=line.add_company("Beta"))

    assert sha256(content).hexdigest() not in str(caught.value)


def test_the_same_document_of_two_companies_makes_two_invoices_and_one_document(line):
    content = document()
    with line.database.transaction() as session:
        send(session, line, content)
        send(session, line, content, company=line.add_company("Beta"))

    assert counts(line) == {"invoice": 2, "document": 1, "event": 2, "batch": 0}


@pytest.mark.parametrize(
    ("reference", "golden"),
    [(None, "d08a93ab-82d0-507b-93da-8e6f44cb9b24"), ("R-1", "9a3cd9fe-72e8-563e-8a0c-33dd9067abe1")],
    ids=["of the bytes", "of the reference"],
)
def test_derived_uuids_never_change(reference, golden):
    derived = derive_uuid(COMPANY, reference=reference, sha256=sha256(b"x").digest())

    assert str(derived) == golden
    assert derived.version == 5


def test_a_reference_that_looks_like_a_hash_is_no_hash():
    digest = sha256(b"x").digest()

    assert derive_uuid(COMPANY, reference=digest.hex(), sha256=digest) != derive_uuid(
        COMPANY, reference=None, sha256=digest
    )


@pytest.mark.parametrize("kind", ["hash", "uuid", "batch"])
def test_eight_submitters_at_once_make_one_invoice(line, kind):
    content, together = document(), Barrier(8)
    chosen = {"hash": {}, "uuid": {"uuid": uuid4()}, "batch": {"batch": "night"}}[kind]

    def go(_):
        together.wait(timeout=10)
        with line.database.transaction() as session:
            return send(session, line, content, **chosen)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(go, range(8)))

    assert len({answer.uuid for answer in answers}) == 1
    assert sorted(answer.created for answer in answers) == [False] * 7 + [True]
    assert counts(line) == {"invoice": 1, "document": 1, "event": 1, "batch": int(kind == "batch")}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"company": "Nobody"}, UnknownCompanyError),
        ({"company": UUID(int=404)}, UnknownCompanyError),
        ({"content": b"<Finvoice>"}, BrokenXmlError),
        ({"limits": DocumentLimits(max_bytes=10)}, DocumentTooLargeError),
        ({"reference": ""}, InvalidInputError),
        ({"reference": " "}, InvalidInputError),
        ({"reference": "x" * 256}, InvalidInputError),
        ({"reference": "a\0b"}, InvalidInputError),
        ({"reference": "\udcff"}, InvalidInputError),
        ({"batch": ""}, InvalidInputError),
        ({"batch": "a\0b"}, InvalidInputError),
        ({"batch": "\udcff"}, InvalidInputError),
    ],
    ids=repr,
)
def test_bad_input_is_one_line_and_leaves_nothing(line, wrong, error):
    bell = Bell(line)
    given = {"content": document(), **wrong, "bell": bell}

    with line.database.transaction() as session, pytest.raises(error) as caught:
        send(session, line, given.pop("content"), **given)

    assert "\n" not in str(caught.value)
    assert counts(line) == NOTHING
    assert bell.seen == []


@pytest.mark.parametrize("filename", ["../../etc/passwd", "a\0b.xml", "\udcff.xml", "ä" * 300, "\n.xml", ""])
def test_any_file_name_can_be_stored(line, filename):
    with line.database.transaction() as session:
        submitted = send(session, line, filename=filename)

    assert "/" not in line.row(submitted.uuid).filename
    assert "\n" not in line.row(submitted.uuid).filename


def test_the_clock_is_ours_when_none_is_given(line):
    before = datetime.now(UTC)

    with line.database.transaction() as session:
        submitted = submit(session, company="Acme", content=document(), filename="x.xml")

    assert before <= line.row(submitted.uuid).submitted_at <= datetime.now(UTC)


def test_a_uuid_whose_record_is_gone_is_refused_and_never_sent(line):
    """Retention removes records, not UUIDs: submitted again, nothing is written and nothing leaves."""
    content, uuid = document(), uuid4()
    with line.database.transaction() as session:
        send(session, line, content, uuid=uuid)
    line.work()
    line.change("DELETE FROM invoice WHERE id = :id", id=uuid)
    before = counts(line)

    with line.database.transaction() as session, pytest.raises(UuidConflictError, match="never sent again"):
        send(session, line, content, uuid=uuid)

    line.work()
    assert counts(line) == before
    assert line.operator.uploads == [uuid]

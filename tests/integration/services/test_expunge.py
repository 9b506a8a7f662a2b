"""Expunging removes one customer's data for good, proves it, and touches nobody else's."""

import hashlib
import json
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.domain.errors import InvalidInputError, ServiceUnavailableError, UnknownInvoiceError
from pipeline.domain.way import Way
from pipeline.services.submit import submit
from pipeline.storage import shelving
from pipeline.storage.expunging import expunge, find_to_expunge
from pipeline.storage.orders import read_invoice_content
from pipeline.storage.reading import read_story
from pipeline.storage.tallies import read_tallies
from pipeline.storage.ways_out import plan_way_out

from .line import START
from .test_retention import PUT_AWAY, put_away

CUSTOMER, SECRETS = "Ostaja Oy", ("Ostaja", "SECRET-77", "ostaja@example.com", "no such street")


def paper(number="SECRET-77"):
    return (
        "<Finvoice Version='3.0'><BuyerPartyDetails><BuyerOrganisationName>Ostaja Oy</BuyerOrganisationName>"
        f"</BuyerPartyDetails><InvoiceDetails><InvoiceNumber>{number}</InvoiceNumber></InvoiceDetails></Finvoice>"
    ).encode()


def send(line, content, *, fails=False, company=None, reference=None):
    line.clock.now = START
    with line.database.transaction() as session:
        uuid = submit(
            session,
            company=company or line.company,
            content=content,
            filename="Ostaja.xml",
            reference=reference or f"SECRET-77/{uuid4()}",
            now=START,
        ).uuid
    line.work()
    if fails:
        line.operator.fail(uuid, "no such street: Ostaja, SECRET-77")
    else:
        line.operator.statuses_of[uuid] = "DELIVERED"
    line.clock.pass_seconds(60)
    line.follow()
    line.route()
    return uuid


@pytest.fixture
def failed(line):
    """A failure of the customer with everything that can be known of one, put away; and another customer's invoice."""
    uuid = send(line, paper(), fails=True, reference="SECRET-77/1")
    line.change(
        "INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, status, not_before, epoch, asked, planned_at,"
        " reason, outcome) SELECT id, invoice_id, 'email', '{\"email\": \"ostaja@example.com\"}', 'rule', 'undone',"
        " opened_at, 0, 0, opened_at, 'for Ostaja', 'not Ostaja' FROM route_case"
    )
    line.change("UPDATE attempt SET message = 'unknown: Ostaja'")
    put_away(line)
    return uuid


def remove(line, **who):
    with line.database.transaction() as session:
        found = find_to_expunge(session, line.company, **who)
        return expunge(session, found, now=PUT_AWAY, by="a person")


def everything(line):
    """All rows of all tables but the batches, as one text."""
    tables = line.query(
        "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    rows = [line.query(f"SELECT CAST(t.* AS text) AS row FROM {table.name} AS t") for table in tables]
    return "\n".join(row.row for each in rows for row in each)


def test_nothing_of_the_customer_is_left(line, failed):
    """No table knows a name, number, address or text of the customer any more; the record of the sending stays."""
    before = everything(line)
    assert all(secret in before for secret in SECRETS)

    done = remove(line, customer=CUSTOMER)

    after = everything(line)
    assert [secret for secret in SECRETS if secret in after] == []
    assert line.query("SELECT 1 FROM document") == []
    assert (done.invoices, line.states([failed])) == (1, ["failed"])
    assert line.query("SELECT 1 FROM invoice_key WHERE id = :id", id=failed)


def test_the_story_says_what_happened(line, failed):
    """Whoever looks at the invoice later reads when, by whom and under which number its data was removed."""
    done = remove(line, customer=CUSTOMER)

    with line.database.transaction() as session:
        story = read_story(session, failed)
    last = story.events[-1]
    assert (last.kind, last.at, last.target) == ("expunged", PUT_AWAY, "failed")
    assert last.cause.endswith(f"removed for good by a person: removal {done.removal}")


def test_the_proof_can_be_checked(line, failed):
    """Counts and SHA-256 are those of what stood there; the row that keeps them names nobody."""
    content_hash = hashlib.sha256(paper()).hexdigest()
    document = line.query(
        "SELECT CAST(jsonb_build_array(CAST(:sha AS text), created_at, size) AS text) AS line FROM document",
        sha=content_hash,
    )
    messages = line.query(
        "SELECT CAST(jsonb_build_array(invoice_id, id, message) AS text) AS line FROM attempt ORDER BY id"
    )

    done = remove(line, customer=CUSTOMER)

    for table, rows in (("document", document), ("attempt", messages)):
        lines = "".join(f"{row.line}\n" for row in rows).encode()
        assert (done.tables[table].rows, done.tables[table].sha256) == (len(rows), hashlib.sha256(lines).hexdigest())
    (row,) = line.query("SELECT * FROM removal")
    assert (row.id, row.kind, row.company_id, row.removed_at, row.removed_by) == (
        done.removal,
        "expunged",
        line.company,
        PUT_AWAY,
        "a person",
    )
    assert row.removed["tables"] == {table: vars(proof) for table, proof in done.tables.items()}
    assert not any(secret in json.dumps(row.removed) for secret in SECRETS)


def test_others_lose_nothing(line, failed):
    """Another customer's invoice, and one of another company to the same customer, stay as they were."""
    other = line.add_company("Kirjanpito")
    theirs = send(line, paper("another"), company=other)
    unlike = send(line, paper().replace(b"Ostaja Oy", b"Toinen Oy"))
    put_away(line)
    before = {uuid: (line.row(uuid), line.events(uuid), line.content(uuid)) for uuid in (theirs, unlike)}

    done = remove(line, customer=CUSTOMER)

    assert {uuid: (line.row(uuid), line.events(uuid), line.content(uuid)) for uuid in before} == before
    assert done.invoices == 1


def test_bytes_that_another_company_sent_too_stay_for_it(line, failed):
    """One document row shared by two companies goes with the last of them only."""
    other = line.add_company("Kirjanpito")
    theirs = send(line, paper(), company=other)
    assert len(line.query("SELECT 1 FROM document")) == 1
    put_away(line)

    done = remove(line, customer=CUSTOMER)

    assert (done.tables["document"].rows, done.shared_documents) == (0, 1)
    assert line.content(theirs) == paper()


def test_nothing_is_expunged_while_one_is_open(line, failed):
    """It is told which one and what to do, and nothing changes."""
    waiting = send(line, paper("SECRET-78"))
    before = everything(line)

    with line.database.transaction() as session:
        found = find_to_expunge(session, line.company, customer=CUSTOMER)
    assert [(each.id, each.state.value) for each in found.open] == [(waiting, "delivered")]
    assert "wait for that" in found.open[0].what_to_do
    with pytest.raises(InvalidInputError, match=str(waiting)):
        remove(line, customer=CUSTOMER)

    assert everything(line) == before


def test_what_was_resent_belongs_to_it(line, failed):
    """The invoice that took another's place tells of the same customer: both are expunged, whichever is named."""
    successor = send(line, paper())
    put_away(line)
    line.change("UPDATE invoice SET supersedes = :old WHERE id = :new", old=failed, new=successor)

    assert remove(line, ids=[failed]).invoices == 2

    assert line.row(successor).number is None


@pytest.mark.parametrize(
    ("who", "error", "complaint"),
    [
        ({"customer": "ostaja oy"}, InvalidInputError, "letter by letter"),
        ({"ids": [uuid4()]}, UnknownInvoiceError, "it was never here"),
    ],
)
def test_who_is_not_there_is_told(line, failed, who, error, complaint):
    with pytest.raises(error, match=complaint):
        remove(line, **who)


def test_a_uuid_is_never_sent_again_after_it_was_expunged(line, failed):
    """The same invoice submitted once more is the one that was expunged, or refused; nothing is sent."""
    remove(line, customer=CUSTOMER)
    sent = list(line.operator.uploads)

    with line.database.transaction() as session:
        again = submit(
            session, company=line.company, content=paper(), filename="a.xml", reference="SECRET-77/1", now=PUT_AWAY
        )
    line.work()

    assert again.uuid == failed
    assert line.operator.uploads == sent


def test_counters_hear_of_nothing(line, failed):
    """What is expunged counts as before."""
    with line.database.transaction() as session:
        before = read_tallies(session).rows

    remove(line, customer=CUSTOMER)

    with line.database.transaction() as session:
        assert sorted(map(repr, read_tallies(session).rows)) == sorted(map(repr, before))


def test_one_removal_waits_for_another(line, failed):
    """While a part is being replaced nothing is expunged from it: the replacement would bring it back."""
    with line.database.transaction() as session:
        session.connection().execute(text("SELECT pg_advisory_xact_lock(hashtext('postiljon.removal'))"))

        with pytest.raises(ServiceUnavailableError, match="try again"):
            remove(line, customer=CUSTOMER)

    assert line.row(failed).number == "SECRET-77"


def test_a_late_failure_without_a_document_is_a_persons(line, failed):
    """What comes back after its document is gone stops nobody: it is not resent, and it is said why."""
    remove(line, customer=CUSTOMER)
    with line.database.transaction() as session:
        shelving.bring_back(session, [failed])
    line.change("UPDATE route_case SET status = 'open', closed_reason = NULL")
    (case,) = line.query("SELECT id FROM route_case")

    with line.database.transaction() as session:
        assert read_invoice_content(session, failed) == b""
        given = {"fields": {}, "chosen_by": "a person", "reason": None, "not_before": PUT_AWAY, "now": PUT_AWAY}
        told = plan_way_out(session, case.id, way=Way.RESEND, **given)

    assert "its document was dropped or expunged" in told

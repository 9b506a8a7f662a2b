"""Cases: who may plan, undo and close, and how people find them."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.domain.cause import Cause, Owner
from pipeline.domain.errors import InvalidInputError
from pipeline.domain.routing_verdicts import Failure, Verdict
from pipeline.domain.state import State
from pipeline.domain.way import Way
from pipeline.storage.cases import CaseFilter, list_cases, read_case
from pipeline.storage.cases_opening import Opening, open_case, take_unrouted
from pipeline.storage.submissions import insert_invoice
from pipeline.storage.ways_ending import end_refused
from pipeline.storage.ways_out import close_case, plan_way_out, undo_way_out
from pipeline.storage.ways_taking import claim_ways, intend, put_off_way

from .rows import NOW, add_company, new_invoice, queue, wait_for_a_lock

MOVES = {
    "failed": ("sending", "accepted", "failed"),
    "refused": ("sending", "in_doubt", "refused"),
    "again": ("failed",),
}
EMAIL = {"recipient_email": "buyer@example.com"}
LEASE = timedelta(seconds=60)


def change(database, statement, **parameters):
    with database.transaction() as session:
        session.connection().execute(text(statement), parameters)


def query(database, statement, **parameters):
    with database.transaction() as session:
        return session.connection().execute(text(statement), parameters).all()


def move(database, uuid, *states):
    for state in states:
        change(
            database,
            "UPDATE invoice SET state = :state, due_at = :now, lease_until = :now, accepted_at = :now, reason = 'why',"
            " route_at = :now WHERE id = :id",
            id=uuid,
            state=state,
            now=NOW,
        )


def open_one(database, company, *, state="failed", uuid=None, cause=Cause.RECIPIENT_ADDRESS, owner=Owner.ACCOUNTANT):
    """Open the case of a new invoice, or of one that failed again; return its id and the invoice's UUID."""
    uuid = uuid or queue(database, company)[0]
    move(database, uuid, *MOVES[state])
    verdict = Verdict(
        row="no-route", cause=cause, owner=owner, ways=frozenset(Way), words="It failed.", advice="Do something."
    )
    with database.transaction() as session:
        taken = take_unrouted(session, now=NOW, until=NOW + LEASE, limit=10)
        unrouted = next(each for each in taken if each.id == uuid)
        failure = Failure(refused=state == "refused", text="no route", channel="EINVOICE")
        open_case(
            session,
            Opening(unrouted=unrouted, failure=failure, failed_at=NOW, verdict=verdict, version="1"),
            now=NOW,
        )
        return read_case(session, uuid).case.id, uuid


def plan(database, case_id, way=Way.EMAIL, fields=None, **more):
    given = EMAIL if way is Way.EMAIL and fields is None else fields or {}
    with database.transaction() as session:
        return plan_way_out(
            session, case_id, way=way, fields=given, chosen_by="a person", reason=None, not_before=NOW, now=NOW, **more
        )


def undo(database, way_out_id):
    with database.transaction() as session:
        return undo_way_out(session, way_out_id, now=NOW)


def close(database, case_id, reason="the customer paid"):
    with database.transaction() as session:
        return close_case(session, case_id, reason=reason, now=NOW)


def case_row(database, case_id):
    return query(database, "SELECT * FROM route_case WHERE id = :id", id=case_id)[0]


def test_plan_puts_the_case_under_way(database, company):
    case_id, _ = open_one(database, company)

    way_out_id = plan(database, case_id)

    assert isinstance(way_out_id, int)
    row = case_row(database, case_id)
    assert (row.status, row.decide_at) == ("under_way", None)
    assert row.plan == "by e-mail to buyer@example.com (chosen by a person)"
    way_out = query(database, "SELECT * FROM way_out")[0]
    assert (way_out.status, way_out.fields, way_out.successor_id) == ("planned", EMAIL, None)


def test_resend_has_its_successor_from_the_beginning(database, company):
    case_id, _ = open_one(database, company)

    plan(database, case_id, Way.RESEND)

    assert query(database, "SELECT successor_id FROM way_out")[0].successor_id is not None


@pytest.mark.parametrize(
    ("state", "way", "why"),
    [
        ("refused", Way.EMAIL, "holds nothing of it to reroute"),
        ("refused", Way.PRINT, "holds nothing of it to reroute"),
        ("failed", Way.RETRY, "the same UUID cannot be sent again"),
        ("failed", Way.CLOSE, "close the case with a reason"),
        ("failed", Way.EINVOICE, "recipient_eia"),
    ],
)
def test_plan_says_why_not(database, company, state, way, why):
    case_id, _ = open_one(database, company, state=state)

    assert why in plan(database, case_id, way)
    assert query(database, "SELECT 1 FROM way_out") == []
    assert case_row(database, case_id).status == "open"


@pytest.mark.parametrize(
    ("state", "way"), [("failed", Way.RESEND), ("refused", Way.RESEND), ("refused", Way.RETRY), ("failed", Way.EMAIL)]
)
def test_plan_takes_what_the_state_allows(database, company, state, way):
    case_id, _ = open_one(database, company, state=state)

    assert isinstance(plan(database, case_id, way), int)


def test_plan_refuses_a_second_way_out(database, company):
    case_id, _ = open_one(database, company)
    plan(database, case_id)

    assert "under way already: by e-mail to" in plan(database, case_id, Way.RESEND)


def test_plan_refuses_what_nobody_knows_or_is_over(database, company):
    case_id, uuid = open_one(database, company)
    assert plan(database, case_id + 1) == f"there is no case {case_id + 1}"
    close(database, case_id)
    assert plan(database, case_id) == f"case {case_id} is closed: the customer paid"

    other, uuid = open_one(database, company)
    move(database, uuid, "accepted")

    assert "is accepted, neither failed nor refused" in plan(database, other)


def test_plan_refuses_a_corrected_document_for_anything_but_a_resend(database, company):
    case_id, _ = open_one(database, company)

    assert "resent as a new invoice" in plan(database, case_id, document_sha256=b"x" * 32)


def test_two_who_plan_at_once_plan_one_way_out(database, company):
    case_id, _ = open_one(database, company)
    results = []
    second = threading.Thread(target=lambda: results.append(plan(database, case_id, Way.RESEND)))

    with database.transaction() as session:
        plan_way_out(
            session,
            case_id,
            way=Way.EMAIL,
            fields=EMAIL,
            chosen_by="the first",
            reason=None,
            not_before=NOW,
            now=NOW,
        )
        second.start()
        wait_for_a_lock(database)
    second.join()

    assert results == [f"case {case_id} is under way already: by e-mail to buyer@example.com (chosen by the first)"]
    assert len(query(database, "SELECT 1 FROM way_out")) == 1


def test_late_claim_neither_asks_nor_writes(database, company):
    case_id, _ = open_one(database, company)
    plan(database, case_id)
    later = NOW + LEASE
    with database.transaction() as session:
        (late,) = claim_ways(session, now=NOW, lease=LEASE, limit=10)
    with database.transaction() as session:
        (current,) = claim_ways(session, now=later, lease=LEASE, limit=10)

    with database.transaction() as session:
        assert not intend(session, late, actions=1, now=later, until=later + LEASE)
        assert not put_off_way(session, late, asked=0, again=later, words="late")
        assert not end_refused(session, late, words="late", now=later)
        assert intend(session, current, actions=1, now=later, until=later + LEASE)


def test_undo_takes_back_what_was_only_planned(database, company):
    case_id, _ = open_one(database, company)
    way_out_id = plan(database, case_id)

    assert undo(database, way_out_id)
    assert not undo(database, way_out_id)

    row = case_row(database, case_id)
    assert (row.status, row.decide_at) == ("open", None)
    assert row.plan == "a person undid: by e-mail to buyer@example.com"
    assert query(database, "SELECT status FROM way_out")[0].status == "undone"
    assert isinstance(plan(database, case_id, Way.RESEND), int)


def test_undo_is_too_late_once_it_is_begun(database, company):
    case_id, _ = open_one(database, company)
    way_out_id = plan(database, case_id)
    with database.transaction() as session:
        claim_ways(session, now=NOW, lease=LEASE, limit=10)

    assert not undo(database, way_out_id)
    assert case_row(database, case_id).status == "under_way"


def test_undo_is_too_late_once_the_operator_was_asked(database, company):
    case_id, _ = open_one(database, company)
    way_out_id = plan(database, case_id)
    change(database, "UPDATE way_out SET asked = 1")

    assert not undo(database, way_out_id)


def test_close_keeps_the_reason_and_tells_it(database, company):
    case_id, uuid = open_one(database, company)

    assert close(database, case_id)
    assert not close(database, case_id)

    row = case_row(database, case_id)
    assert (row.status, row.closed_reason, row.decide_at) == ("closed", "the customer paid", None)
    event = query(database, "SELECT * FROM event WHERE invoice_id = :id ORDER BY id DESC LIMIT 1", id=uuid)[0]
    assert (event.kind, event.target) == ("case_closed", "failed")
    assert event.cause.endswith("the customer paid")


def test_close_waits_for_a_way_out_under_way(database, company):
    case_id, _ = open_one(database, company)
    plan(database, case_id)

    assert not close(database, case_id)
    assert case_row(database, case_id).status == "under_way"


def test_closed_case_opens_again_when_it_fails_again(database, company):
    case_id, uuid = open_one(database, company)
    close(database, case_id)
    move(database, uuid, "accepted")

    again, _ = open_one(database, company, uuid=uuid, state="again")

    row = case_row(database, case_id)
    assert again == case_id
    assert (row.status, row.round, row.closed_reason) == ("open", 2, None)


def test_list_finds_by_every_word(database, vault, company):
    other = add_company(database, vault, "Other")
    first, _ = open_one(database, company)
    second, _ = open_one(database, other, cause=Cause.COMPANY, owner=Owner.ENGINEER)
    in_batch = new_invoice(company, batch="November")
    with database.transaction() as session:
        insert_invoice(session, in_batch, now=NOW)
    third, _ = open_one(database, company, uuid=in_batch.id)
    plan(database, first)

    def found(**wanted):
        with database.transaction() as session:
            return [each.id for each in list_cases(session, CaseFilter(**wanted))]

    assert found() == [first, second, third]
    assert found(status="open") == [second, third]
    assert found(cause="company") == found(owner="engineer") == found(company_id=other) == [second]
    assert found(batch="November") == [third]
    assert found(verdict="no-route", limit=2) == [first, second]
    assert found(since=NOW + timedelta(seconds=1)) == found(verdict="other") == []


def test_case_is_found_by_any_invoice_of_its_chain(database, company):
    case_id, old = open_one(database, company)
    new = queue(database, company)[0]
    change(database, "UPDATE route_case SET invoice_id = :new", new=new)

    with database.transaction() as session:
        histories = [read_case(session, named) for named in (case_id, old, new)]

    assert {each.case.id for each in histories} == {case_id}
    assert histories[0].invoices == (old, new)
    assert histories[0].case.state is State.QUEUED
    assert histories[0].case.company_name == "Acme"
    assert [each.told for each in histories[0].failures] == ["no route"]


@pytest.mark.parametrize("named", [4711, uuid4()], ids=["id", "uuid"])
def test_unknown_case_is_said_to_be_none(database, named):
    with database.transaction() as session, pytest.raises(InvalidInputError, match="there is no case"):
        read_case(session, named)

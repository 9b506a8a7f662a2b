"""Whose turn it is, what is taken together, and what a recorded look leaves behind."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import OutcomeKind
from pipeline.domain.state import OperatorState, State
from pipeline.storage import following
from pipeline.storage.following_actions import store_actions
from pipeline.storage.following_hints import ring_unseen
from pipeline.storage.following_learned import Finding, Learned, record_learned

from .rows import NOW, add_company, change, claim, events, invoice, query, queue, record, stamp

UNTIL = NOW + timedelta(seconds=120)
LATER = NOW + timedelta(hours=1)
FIRST = UUID(int=0)


def accept(database, company, count=1, *, look_at=NOW):
    ids = queue(database, company, count)
    epoch = stamp(database, ids)
    claimed = claim(database, ids, epoch=epoch)
    record(database, claimed, OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch, look_at=look_at)
    return ids


def take(database, *wanted, now=NOW, soon=NOW, until=UNTIL):
    with database.transaction() as session:
        return following.take_looks(session, wanted, now=now, soon=soon, until=until)


def count(database, *, at_most=100, now=NOW):
    with database.transaction() as session:
        return following.count_due(session, now=now, at_most=at_most)


def learn(database, *learned, until=UNTIL):
    with database.transaction() as session:
        return record_learned(session, learned, until=until, now=NOW)


def test_the_longest_waiting_company_comes_first_and_counts_are_bounded(database, vault, company):
    other = add_company(database, vault, name="Beta")
    accept(database, company, 5)
    accept(database, other, 2, look_at=NOW - timedelta(hours=1))
    accept(database, other, 1, look_at=LATER)

    assert count(database, at_most=3) == [(other, 2), (company, 3)]


def test_a_held_company_is_not_asked_about(database, company):
    accept(database, company)
    change(database, "UPDATE company SET hold_reason = 'keys', held_since = :now", now=NOW)

    assert count(database) == []


def test_a_company_left_alone_keeps_the_turns_of_its_invoices(database, company):
    """However many are due, one row is written; and a shorter wait told later does not shorten the first."""
    ids = accept(database, company, 3)
    with database.transaction() as session:
        following.put_off_company(session, company, again=LATER)
        following.put_off_company(session, company, again=UNTIL)

    assert count(database, now=LATER - timedelta(seconds=1)) == []
    assert count(database, now=LATER) == [(company, 3)]
    assert [invoice(database, each).look_at for each in ids] == [NOW] * 3


def test_a_taken_look_is_nobody_elses_until_its_lease_is_over(database, company):
    accept(database, company, 3)

    assert len(take(database, (company, 2))) == 2
    assert len(take(database, (company, 2))) == 1
    assert take(database, (company, 2)) == []
    assert len(take(database, (company, 5), now=UNTIL, soon=UNTIL)) == 3


def test_the_oldest_look_is_taken_first(database, company):
    accept(database, company, 2)
    (oldest,) = accept(database, company, look_at=NOW - timedelta(hours=1))

    (look,) = take(database, (company, 1))

    assert (look.id, look.planned_at) == (oldest, NOW - timedelta(hours=1))
    assert (look.since, look.rerouted_at, look.rerouting, look.lost) == (NOW, None, False, 0)


def test_a_look_knows_what_was_learned_before(database, company):
    (uuid,) = accept(database, company)
    change(
        database,
        "UPDATE invoice SET lost = 1, operator_state = 7, operator_status = 'DELIVERED', seen_at = :at",
        at=NOW,
    )
    change(database, "UPDATE attempt SET finished_at = :at", at=LATER)

    (look,) = take(database, (company, 1))

    assert (look.id, look.lost, look.seen_at, look.since) == (uuid, 1, NOW, LATER)
    assert (look.operator_state, look.operator_status) == (OperatorState.VIEWED, "DELIVERED")


def test_many_looks_are_written_together_and_each_keeps_its_own(database, company):
    accept(database, company, 30)
    looks = take(database, (company, 30))
    learned = [
        Learned(
            look=look,
            target=(State.ACCEPTED, State.DELIVERED, State.FAILED)[n % 3],
            look_at=NOW + timedelta(seconds=n),
            reason=None if n % 3 == 0 else f"reason {n}",
            operator_status=f"STATUS{n}",
            operator_state=OperatorState.PENDING,
            channel="EMAIL",
        )
        for n, look in enumerate(looks)
    ]

    assert learn(database, *learned) == {look.id for look in looks}

    for n, each in enumerate(learned):
        row = invoice(database, each.look.id)
        assert (row.state, row.operator_status, row.channel) == (each.target.value, f"STATUS{n}", "EMAIL")
        assert (row.look_at, row.looks, row.seen_at) == (NOW + timedelta(seconds=n), 1, NOW)
        assert row.route_at == (NOW if each.target is State.FAILED else None)
        moved = [event.cause for event in events(database, each.look.id) if event.kind == "operator_status"]
        assert moved == ([each.reason] if each.moves else [])


def test_a_look_that_learns_nothing_writes_no_event(database, company):
    (uuid,) = accept(database, company)
    (look,) = take(database, (company, 1))
    before = len(events(database, uuid))

    learn(database, Learned(look=look, target=State.ACCEPTED, look_at=LATER))

    assert len(events(database, uuid)) == before
    assert invoice(database, uuid).reason == "because accepted"


def test_what_moved_meanwhile_is_left_as_it_is(database, company):
    (uuid,) = accept(database, company)
    (look,) = take(database, (company, 1))
    learn(database, Learned(look=look, target=State.DELIVERED, look_at=LATER, reason="delivered"))

    late = Learned(look=look, target=State.FAILED, look_at=LATER, reason="failed", operator_status="FAILED")
    assert learn(database, late) == set()

    row = invoice(database, uuid)
    assert (row.state, row.looks) == ("delivered", 1)
    assert row.operator_status != "FAILED"
    assert [event.kind for event in events(database, uuid)].count("operator_status") == 1


def test_a_hint_between_taking_and_recording_stands(database, company):
    (uuid,) = accept(database, company)
    (look,) = take(database, (company, 1))
    change(database, "UPDATE invoice SET look_at = :now", now=NOW)

    learn(database, Learned(look=look, target=State.DELIVERED, look_at=None, reason="delivered"))

    assert invoice(database, uuid).look_at == NOW


def test_putting_off_leaves_a_hint(database, company):
    hinted, other = accept(database, company, 2)
    take(database, (company, 2))
    change(database, "UPDATE invoice SET look_at = :now WHERE id = :id", now=NOW, id=hinted)

    with database.transaction() as session:
        following.put_off(session, [hinted, other], until=UNTIL, again=LATER)

    assert (invoice(database, hinted).look_at, invoice(database, other).look_at) == (NOW, LATER)


@pytest.mark.parametrize("target", [State.IN_DOUBT, State.HELD])
def test_a_lost_invoice_goes_back_to_the_line(database, company, target):
    (uuid,) = accept(database, company)
    (look,) = take(database, (company, 1))
    before = invoice(database, uuid)

    learn(database, Learned(look=look, target=target, look_at=LATER, reason="gone", seen=False, is_lost=True))

    row, last = invoice(database, uuid), events(database, uuid)[-1]
    assert (row.state, row.reason, row.lost, row.look_at) == (target.value, "gone", 1, None)
    assert row.epoch > before.epoch
    assert (row.due_at, row.held_for) == ((NOW, None) if target is State.IN_DOUBT else (None, "person"))
    assert (row.give_up_at, row.tries, row.refusal) == (None, 0, None)
    assert (last.kind, last.source, last.target) == ("accepted_unknown", "accepted", target.value)


def test_a_finding_of_once_is_told_once_in_a_state(database, company):
    (uuid,) = accept(database, company)
    (look,) = take(database, (company, 1))
    finding = Learned(
        look=look, target=State.ACCEPTED, look_at=LATER, findings=(Finding(kind="x", cause="y", once=True),)
    )

    learn(database, finding)
    learn(database, finding)
    moved = replace(finding, target=State.DELIVERED, reason="delivered")
    learn(database, moved)

    found = [(event.source, event.target) for event in events(database, uuid) if event.kind == "x"]
    assert found == [("accepted", "accepted"), ("delivered", "delivered")]


def test_an_action_is_stored_once_even_without_words(database, company):
    (uuid,) = accept(database, company)
    bare, full = OperatorAction(type="SENT"), OperatorAction(type="ERROR", key="k", message="m", happened_at=NOW)

    for _ in range(2):
        with database.transaction() as session:
            store_actions(session, {uuid: (bare, full)}, now=NOW)

    rows = query(database, "SELECT type, key, message, happened_at FROM operator_action ORDER BY id")
    assert [tuple(row) for row in rows] == [("SENT", None, None, None), ("ERROR", "k", "m", NOW)]


def test_an_action_of_any_length_is_stored(database, company):
    """Words of four bytes a character, none like the one before, are the worst case of the index."""
    (uuid,) = accept(database, company)
    words = "".join(chr(0x20000 + number * 37 % 40_000) for number in range(500))
    action = OperatorAction(type=words[:60], channel=words[60:120], key=words[120:180], message=words, happened_at=NOW)

    for _ in range(2):
        with database.transaction() as session:
            store_actions(session, {uuid: (action,)}, now=NOW)

    (row,) = query(database, "SELECT * FROM operator_action")
    assert words.startswith(row.message)


def test_unseen_invoices_are_rung_for_in_pieces(database, company):
    ids = sorted(accept(database, company, 5, look_at=LATER))
    before = NOW + timedelta(seconds=1)

    def ring(after, *, before=before):
        with database.transaction() as session:
            return ring_unseen(session, after=after, before=before, accepted_after=NOW, now=NOW, limit=3)

    assert ring(FIRST, before=NOW) == []
    assert ring(FIRST) == ids[:3]
    assert ring(ids[2]) == ids[3:]
    assert ring(FIRST) == []
    assert {invoice(database, uuid).look_at for uuid in ids} == {NOW}

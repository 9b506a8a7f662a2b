"""Who may work on an invoice: claims, epochs, leases, the sweep, against two workers at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from pipeline.domain.outcome import OutcomeKind
from pipeline.domain.state import State
from pipeline.storage import claims, dispatching

from .rows import (
    GIVE_UP_AT,
    LEASE,
    NOW,
    attempts,
    bring_into_doubt,
    change,
    claim,
    events,
    invoice,
    queue,
    record,
    stamp,
    wait_for_a_lock,
)

LATER = NOW + LEASE + timedelta(seconds=1)


def test_a_claim_writes_state_attempt_and_event_before_anything_leaves(database, company):
    (invoice_id,) = queue(database, company)
    epoch = stamp(database, [invoice_id])

    (claimed,) = claim(database, [invoice_id], epoch=epoch)

    row, (attempt,) = invoice(database, invoice_id), attempts(database, invoice_id)
    assert (row.state, row.uploads, row.lease_until, row.last_upload_at) == ("sending", 1, NOW + LEASE, NOW)
    assert row.give_up_at == claimed.standing.give_up_at == GIVE_UP_AT
    assert (attempt.id, attempt.number, attempt.kind, attempt.epoch) == (claimed.attempt_id, 1, "upload", epoch)
    assert attempt.outcome is None
    assert [(e.kind, e.source, e.target) for e in events(database, invoice_id)] == [
        ("submitted", None, "queued"),
        ("upload_begun", "queued", "sending"),
    ]
    with database.transaction() as session:
        content = claims.read_documents(session, [claimed])[invoice_id]
    assert content.startswith(b"<Finvoice>")
    assert len(content) == claimed.size


@pytest.mark.parametrize("length", [1, 7, 1024])
def test_slices_make_the_whole(database, company, length):
    """However it is read, the very bytes that were submitted come."""
    (invoice_id,) = queue(database, company)
    (claimed,) = claim(database, [invoice_id], epoch=stamp(database, [invoice_id]))
    with database.transaction() as session:
        whole = claims.read_documents(session, [claimed])[invoice_id]
        starts = range(0, claimed.size, length)
        slices = [claims.read_slice(session, claimed, start=start, length=length) for start in starts]
        assert b"".join(slices) == whole
        assert not claims.read_slice(session, claimed, start=claimed.size, length=length)
        claimed = replace(claimed, document_sha256=b"another")
        assert claims.read_slice(session, claimed, start=0, length=length) is None


def test_a_record_moves_and_tells_why(database, company):
    (invoice_id,) = queue(database, company)
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch)

    moved = record(database, claimed, OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch, look_at=NOW)

    row, (attempt,) = invoice(database, invoice_id), attempts(database, invoice_id)
    assert moved == {invoice_id}
    assert (row.state, row.accepted_at, row.look_at, row.lease_until) == ("accepted", NOW, NOW, None)
    assert (attempt.outcome, attempt.finished_at) == ("accepted", NOW)
    last = events(database, invoice_id)[-1]
    assert (last.kind, last.source, last.target, last.cause) == (
        "upload_answered",
        "sending",
        "accepted",
        "because accepted",
    )


@pytest.mark.parametrize("probes", [False, True], ids=["uploads", "probes"])
def test_a_message_seen_twice_claims_nothing(database, company, probes):
    ids = queue(database, company, 3)
    if probes:
        bring_into_doubt(database, ids)
    epoch = stamp(database, ids)

    first = claim(database, ids, epoch=epoch, probes=probes)
    second = claim(database, ids, epoch=epoch, probes=probes)

    assert {each.id for each in first} == set(ids)
    assert second == []


@pytest.mark.parametrize("probes", [False, True], ids=["uploads", "probes"])
def test_two_claimers_at_once_share_without_overlap(database, company, probes):
    ids = queue(database, company, 40)
    if probes:
        bring_into_doubt(database, ids)
    epoch = stamp(database, ids)
    together = Barrier(4)

    def take(_):
        together.wait(timeout=10)
        return [each.id for each in claim(database, ids, epoch=epoch, probes=probes)]

    with ThreadPoolExecutor(4) as threads:
        taken = [one for each in threads.map(take, range(4)) for one in each]

    assert sorted(taken) == sorted(ids)


@pytest.mark.parametrize("probes", [False, True], ids=["uploads", "probes"])
def test_a_claimer_that_had_to_wait_for_another_claims_nothing(database, company, probes):
    ids = queue(database, company, 2)
    if probes:
        bring_into_doubt(database, ids)
    epoch = stamp(database, ids)
    take = claims.claim_probes if probes else claims.claim_uploads

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            first = take(session, ids, epoch=epoch, now=NOW, lease=LEASE, give_up_at=GIVE_UP_AT)
            second = threads.submit(claim, database, ids, epoch=epoch, probes=probes)
            wait_for_a_lock(database)

        assert len(first) == 2
        assert second.result(timeout=10) == []


def test_an_old_epoch_claims_nothing(database, company):
    ids = queue(database, company)
    old = stamp(database, ids)
    stamp(database, ids)

    assert claim(database, ids, epoch=old) == []


def test_a_message_that_came_after_its_lease_claims_nothing(database, company):
    ids = queue(database, company)
    epoch = stamp(database, ids)

    assert claim(database, ids, epoch=epoch, now=LATER) == []


def test_a_doubt_is_never_claimed_for_upload_nor_a_queued_for_a_probe(database, company):
    doubted, queued = queue(database, company, 2)
    bring_into_doubt(database, [doubted])
    epoch = stamp(database, [doubted, queued])

    assert [each.id for each in claim(database, [doubted, queued], epoch=epoch)] == [queued]
    assert [each.id for each in claim(database, [doubted, queued], epoch=epoch, probes=True)] == [doubted]


def test_a_late_writer_changes_nothing_but_its_attempt(database, company):
    (invoice_id,) = queue(database, company)
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch)
    with database.transaction() as session:
        claims.sweep(session, now=LATER)
    before, told = invoice(database, invoice_id), events(database, invoice_id)

    moved = record(database, claimed, OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch, now=LATER)

    assert moved == set()
    assert invoice(database, invoice_id) == before
    assert events(database, invoice_id) == told
    assert attempts(database, invoice_id)[0].outcome == "accepted"


def test_an_outcome_recorded_twice_counts_once(database, company):
    (invoice_id,) = queue(database, company)
    bring_into_doubt(database, [invoice_id])
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch, probes=True)
    again = {"due_at": LATER, "epoch": epoch, "tries": 1}

    first = record(database, claimed, OutcomeKind.IN_DOUBT, State.IN_DOUBT, **again)
    second = record(database, claimed, OutcomeKind.IN_DOUBT, State.IN_DOUBT, **again)

    assert (first, second) == ({invoice_id}, set())


def test_the_sweep_turns_silence_into_doubt(database, company):
    (invoice_id,) = queue(database, company)
    epoch = stamp(database, [invoice_id])
    claim(database, [invoice_id], epoch=epoch)

    with database.transaction() as session:
        early = claims.sweep(session, now=NOW + LEASE - timedelta(seconds=1))
        swept = claims.sweep(session, now=LATER)

    row = invoice(database, invoice_id)
    assert (early, swept) == ([], [invoice_id])
    assert (row.state, row.lease_until, row.due_at) == ("in_doubt", None, LATER)
    assert row.epoch > epoch
    assert events(database, invoice_id)[-1].kind == "lease_expired"


def test_the_sweep_touches_nothing_but_sending(database, company):
    queued, doubted, accepted = queue(database, company, 3)
    bring_into_doubt(database, [doubted])
    epoch = stamp(database, [queued, doubted, accepted])
    claim(database, [doubted], epoch=epoch, probes=True)
    claimed = claim(database, [accepted], epoch=epoch)
    record(database, claimed, OutcomeKind.ACCEPTED, State.ACCEPTED, epoch=epoch)
    change(database, "UPDATE invoice SET lease_until = :now WHERE id = :id", now=NOW, id=accepted)

    with database.transaction() as session:
        assert claims.sweep(session, now=LATER) == []


@pytest.mark.parametrize("probes", [False, True], ids=["uploads", "probes"])
def test_a_heartbeat_keeps_the_lease(database, company, probes):
    (invoice_id,) = queue(database, company)
    if probes:
        bring_into_doubt(database, [invoice_id])
    epoch = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=epoch, probes=probes)

    with database.transaction() as session:
        claims.heartbeat(session, [invoice_id], epoch=epoch, until=LATER + LEASE)
    with database.transaction() as session:
        assert claims.sweep(session, now=LATER) == []
        assert dispatching.pick_due(session, {company: 10}, now=LATER) == []

    assert record(database, claimed, OutcomeKind.ALREADY_THERE, State.ACCEPTED, epoch=epoch, now=LATER)


def test_a_heartbeat_of_an_old_epoch_keeps_nothing(database, company):
    (invoice_id,) = queue(database, company)
    epoch = stamp(database, [invoice_id])
    claim(database, [invoice_id], epoch=epoch)

    with database.transaction() as session:
        claims.heartbeat(session, [invoice_id], epoch=epoch - 1, until=LATER + LEASE)

    assert invoice(database, invoice_id).lease_until == NOW + LEASE


def test_a_probe_nobody_answered_is_due_again_and_the_old_prober_is_late(database, company):
    (invoice_id,) = queue(database, company)
    bring_into_doubt(database, [invoice_id])
    old = stamp(database, [invoice_id])
    claimed = claim(database, [invoice_id], epoch=old, probes=True)

    with database.transaction() as session:
        assert [each.id for each in dispatching.pick_due(session, {company: 10}, now=LATER)] == [invoice_id]
    stamp(database, [invoice_id], until=LATER + LEASE)

    assert record(database, claimed, OutcomeKind.ABSENT, State.WAITING, epoch=old, now=LATER, due_at=LATER) == set()

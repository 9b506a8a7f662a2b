"""The pump: fair, bounded, never before the commit, and forgetting nothing when the broker is away."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.services.dispatch import Dispatcher
from pipeline.storage import claims, companies, leases
from pipeline.storage.database import Database
from pipeline.storage.holding import LASTING

from .line import FakePublisher, Line


def make_line(database, vault, **variables):
    return Line(database, vault, **variables)


def bring_into_doubt(line, uuids):
    for uuid in uuids:
        line.operator.on_upload[uuid].append(Outcome(kind=OutcomeKind.IN_DOUBT))
    line.work()
    assert set(line.states(uuids)) == {"in_doubt"}


def test_what_is_due_is_handed_out_once(line):
    uuids = line.submit(5)

    first, second = line.dispatch(), line.dispatch()

    (chunk,) = first
    assert (chunk.company_id, chunk.company_name, chunk.is_probe) == (line.company, "Acme", False)
    assert set(chunk.invoice_ids) == set(uuids)
    assert second == []


def test_nothing_due_hands_out_nothing_and_gives_the_lease_back(line):
    assert line.dispatcher.run(uuid4()) == 0

    (lease,) = line.query("SELECT * FROM lease WHERE name = 'dispatch'")
    assert lease.holder is None


def test_nothing_is_published_before_the_commit(line):
    uuids = line.submit(3)
    seen = []
    line.publisher.look = lambda chunk: seen.extend((line.row(uuid).epoch, chunk.epoch) for uuid in uuids)

    line.dispatch()

    assert len(seen) == 3
    assert all(row_epoch == chunk_epoch > 0 for row_epoch, chunk_epoch in seen)


def test_chunks_keep_the_limit_in_number(database, vault):
    line = make_line(database, vault, chunk_invoices=4)
    line.submit(10)

    assert [len(chunk.invoice_ids) for chunk in line.dispatch()] == [4, 4, 2]


def test_chunks_keep_the_limit_in_bytes_but_one_heavy_invoice_goes(database, vault):
    line = make_line(database, vault, chunk_bytes=5000)
    light, heavy = line.submit(2, size=2000), line.submit(1, size=9000)

    chunks = [set(chunk.invoice_ids) for chunk in line.dispatch()]

    assert sorted(chunks, key=len) == [set(heavy), set(light)]


def test_the_oldest_due_go_first(database, vault):
    line = make_line(database, vault, chunk_invoices=2, window_chunks=1)
    old = line.submit(2)
    line.clock.pass_seconds(60)
    line.submit(2)

    (chunk,) = line.dispatch()

    assert set(chunk.invoice_ids) == set(old)


def test_each_chunk_has_one_company_and_its_own_epoch(line):
    line.submit(2)
    line.submit(3, company=line.add_company("Beta"))

    chunks = line.dispatch()

    assert sorted((chunk.company_name, len(chunk.invoice_ids)) for chunk in chunks) == [("Acme", 2), ("Beta", 3)]
    assert len({chunk.epoch for chunk in chunks}) == 2


def test_shares_are_fair_between_companies(database, vault):
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    line.submit(100)
    line.submit(3, company=line.add_company("Beta"))
    line.submit(100, company=line.add_company("Gamma"))

    handed_out = {}
    for chunk in line.dispatch():
        handed_out[chunk.company_name] = handed_out.get(chunk.company_name, 0) + len(chunk.invoice_ids)

    assert handed_out["Beta"] == 3
    assert sorted((handed_out["Acme"], handed_out["Gamma"])) == [7, 10], (
        "a whole chunk first, the next turn is the other's"
    )


def test_a_single_invoice_is_not_published_behind_a_month_end(database, vault):
    """One company's month end does not hold up another's single invoice."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=10)
    big, small = sorted((line.company, line.add_company("Beta")))
    line.submit(200, company=big)
    line.submit(1, company=small)

    companies_in_order = [chunk.company_id for chunk in line.dispatch()]

    assert small in companies_in_order[:2]


def test_a_full_window_leaves_room_for_a_company_with_nothing_in_flight(database, vault):
    """One company's month end does not hold up another's single invoice."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    line.submit(200)
    line.dispatch()
    line.submit(1, company=line.add_company("Beta"))

    assert [chunk.company_name for chunk in line.dispatch()] == ["Beta"]


def test_a_full_window_takes_no_more(database, vault):
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    line.submit(50)

    assert sum(len(chunk.invoice_ids) for chunk in line.dispatch()) == 20
    assert line.dispatch() == []


def test_held_companies_are_left_out(line):
    line.submit(2)
    (other,) = line.submit(1, company=line.add_company("Beta"))
    with line.database.transaction() as session:
        companies.hold_company(session, line.company, reason="HTTP 401", now=line.clock())

    assert [chunk.invoice_ids for chunk in line.dispatch()] == [(other,)]


def test_doubts_go_as_probes_apart_from_uploads(line):
    doubted = line.submit(2)
    bring_into_doubt(line, doubted)
    fresh = line.submit(3)

    chunks = {chunk.is_probe: set(chunk.invoice_ids) for chunk in line.dispatch()}

    assert chunks == {True: set(doubted), False: set(fresh)}


def test_a_sending_invoice_that_fell_silent_goes_as_a_probe(line):
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()
    line.sender._claim(claims.claim_uploads, line.company, [uuid], chunk.epoch)
    line.clock.pass_seconds(31)

    (again,) = line.dispatch()

    assert (again.is_probe, again.invoice_ids) == (True, (uuid,))


def test_a_lost_message_is_published_again_after_the_lease(line):
    uuids = line.submit(3)
    (lost,) = line.dispatch()
    line.clock.pass_seconds(line.settings.dispatch_lease_seconds - 0.1)
    assert line.dispatch() == []
    line.clock.pass_seconds(0.2)

    (again,) = line.dispatch()

    assert set(again.invoice_ids) == set(uuids)
    assert again.epoch > lost.epoch


def test_a_broker_that_is_away_loses_nothing(line):
    uuids = line.submit(3)
    line.publisher.fails = True
    with pytest.raises(ServiceUnavailableError, match="broker"):
        line.dispatcher.run(uuid4())
    line.publisher.fails = False
    line.clock.pass_seconds(line.settings.dispatch_lease_seconds + 0.1)

    line.work()

    assert line.states(uuids) == ["accepted"] * 3
    assert sorted(line.operator.uploads) == sorted(uuids)


def test_a_pump_that_failed_makes_room_for_the_next(line):
    line.submit()
    line.publisher.fails = True
    with pytest.raises(ServiceUnavailableError):
        line.dispatcher.run(uuid4())
    line.publisher.fails = False
    (uuid,) = line.submit()

    assert [chunk.invoice_ids for chunk in line.dispatch()] == [(uuid,)]


def test_a_pump_that_died_is_replaced_when_its_lease_is_over(line):
    line.submit()
    with line.database.transaction() as session:
        leases.ring(session, "dispatch", now=line.clock())
        leases.take(session, "dispatch", holder=uuid4(), now=line.clock(), seconds=30)

    assert line.dispatch() == []
    line.clock.pass_seconds(31)
    assert len(line.dispatch()) == 1


def test_a_ring_during_the_last_round_is_not_lost(line):
    line.submit()
    late = []

    def ring_while_publishing(_):
        if not late:
            late.extend(line.submit())
            assert line.dispatcher.run(uuid4()) == 0

    line.publisher.look = ring_while_publishing

    assert {uuid for chunk in line.dispatch() for uuid in chunk.invoice_ids} >= set(late)


def test_room_is_worth_a_bell_only_while_something_is_due(line):
    assert not line.dispatcher.is_wanted()
    line.submit()
    assert line.dispatcher.is_wanted()
    line.dispatch()
    assert not line.dispatcher.is_wanted()

    line.clock.pass_seconds(line.settings.dispatch_lease_seconds + 0.1)
    assert line.dispatcher.is_wanted()


def test_a_held_company_that_stays_so_wants_a_bell_until_its_invoices_are_held(line):
    line.submit()
    line.change("UPDATE company SET hold_reason = 'stopped', held_since = :now", now=line.clock())
    assert not line.dispatcher.is_wanted()
    line.clock.pass_seconds(LASTING.total_seconds())
    assert line.dispatcher.is_wanted()

    line.dispatch()

    assert not line.dispatcher.is_wanted()


def test_a_database_that_cannot_tell_costs_a_bell_at_most(line):
    nowhere = Database("postgresql+psycopg://127.0.0.1:1/nowhere")
    given = {"publisher": line.publisher, "settings": line.settings, "clock": line.clock}

    assert Dispatcher(database=nowhere, **given).is_wanted()


@pytest.mark.parametrize("count", [1, 10, 11, 250], ids=["one", "little", "more", "chunks"])
def test_what_leaves_nothing_behind_is_the_last_round(line, count):
    """All that was due is handed out: no second round finds out that nothing is left."""
    line.submit(count)

    assert count_picks(line) == ([count], [True])


def test_a_full_window_is_the_last_round(database, vault):
    line = make_line(database, vault, chunk_invoices=20, window_chunks=2)
    line.submit(100)

    assert count_picks(line) == ([40], [True])


def test_what_one_round_cannot_see_is_left_to_the_next(database, vault):
    """A company whose share was not counted to its end has another round, as long as there is room."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=10)
    line.submit(80)
    for number in range(9):
        line.submit(1, company=line.add_company(f"Few {number}"))

    picked, last = count_picks(line)

    assert (sum(picked), len(picked)) == (80 + 9, 2)
    assert last == [False, True]


def count_picks(line):
    picks = []

    class Counted(Dispatcher):
        def _round(self):
            picks.append(super()._round())
            return picks[-1]

    given = {"database": line.database, "publisher": line.publisher, "settings": line.settings, "clock": line.clock}
    Counted(**given).run(uuid4())
    return [len(each.invoices) for each in picks], [each.is_last for each in picks]


def test_four_pumps_at_once_hand_out_each_invoice_once(line):
    uuids = line.submit(300)
    together, publishers = Barrier(4), [FakePublisher() for _ in range(4)]

    def pump(publisher):
        other = Line.__new__(Line)
        other.__dict__.update(line.__dict__, publisher=publisher)
        together.wait(timeout=10)
        other.dispatcher.run(uuid4())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(pump, publishers))

    handed_out = [uuid for publisher in publishers for chunk in publisher.chunks for uuid in chunk.invoice_ids]
    assert sorted(handed_out) == sorted(uuids)

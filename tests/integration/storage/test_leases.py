"""A task of which only one may run, and a bell that is never lost while it runs."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import uuid4

from pipeline.storage import leases
from pipeline.storage.fleet_tables import LeaseRow

from .rows import NOW

NAME = "dispatch"
ANN, BOB = uuid4(), uuid4()
OVER = NOW + timedelta(seconds=31)


def ring(database):
    with database.transaction() as session:
        leases.ring(session, NAME, now=NOW)


def take(database, holder, *, now=NOW):
    with database.transaction() as session:
        return leases.take(session, NAME, holder=holder, now=now, seconds=30)


def ring_and_take(database, holder, *, now=NOW):
    with database.transaction() as session:
        return leases.ring_and_take(session, NAME, holder=holder, now=now, seconds=30)


def leave(database, holder, *, seen):
    with database.transaction() as session:
        return leases.leave(session, NAME, holder=holder, seen=seen)


def test_nobody_takes_what_was_never_rung_for(database):
    assert take(database, ANN) is None


def test_one_holds_and_the_other_is_turned_away(database):
    ring(database)

    assert (take(database, ANN), take(database, BOB)) == (1, None)
    assert take(database, ANN) == 1


def test_a_ring_while_held_makes_the_holder_look_again(database):
    ring(database)
    seen = take(database, ANN)
    ring(database)

    assert leave(database, ANN, seen=seen) is False
    assert take(database, BOB) is None
    assert leave(database, ANN, seen=take(database, ANN)) is True
    assert take(database, BOB) == 2


def test_an_expired_lease_can_be_taken_and_its_old_holder_gives_back_nothing(database):
    ring(database)
    take(database, ANN)

    assert take(database, BOB, now=OVER) == 1
    assert leave(database, ANN, seen=None) is False
    assert take(database, ANN, now=OVER) is None


def test_the_lease_is_given_back_in_any_case_when_asked(database):
    ring(database)
    take(database, ANN)
    ring(database)

    assert leave(database, ANN, seen=None) is True
    assert take(database, BOB) == 2


def test_who_rings_takes_what_is_free_and_is_heard_where_it_is_not(database):
    """Ringing and taking at once is a ring that is never lost, and a lease that only one has."""
    assert ring_and_take(database, ANN) == 1
    assert ring_and_take(database, BOB) is None

    assert leave(database, ANN, seen=1) is False
    assert leave(database, ANN, seen=2) is True
    assert ring_and_take(database, BOB) == 3


def test_who_rings_takes_an_expired_lease_and_proves_no_round_of_the_old_holder(database):
    ring_and_take(database, ANN)

    assert ring_and_take(database, BOB, now=OVER) == 2
    assert done_at(database) is None
    assert leave(database, ANN, seen=None) is False
    assert leave(database, BOB, seen=2) is True
    assert done_at(database) == OVER


def done_at(database):
    with database.transaction() as session:
        return session.get(LeaseRow, NAME).done_at


def test_only_a_completed_round_is_noted_as_done(database):
    """A round counts once its holder comes back for the next one or leaves; one who died or gave up proves nothing."""
    ring(database)
    take(database, ANN)
    assert done_at(database) is None

    take(database, BOB, now=OVER)
    leave(database, BOB, seen=None)
    assert done_at(database) is None

    seen = take(database, BOB, now=OVER)
    take(database, BOB, now=OVER + timedelta(seconds=1))
    assert done_at(database) == OVER
    leave(database, BOB, seen=seen)
    assert done_at(database) == OVER + timedelta(seconds=1)


def test_of_many_at_once_one_becomes_the_holder(database):
    ring(database)
    together = Barrier(6)

    def try_it(_):
        together.wait(timeout=10)
        return take(database, uuid4())

    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(try_it, range(6)))

    assert sorted(taken, key=str) == [1, *[None] * 5]


def test_the_last_ring_is_remembered(database):
    with database.transaction() as session:
        assert leases.last_rung_at(session, NAME) is None
    ring(database)

    with database.transaction() as session:
        assert leases.last_rung_at(session, NAME) == NOW

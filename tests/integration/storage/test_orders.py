"""Orders: the rest goes when the canary did well, never when it did not, at its pace, and back when asked."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.domain.way import Way
from pipeline.services.orders import Pace, Wish, carry_out, preview
from pipeline.storage.cases import CaseFilter, list_cases
from pipeline.storage.database import Database
from pipeline.storage.orders import advance_orders, read_order, undo_case, undo_order
from pipeline.storage.ways_taking import claim_ways
from tests.integration.cli.case_rows import CaseRows

from .rows import NOW, add_company, wait_for_a_lock

WINDOW, WAIT = timedelta(minutes=10), timedelta(minutes=15)
PACE = Pace(per_minute=6, undo_window=WINDOW, canary_wait=WAIT)
MINUTE = timedelta(minutes=1)


class Orders(CaseRows):
    """Cases with an order for all of them."""

    def order(self, count=4, *, pace=PACE):
        for number in range(count):
            self.case(number=str(number), email=f"b{number}@example.com")
        with self.database.transaction() as session:
            wish = Wish(way=Way.EMAIL, chosen_by="a person")
            previewed = preview(session, list_cases(session, CaseFilter(status="open")), wish)
            return carry_out(session, previewed, wish, pace=pace, chosen={}, now=NOW).order_id

    def advance(self, now):
        with self.database.transaction() as session:
            return advance_orders(session, now=now)

    def read(self, order):
        with self.database.transaction() as session:
            return read_order(session, order)

    def undo(self, order):
        with self.database.transaction() as session:
            return undo_order(session, order, by="a person", now=NOW)

    def claim(self, now):
        with self.database.transaction() as session:
            return [way.id for way in claim_ways(session, now=now, lease=MINUTE, limit=100)]

    def end_canary(self, order, *, state, status="done", at=NOW):
        """The canary's way out ends, and its invoice comes to a state."""
        way = self.ways(order)[0]
        self.change(
            "UPDATE way_out SET status = :status, asked = 1, finished_at = :at, outcome = 'no such mailbox' WHERE id = :id",
            id=way.id,
            status=status,
            at=at,
        )
        self.move(
            way.invoice_id, *{"failed": (), "accepted": ("accepted",), "delivered": ("accepted", "delivered")}[state]
        )
        self.change("UPDATE invoice SET accepted_at = :at WHERE id = :id", id=way.invoice_id, at=at)
        return way


@pytest.fixture
def orders(database, vault) -> Orders:
    add_company(database, vault, "demo")
    return Orders(database)


def test_only_the_canary_goes_first(orders):
    """Whatever the time, nothing but the canary is taken before the canary did well."""
    order = orders.order()
    far = NOW + timedelta(days=1)

    changed = orders.advance(far)

    assert changed == 0
    assert orders.claim(far) == [orders.ways(order)[0].id]
    assert orders.read(order).status == "canary"


@pytest.mark.parametrize(
    ("state", "after", "status"),
    [
        ("delivered", timedelta(0), "running"),
        ("accepted", WAIT - timedelta(seconds=1), "canary"),
        ("accepted", WAIT, "running"),
        ("failed", timedelta(0), "stopped"),
        ("failed", WAIT * 9, "stopped"),
    ],
)
def test_the_canary_decides(orders, state, after, status):
    """Delivered, or not failed for its time: the rest may go. Failed again: none of it goes."""
    order = orders.order()
    orders.end_canary(order, state=state)

    orders.advance(NOW + after)

    assert orders.read(order).status == status


@pytest.mark.parametrize("status", ["refused", "skipped", "undone"])
def test_a_canary_that_did_not_go_stops_the_order(orders, status):
    """The rest is skipped with the reason, its cases are open again, and nothing of it can be taken."""
    order = orders.order()
    canary = orders.end_canary(order, state="failed", status=status)

    assert orders.advance(NOW + WAIT) == 1

    stopped = orders.read(order)
    assert stopped.status == "stopped"
    assert str(canary.case_id) in stopped.why
    rest = stopped.ways[1:]
    assert {way.status for way in rest} == {"skipped"}
    assert all(f"order-{order} was stopped" in way.outcome for way in rest)
    assert {orders.case_row(way.case_id).status for way in rest} == {"open"}
    assert orders.claim(NOW + timedelta(days=1)) == []
    assert orders.advance(NOW + WAIT) == 0


def test_a_canary_that_failed_and_was_taken_on_stops_the_order(orders):
    """A rule that has rerouted the failed canary once more does not hide that it failed."""
    order = orders.order()
    canary = orders.end_canary(order, state="delivered")
    orders.way(canary.case_id, canary.invoice_id, kind="print", status="planned", at=NOW)

    orders.advance(NOW + WAIT)

    assert orders.read(order).status == "stopped"


def test_the_rest_goes_at_its_pace(orders):
    """After the canary and the undo window one goes every ten seconds, as six a minute are."""
    order = orders.order()
    orders.end_canary(order, state="delivered")
    orders.advance(NOW)
    ways = [way.id for way in orders.read(order).ways]

    assert orders.claim(NOW + WINDOW - timedelta(seconds=1)) == []
    assert orders.claim(NOW + WINDOW) == ways[1:2]
    assert orders.claim(NOW + WINDOW + timedelta(seconds=10)) == ways[2:3]
    assert orders.claim(NOW + WINDOW + timedelta(seconds=20)) == ways[3:4]


def test_a_slow_canary_keeps_the_pace(orders):
    """A canary that takes hours does not let the rest loose all at once."""
    order = orders.order()
    late = NOW + timedelta(hours=5)
    orders.end_canary(order, state="delivered", at=late)

    orders.advance(late)

    assert len(orders.claim(late)) == 1
    assert len(orders.claim(late + timedelta(seconds=10))) == 1


def test_an_outage_keeps_the_pace(orders):
    """A router that was away for hours does not let the rest loose all at once; a minute's delay changes nothing."""
    order = orders.order()
    orders.end_canary(order, state="delivered")
    orders.advance(NOW)
    back = NOW + timedelta(hours=5)

    assert orders.advance(NOW + WINDOW + MINUTE) == 0
    assert orders.advance(back) == 1

    assert len(orders.claim(back)) == 1
    assert len(orders.claim(back + timedelta(seconds=10))) == 1


def test_a_held_company_holds_up_no_other_of_its_order(orders, vault):
    """What cannot go now does not take the others' turns from them, minute by minute."""
    add_company(orders.database, vault, "held")
    for number in range(12):
        orders.case(number=f"h{number}", email="held@example.com", company="held")
    order = orders.order(2)
    orders.end_canary(order, state="delivered")
    orders.advance(NOW)
    orders.change("UPDATE company SET hold_reason = 'not let in', held_since = :now WHERE name = 'held'", now=NOW)

    begun = set()
    for seconds in range(0, 600, 10):
        now = NOW + WINDOW + timedelta(seconds=seconds)
        orders.advance(now)
        begun.update(orders.claim(now))

    assert begun == {way.id for way in orders.read(order).ways[-2:]}


def test_an_order_ends_with_its_last_way(orders):
    """While anything of it is under way an order runs; then it is done and looked at no more."""
    order = orders.order(2)
    orders.end_canary(order, state="delivered")
    orders.advance(NOW)
    orders.change("UPDATE way_out SET status = 'unclear', asked = 1 WHERE status = 'planned'")

    assert orders.advance(NOW) == 0
    orders.change("UPDATE way_out SET status = 'done', finished_at = now() WHERE status = 'unclear'")
    assert orders.advance(NOW) == 1

    assert orders.read(order).status == "done"
    assert orders.advance(NOW) == 0


def test_a_canary_not_yet_sent_proves_nothing(orders):
    """A resent canary that still waits to be sent keeps the rest waiting, however long."""
    order = orders.order()
    way = orders.ways(order)[0]
    successor = orders.invoice(state="queued", number="new")
    orders.change(
        "UPDATE way_out SET status = 'done', successor_id = :new, finished_at = :at WHERE id = :id",
        id=way.id,
        new=successor,
        at=NOW,
    )

    orders.advance(NOW + timedelta(days=2))

    assert orders.read(order).status == "canary"


def test_undoing_during_the_canary_ends_the_order(orders):
    """What is taken back never goes, whatever becomes of the canary afterwards."""
    order = orders.order()
    orders.claim(NOW)

    with orders.database.transaction() as session:
        undone = undo_order(session, order, by="a person", now=NOW)

    assert (len(undone.undone), [way.status for way in undone.too_late]) == (3, ["begun"])
    orders.end_canary(order, state="delivered")
    assert orders.advance(NOW + WAIT) == 0
    assert orders.read(order).status == "undone"
    assert orders.claim(NOW + timedelta(days=1)) == []


def test_undoing_the_canary_alone_stops_the_order(orders):
    """Nothing goes without a canary, also when a person took the canary back."""
    order = orders.order()
    canary = orders.ways(order)[0]

    with orders.database.transaction() as session:
        assert len(undo_case(session, canary.case_id, now=NOW).undone) == 1
    orders.advance(NOW)

    assert orders.read(order).status == "stopped"


def test_two_routers_advance_an_order_once(orders, database_url):
    """An order that another router sees to right now is left out, not waited for."""
    order = orders.order()
    orders.end_canary(order, state="delivered")
    other = Database(database_url)

    with orders.database.transaction() as session, other.transaction() as beside:
        assert advance_orders(session, now=NOW) == 1
        assert advance_orders(beside, now=NOW) == 0
    other.close()

    assert orders.read(order).status == "running"


def test_undoing_holds_no_case_while_it_waits_for_the_order(orders):
    """A router that stops the order takes the order first and its cases then; the other way round is a deadlock."""
    order = orders.order()

    with ThreadPoolExecutor() as pool:
        with orders.database.transaction() as router:
            router.connection().execute(text("SELECT 1 FROM route_order FOR UPDATE"))
            undone = pool.submit(orders.undo, order)
            wait_for_a_lock(orders.database)
            router.connection().execute(text("SELECT 1 FROM route_case FOR NO KEY UPDATE NOWAIT"))
        undone.result()

    assert orders.read(order).status == "undone"

"""The books of a batch: exact at every moment, closed only when they balance, and closed once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import exc, text

from pipeline.domain.errors import InvalidInputError, UnknownBatchError
from pipeline.domain.state import OPEN_STATES, State
from pipeline.storage import batches, tallies
from pipeline.storage.submissions import insert_invoice, open_batch
from pipeline.storage.tallies import Balance

from .rows import NOW, add_company, change, new_invoice, query, wait_for_a_lock
from .test_tallies import walk

EARLY, LATE = NOW - timedelta(days=1), NOW + timedelta(days=1)
TO_PART = """
    UPDATE invoice SET state = :state, reason = 'x', accepted_at = :now, due_at = NULL WHERE id = ANY(:ids)
"""
COUNTED = """
    SELECT batch_id, count(*) AS total, count(*) FILTER (WHERE state = 'delivered') AS delivered,
        count(*) FILTER (WHERE state IN ('failed', 'refused')) AS failed,
        count(*) FILTER (WHERE state IN ('queued', 'sending', 'waiting', 'in_doubt', 'accepted')) AS open,
        count(*) FILTER (WHERE state = 'held') AS held, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE state = 'superseded') AS superseded
    FROM invoice WHERE batch_id IS NOT NULL GROUP BY batch_id
"""


def submit(database, company, count=1, *, batch="november", **order):
    invoices = [replace(new_invoice(company, batch=batch), **order) for _ in range(count)]
    with database.transaction() as session:
        for each in invoices:
            insert_invoice(session, each, now=NOW)
    return [each.id for each in invoices]


def find(database, named="november", **how):
    with database.transaction() as session:
        return batches.find_batch(session, named, **how)


def fold(database, limit=50_000):
    with database.transaction() as session:
        return batches.fold_batches(session, limit=limit)


def close(database, named="november"):
    with database.transaction() as session:
        return batches.close_batch(session, batches.find_batch(session, named).id, now=NOW)


def complete(database, *, now=NOW, quiet_since=EARLY):
    with database.transaction() as session:
        return batches.complete_batches(session, now=now, quiet_since=quiet_since)


def settle(database, ids, state="delivered"):
    """Bring invoices to a state without going the whole way."""
    change(database, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    change(database, TO_PART, ids=ids, state=state, now=NOW)
    change(database, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")


def books(database):
    """What the batches say and what is there, in one snapshot."""
    with database.transaction() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        kept = {each.id: each.balance for each in batches.list_batches(session)}
        there = session.connection().exec_driver_sql(COUNTED).mappings().all()
    return kept, {row["batch_id"]: Balance(**{k: v for k, v in row.items() if k != "batch_id"}) for row in there}


@pytest.mark.parametrize("seed", range(3))
def test_balance_is_exact_beside_workers_and_folders(database, company, seed):
    """Whoever moves, rolls back and folds at the same time, the balance equals a count at every moment."""
    uuids = [submit(database, company, 8, batch=str(batch)) for batch in range(3)]

    with ThreadPoolExecutor(5) as threads:
        moves = [threads.submit(walk, database, each, seed=seed * 10 + n, steps=25) for n, each in enumerate(uuids)]
        folds = [threads.submit(lambda: [fold(database, limit=5) for _ in range(25)]) for _ in range(2)]
        while not all(each.done() for each in [*moves, *folds]):
            kept, there = books(database)
            assert kept == there
        for each in [*moves, *folds]:
            each.result()

    while fold(database):
        pass
    kept, there = books(database)
    assert kept == there
    assert all(balance.is_balanced for balance in kept.values())


@pytest.mark.parametrize("table", ["batch", "batch_delta"])
def test_the_database_refuses_books_that_do_not_balance(database, company, table):
    """A total that is not the sum of its parts cannot be written, neither as a change nor as a counter."""
    submit(database, company)
    for part in ("total", *batches.PARTS):
        with pytest.raises(exc.IntegrityError, match="balances"):
            change(database, f"UPDATE {table} SET {part} = {part} + 1")


def test_every_state_is_in_one_part(database, company):
    """A state that the parts do not know would not balance, so no statement could bring an invoice there."""
    for state in State:
        (uuid,) = submit(database, company, batch=state.value)
        settle_anywhere(database, uuid, state)

        balance = find(database, state.value).balance

        parts = {part: getattr(balance, part) for part in batches.PARTS if getattr(balance, part)}
        assert (balance.total, sum(parts.values()), len(parts)) == (1, 1, 1)
        assert (balance.open == 1) == (state in OPEN_STATES)


def settle_anywhere(database, uuid, state):
    change(database, "ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    change(
        database,
        "UPDATE invoice SET state = :state, reason = 'x', accepted_at = :now, lease_until = :now WHERE id = :id",
        id=uuid,
        state=state.value,
        now=NOW,
    )
    change(database, "ALTER TABLE invoice ENABLE TRIGGER invoice_guard")


def test_a_move_between_open_states_writes_no_change_of_a_batch(database, company):
    """The way of every invoice to its acceptance costs a batch nothing."""
    submit(database, company, 3)
    fold(database)

    change(database, "UPDATE invoice SET state = 'sending', lease_until = :now, due_at = NULL", now=NOW)
    change(database, "UPDATE invoice SET state = 'accepted', accepted_at = :now", now=NOW)

    assert query(database, "SELECT * FROM batch_delta") == []


def test_a_batch_completes_once_when_closed_and_nothing_is_open(database, company):
    """Not while one invoice is open or held, not before it is closed, not before its books are folded; then once."""
    first, second = submit(database, company, 2)
    settle(database, [first])
    fold(database)
    close(database)
    assert complete(database) == []
    settle(database, [second], "held")
    fold(database)
    assert complete(database) == []
    settle(database, [second], "failed")
    assert complete(database) == []
    fold(database)

    (completed,) = complete(database)
    again = complete(database, now=LATE)

    assert (completed.completed_at, completed.completed_total, completed.is_through) == (NOW, 2, True)
    assert again == []
    assert find(database).completed_at == NOW


def test_an_open_batch_completes_only_after_a_long_silence(database, company):
    settle(database, submit(database, company))
    fold(database)

    assert complete(database, quiet_since=NOW) == []
    (completed,) = complete(database, quiet_since=NOW + timedelta(seconds=1))

    assert completed.closed_at == NOW


def test_of_many_that_complete_one_has_it(database, company):
    """Of eight who look at the same time one is told of the completion."""
    settle(database, submit(database, company))
    fold(database)
    close(database)

    with ThreadPoolExecutor(8) as threads:
        told = [each for found in threads.map(lambda _: complete(database), range(8)) for each in found]

    assert len(told) == 1


def test_a_submission_under_way_keeps_the_batch_from_completing(database, company):
    """An invoice that is not committed yet counts: either it is in before the completion, or it comes after it."""
    settle(database, submit(database, company))
    fold(database)
    close(database)

    with database.transaction() as session:
        insert_invoice(session, new_invoice(company, batch="november"), now=NOW)
        assert complete(database) == []
    assert complete(database) == []
    fold(database)
    assert complete(database) == []
    assert find(database).balance.open == 1


def test_a_submission_that_comes_while_it_completes_waits_and_counts_later(database, company):
    settle(database, submit(database, company))
    fold(database)
    close(database)

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            assert len(batches.complete_batches(session, now=NOW, quiet_since=EARLY)) == 1
            late = threads.submit(submit, database, company)
            wait_for_a_lock(database)
        late.result(timeout=10)

    found = find(database)
    assert (found.completed_total, found.balance.total, found.balance.open, found.is_through) == (1, 2, 1, False)


def test_completion_is_for_once_even_by_hand(database, company):
    """The database refuses a completion with open invoices, and any change of one that was recorded."""
    (uuid,) = submit(database, company)
    fold(database)
    complete_by_hand = "UPDATE batch SET closed_at = :now, completed_at = :now, completed_total = total"
    with pytest.raises(exc.IntegrityError, match="is not complete"):
        change(database, complete_by_hand, now=NOW)
    settle(database, [uuid])
    with pytest.raises(exc.IntegrityError, match="is not complete"):
        change(database, complete_by_hand, now=NOW)
    fold(database)
    change(database, complete_by_hand, now=NOW)

    for wrong in ("completed_at = NULL", "completed_at = :now", "completed_total = 7"):
        with pytest.raises(exc.IntegrityError, match="not completed again"):
            change(database, f"UPDATE batch SET {wrong}", **({"now": LATE} if ":now" in wrong else {}))


def test_more_may_come_until_it_is_completed(database, company):
    submit(database, company)
    assert close(database)
    assert not close(database)
    with database.transaction() as session:
        assert batches.reopen_batch(session, company, "november")
        assert not batches.reopen_batch(session, company, "november")

    assert find(database).closed_at is None


def test_a_batch_is_found_by_name_and_id_among_companies(database, company, vault):
    beta = add_company(database, vault, "Beta")
    submit(database, company)
    submit(database, beta)
    submit(database, beta, batch="7")

    with pytest.raises(InvalidInputError, match=r"2 companies .*Acme, Beta.* --company"):
        find(database)
    own = find(database, company_id=beta)
    assert (own.company_name, find(database, str(own.id)).id, find(database, "7").name) == ("Beta", own.id, "7")
    for unknown in ("december", "4711", "9" * 40):
        with pytest.raises(UnknownBatchError, match="batch list"):
            find(database, unknown)


def test_earliest_moments_and_cut_offs_are_kept(database, company):
    submit(database, company, 2, not_before=LATE, deadline=LATE)
    submit(database, company, not_before=NOW, priority=3)
    sent = submit(database, company, 1, deadline=LATE)
    change(database, "UPDATE invoice SET deadline = :at WHERE id = :id", id=sent[0], at=LATE + timedelta(hours=1))
    submit(database, company)
    minute = int(LATE.timestamp()) // 60
    expected = {f"0/{minute}": 2, "3/": 1, f"0/{minute + 60}": 1}
    assert cutoffs(database) == expected

    fold(database)
    with database.transaction() as session:
        tallies.fold(session)
    assert cutoffs(database) == expected
    settle(database, sent, "accepted")

    assert find(database).not_before == LATE
    assert cutoffs(database) == {f"0/{minute}": 2, "3/": 1}


def cutoffs(database):
    both = "(SELECT * FROM tally UNION ALL SELECT subject, company_id, batch_id, name, n FROM tally_delta) AS b"
    found = query(database, f"SELECT name, sum(n) AS n FROM {both} WHERE subject = 'deadline' GROUP BY name")
    return {row.name: row.n for row in found if row.n}


def test_a_batch_without_invoices_completes_when_closed(database, company):
    with database.transaction() as session:
        open_batch(session, company, "empty", now=NOW)
    assert complete(database, quiet_since=LATE) == []
    close(database, "empty")

    assert [each.completed_total for each in complete(database)] == [0]


def test_reading_costs_the_same_beside_any_batch(database, company):
    """The balance of a batch is read without a look at its invoices."""
    submit(database, company, 5)
    with database.transaction() as session:
        for statement in (batches.OF_IDS, batches.LIST, batches.STATES):
            plan = session.connection().execute(
                text(f"EXPLAIN {statement.text}"),
                {"ids": [1], "company": company, "batch": 1, "going": False, "limit": 1},
            )
            assert "on invoice" not in "\n".join(plan.scalars())

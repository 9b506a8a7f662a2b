"""The counters equal a count of what there is, at every moment, whoever works and folds meanwhile."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from pipeline.domain.state import TRANSITIONS, State
from pipeline.storage import tallies
from pipeline.storage.submissions import insert_invoice

from .rows import NOW, add_company, change, new_invoice, query, queue

COUNTED = (
    "SELECT company_id, coalesce(batch_id, 0) AS batch_id, state AS name, count(*) AS n FROM invoice GROUP BY 1, 2, 3"
)
MOVE = """
    UPDATE invoice SET state = CAST(:target AS text), reason = 'moved', accepted_at = :now,
        due_at = CASE WHEN :target IN ('queued', 'waiting', 'in_doubt') THEN CAST(:now AS timestamptz) END,
        lease_until = CASE WHEN :target = 'sending' THEN CAST(:now AS timestamptz) END
    WHERE id = ANY(:ids) AND state = :source
"""
FREELY = {source: [t for t in targets if t is not State.CANCELLED] for source, targets in TRANSITIONS.items()}


def fold(database, limit=50_000):
    with database.transaction() as session:
        return tallies.fold(session, limit=limit)


def read(database, **how):
    with database.transaction() as session:
        return tallies.read_tallies(session, **how)


def counted(database):
    """What the counters say and what is there, in one snapshot."""
    with database.transaction() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        kept = tallies.read_tallies(session, by_batch=True).rows
        there = session.connection().exec_driver_sql(COUNTED).all()
    return (
        {(row.company_id, row.batch_id, row.name): row.n for row in kept if row.subject == "invoice"},
        {(row.company_id, row.batch_id, row.name): row.n for row in there},
    )


def submit(database, company, count=1, *, batch=None):
    invoices = [new_invoice(company, batch=batch) for _ in range(count)]
    with database.transaction() as session:
        for invoice in invoices:
            insert_invoice(session, invoice, now=NOW)
    return [invoice.id for invoice in invoices]


def walk(database, uuids, *, seed, steps):
    """Move some of the invoices from a random state along a random legal way, some steps with a rollback."""
    dice = random.Random(seed)
    for _ in range(steps):
        source = dice.choice([state for state in State if FREELY[state]])
        target = dice.choice(FREELY[source])
        chosen = dice.sample(uuids, dice.randint(1, len(uuids)))
        try:
            change_in_turn(database, source, target, chosen, fails=dice.random() < 0.1)
        except RuntimeError:
            continue


def change_in_turn(database, source, target, chosen, *, fails):
    with database.transaction() as session:
        # Locked in one order, or two walkers would wait for each other.
        lock = "SELECT id FROM invoice WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE"
        session.connection().exec_driver_sql(lock, {"ids": chosen})
        session.connection().execute(text(MOVE), {"target": target, "source": source, "now": NOW, "ids": chosen})
        if fails:
            raise RuntimeError("rolled back")


@pytest.mark.parametrize("seed", range(5))
def test_counters_equal_a_count_after_any_moves(database, company, vault, seed):
    """Whatever is submitted, moved, rolled back and folded, the counters equal count(*)."""
    dice = random.Random(seed)
    companies = [company, add_company(database, vault, "Beta")]
    uuids = [
        uuid for each in companies for batch in (None, "a", "b") for uuid in submit(database, each, 4, batch=batch)
    ]
    for step in range(20):
        walk(database, uuids, seed=(seed + 1) * 1000 + step, steps=3)
        if dice.random() < 0.4:
            fold(database, limit=dice.randint(1, 20))
        kept, there = counted(database)
        assert kept == there
    while fold(database):
        pass
    assert counted(database)[0] == there
    assert query(database, "SELECT 1 FROM tally WHERE n = 0") == []


def test_counters_stay_right_beside_workers_and_folders(database, company):
    """Workers that move and others that fold at the same time lose and double nothing, at no moment."""
    uuids = [submit(database, company, 10, batch=str(batch)) for batch in range(3)]

    with ThreadPoolExecutor(5) as threads:
        moves = [threads.submit(walk, database, each, seed=seed, steps=40) for seed, each in enumerate(uuids)]
        folds = [threads.submit(lambda: [fold(database, limit=7) for _ in range(40)]) for _ in range(2)]
        while not all(each.done() for each in [*moves, *folds]):
            kept, there = counted(database)
            assert kept == there
        for each in [*moves, *folds]:
            each.result()

    kept, there = counted(database)
    assert kept == there


def test_counts_are_given_by_company_and_state(database, company, vault):
    beta = add_company(database, vault, "Beta")
    queue(database, company, 2)
    (held,) = queue(database, beta)
    change(database, "UPDATE invoice SET state = 'held', held_for = 'person', reason = 'x' WHERE id = :id", id=held)

    found = read(database)

    assert (found.states()[State.QUEUED], found.states()[State.HELD]) == (2, 1)
    assert (found.states(beta)[State.QUEUED], found.states(beta)[State.HELD]) == (0, 1)
    assert set(found.states()) == set(State)


def test_cases_are_counted_by_status_and_owner(database, company):
    for owner, status in (
        ("accountant", "open"),
        ("accountant", "open"),
        ("engineer", "open"),
        ("engineer", "under_way"),
    ):
        (uuid,) = queue(database, company)
        open_case(database, company, uuid, owner=owner, status=status)
    fold(database)
    change(database, "UPDATE route_case SET status = 'resolved' WHERE id = (SELECT min(id) FROM route_case)")

    found = read(database)

    assert found.cases("open") == {"accountant": 1, "engineer": 1}
    assert found.cases("under_way", company) == {"engineer": 1}


def open_case(database, company, uuid, *, owner="accountant", status="open"):
    change(
        database,
        "INSERT INTO route_case (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words,"
        " advice, ways, failed_at, opened_at, changed_at) VALUES (:company, :invoice, :status, 1, 'content', :owner, 'v',"
        " '1', 'w', 'a', '{}', :now, :now, :now)",
        company=company,
        invoice=uuid,
        status=status,
        owner=owner,
        now=NOW,
    )


def test_a_batch_balances(database, company):
    """Every invoice ever submitted into a batch is in exactly one part; the total is counted on its own."""
    uuids = submit(database, company, 9, batch="november")
    submit(database, company, 3, batch="other")
    ways = {
        "delivered": ("sending", "accepted", "delivered"),
        "failed": ("sending", "accepted", "failed"),
        "refused": ("sending", "in_doubt", "refused"),
        "held": ("held",),
        "superseded": ("sending", "accepted", "failed", "superseded"),
        "cancelled": ("cancelled",),
        "accepted": ("sending", "accepted"),
    }
    for uuid, way in zip(uuids, ways.values(), strict=False):
        for source, target in zip(("queued", *way), way, strict=False):
            change(database, MOVE, ids=[uuid], source=source, target=target, now=NOW)
    fold(database, limit=5)
    batch = query(database, "SELECT id FROM batch WHERE name = 'november'")[0].id

    with database.transaction() as session:
        balance = tallies.batch_balances(session, batch)

    assert balance == tallies.Balance(total=9, delivered=1, failed=2, open=3, held=1, cancelled=1, superseded=1)
    assert balance.is_balanced


def test_an_unknown_batch_is_empty(database):
    with database.transaction() as session:
        assert tallies.batch_balances(session, 4711).total == 0


def test_the_oldest_of_every_open_state_is_known(database, company):
    old, new = queue(database, company)[0], queue(database, company)[0]
    change(database, "UPDATE invoice SET submitted_at = '2026-10-01T00:00:00Z' WHERE id = :id", id=old)

    with database.transaction() as session:
        oldest = tallies.read_oldest(session)

    assert {state: at.date().isoformat() for state, at in oldest.items()} == {State.QUEUED: "2026-10-01"}
    assert new != old


def test_no_counter_is_read_by_scanning_invoices(database, company):
    """The board's questions go to the counters and to one index entry a state."""
    queue(database, company, 3)
    for statement in (tallies.BY_COMPANY, tallies.BY_BATCH):
        assert "invoice" not in str(statement).replace("'invoice'", "")
    plan = Counter()
    with database.transaction() as session:
        session.connection().exec_driver_sql("SET LOCAL enable_seqscan = off")
        for (line,) in session.connection().exec_driver_sql(f"EXPLAIN {tallies.OLDEST}"):
            plan["invoice_open"] += "invoice_open" in line
            plan["seq"] += "Seq Scan on invoice" in line
    assert plan == {"invoice_open": 6, "seq": 0}

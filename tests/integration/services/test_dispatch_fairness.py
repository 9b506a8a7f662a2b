"""Fair shares on the line: weights, caps, limits and circuits, deadlines, suspects, and a tick beside 100,000."""

from collections import Counter
from datetime import timedelta

import pytest

from pipeline.domain.errors import InvalidInputError
from pipeline.domain.fairness import jain_index
from pipeline.services.gate import host_scope
from pipeline.services.submit import submit
from pipeline.storage import claims, companies, rounds

from .line import Line, document
from .reading_rows import rows_read

FILL = """
    INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, format, submitted_at, changed_at)
    SELECT gen_random_uuid(), :company, (SELECT sha256 FROM document LIMIT 1), :now, 1000, 'invoice.xml', '{}', 'queued',
        0, :now, 0, 0, 0, 'UNKNOWN', :now, :now
    FROM generate_series(1, :count)
"""
COMPANIES = """
    INSERT INTO company (id, name, user_api_key, vendor_api_key, scopes, created_at)
    SELECT gen_random_uuid(), 'Company ' || number, '', '', '', :now FROM generate_series(1, :count) AS number
"""


def make_line(database, vault, **variables):
    return Line(database, vault, **variables)


def fill(line, company, count):
    """Queue invoices without the work of submitting each."""
    line.submit(1, company=company)
    line.change(FILL, company=company, now=line.clock(), count=count - 1)


def set_company(line, company, **columns):
    for name, value in columns.items():
        line.change(f"UPDATE company SET {name} = :value WHERE id = :id", value=value, id=company)


def count(chunks):
    counts = Counter()
    for chunk in chunks:
        counts[chunk.company_id] += len(chunk.invoice_ids)
    return counts


def answer_all(line, chunks):
    """Have the workers be done with chunks at once."""
    ids = [uuid for chunk in chunks for uuid in chunk.invoice_ids]
    line.change(
        "UPDATE invoice SET state = 'sending', due_at = NULL, uploads = uploads + 1 WHERE id = ANY(:ids)", ids=ids
    )
    line.change(
        """UPDATE invoice SET state = 'accepted', lease_until = NULL, accepted_at = :now, changed_at = :now
        WHERE id = ANY(:ids)""",
        ids=ids,
        now=line.clock(),
    )


def claim(line, chunk):
    return line.sender._claim(claims.claim_uploads, chunk.company_id, chunk.invoice_ids, chunk.epoch)


def open_circuit(line, scope, *, state="open", retry_in=60.0, since=0.0):
    now = line.clock()
    line.change(
        """INSERT INTO circuit (scope, state, since, retry_at, trips, window_at)
        VALUES (:scope, :state, :since, :retry_at, 1, :since)""",
        scope=scope,
        state=state,
        since=now - timedelta(seconds=since),
        retry_at=now + timedelta(seconds=retry_in) if state == "open" else None,
    )


def block(line, scope, *, seconds):
    line.change(
        "INSERT INTO pace (scope, lane, blocked_until) VALUES (:scope, 'upload', :until)",
        scope=scope,
        until=line.clock() + timedelta(seconds=seconds),
    )


def bring_into_doubt(line, uuid):
    line.change("UPDATE invoice SET state = 'sending', due_at = NULL, lease_until = :now, uploads = 1 WHERE id = :id",
                id=uuid, now=line.clock())  # fmt: skip
    line.change("UPDATE invoice SET state = 'in_doubt', lease_until = NULL, due_at = :now WHERE id = :id",
                id=uuid, now=line.clock())  # fmt: skip


# Weights, caps, rooms smaller than the companies.


def test_long_run_shares_follow_weights(database, vault):
    """Companies of weights 1, 2 and 4 with endless backlogs get 1:2:4 over a long run, in rooms too small to divide."""
    line = make_line(database, vault, uploads_per_second=2.5)
    weights = {line.company: 1.0, line.add_company("Beta"): 2.0, line.add_company("Gamma"): 4.0}
    for company, weight in weights.items():
        fill(line, company, 200)
        set_company(line, company, weight=weight)

    got = Counter()
    for _ in range(21):
        chunks = line.dispatch()
        got += count(chunks)
        answer_all(line, chunks)

    assert sum(got.values()) == 21 * 5
    assert [got[company] for company in weights] == pytest.approx([15, 30, 60], abs=1)
    assert jain_index(got[company] / weight for company, weight in weights.items()) > 0.99


def test_a_room_smaller_than_the_companies_goes_round(database, vault):
    """Twelve companies share a room of four: after three rounds each had its turn once."""
    line = make_line(database, vault, uploads_per_second=2)
    everybody = [line.company, *(line.add_company(f"C{number}") for number in range(11))]
    for company in everybody:
        fill(line, company, 40)

    got = Counter()
    for _ in range(3):
        chunks = line.dispatch()
        got += count(chunks)
        answer_all(line, chunks)

    assert got == dict.fromkeys(everybody, 1)


def let_uploads_hang(line):
    """Have workers begin all that was handed out, and no answer come for a while."""
    line.change("UPDATE invoice SET state = 'sending' WHERE state = 'queued' AND lease_until IS NOT NULL")
    line.clock.pass_seconds(3)


def test_a_cap_bounds_what_is_with_workers(database, vault):
    """A capped company never has more in flight than its cap; the room it leaves goes to the others."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=3)
    other = line.add_company("Beta")
    fill(line, line.company, 100)
    fill(line, other, 100)
    set_company(line, line.company, cap=4)

    first = line.dispatch()
    again = line.dispatch()

    assert count(first) == {line.company: 4, other: 26}
    assert again == []
    answer_all(line, [chunk for chunk in first if chunk.company_id == line.company][:1])
    let_uploads_hang(line)
    assert count(line.dispatch()) == {line.company: 4}, "not kept waiting by another's slow uploads"


def test_what_a_company_could_not_use_is_forgotten_with_its_backlog(line):
    set_company(line, line.company, deficit=0.75)
    line.submit(3)

    line.dispatch()

    assert line.query("SELECT deficit FROM company")[0].deficit == 0.0


# Limited, blocked and open: nothing of others waits behind them.


def test_a_limited_company_gets_what_two_seconds_take(database, vault):
    """A company limited to 3 uploads a second has 6 with the workers at most; the window belongs to the others."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    other = line.add_company("Beta")
    fill(line, line.company, 100)
    fill(line, other, 100)
    set_company(line, line.company, uploads_per_second=3)

    assert count(line.dispatch()) == {line.company: 6, other: 14}


def test_long_uploads_of_a_limited_company_keep_none_from_its_turn(database, vault):
    """What is in the air for longer than two seconds has had its turn: the next ones are handed out beside it."""
    line = make_line(database, vault)
    fill(line, line.company, 100)
    set_company(line, line.company, uploads_per_second=2)
    (chunk,) = line.dispatch()
    claim(line, chunk)

    assert line.dispatch() == []
    line.clock.pass_seconds(2)

    assert count(line.dispatch()) == {line.company: 4}


def test_a_common_limit_binds_each_company(database, vault):
    line = make_line(database, vault, company_uploads_per_second=2)
    other = line.add_company("Beta")
    fill(line, line.company, 100)
    fill(line, other, 100)

    assert count(line.dispatch()) == {line.company: 4, other: 4}
    assert line.dispatch() == []


def test_a_limit_of_the_host_is_shared(database, vault):
    line = make_line(database, vault, uploads_per_second=5)
    other = line.add_company("Beta")
    fill(line, line.company, 100)
    fill(line, other, 100)

    assert count(line.dispatch()) == {line.company: 5, other: 5}
    assert line.dispatch() == []


def test_a_slow_limit_still_gets_one(database, vault):
    line = make_line(database, vault)
    fill(line, line.company, 20)
    set_company(line, line.company, uploads_per_second=0.1)

    assert count(line.dispatch()) == {line.company: 1}


@pytest.mark.parametrize("how", ["held", "blocked", "open"])
def test_a_stopped_company_gets_nothing_and_slows_nobody(database, vault, how):
    """Held, asked to pause, or left alone by its circuit: its backlog takes no room, the other's goes on in full."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    other = line.add_company("Beta")
    fill(line, line.company, 100)
    fill(line, other, 100)
    if how == "held":
        with line.database.transaction() as session:
            companies.hold_company(session, line.company, reason="HTTP 401", now=line.clock())
    elif how == "blocked":
        block(line, str(line.company), seconds=30)
    else:
        open_circuit(line, str(line.company))

    assert count(line.dispatch()) == {other: 20}


def test_a_pause_that_is_over_stops_nobody(line):
    line.submit(3)
    block(line, str(line.company), seconds=30)
    line.clock.pass_seconds(31)

    assert count(line.dispatch()) == {line.company: 3}


@pytest.mark.parametrize("how", ["blocked", "open"])
def test_a_stopped_host_gets_nothing_not_even_express(database, vault, how):
    """While the operator asked all for a pause, or is left alone, nothing is handed out at all."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    line.submit(3)
    stop = {"blocked": lambda scope: block(line, scope, seconds=30), "open": lambda scope: open_circuit(line, scope)}
    stop[how](host_scope(line.settings))

    assert line.dispatch() == []
    assert line.query("SELECT count(*) AS n FROM invoice WHERE lease_until IS NOT NULL")[0].n == 0


def test_a_half_open_host_gets_one_canary_of_all_a_doubt(database, vault):
    """When the operator may be asked again one invoice goes, of all companies; one that is in doubt, if there is any."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    fill(line, line.company, 50)
    (doubted, _) = line.submit(2, company=line.add_company("Beta"))
    bring_into_doubt(line, doubted)
    open_circuit(line, host_scope(line.settings), retry_in=-1)

    (canary,) = line.dispatch()

    assert (canary.is_probe, canary.invoice_ids) == (True, (doubted,))
    assert line.dispatch() == []


def test_a_half_open_host_without_doubts_gets_one_upload(line):
    fill(line, line.company, 50)
    open_circuit(line, host_scope(line.settings), retry_in=-1)

    assert [len(chunk.invoice_ids) for chunk in line.dispatch()] == [1]
    assert line.dispatch() == []


def test_a_half_open_company_gets_one_canary_beside_the_others(database, vault):
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    other = line.add_company("Beta")
    fill(line, other, 100)
    fill(line, line.company, 50)
    (doubted,) = line.submit(1)
    bring_into_doubt(line, doubted)
    open_circuit(line, str(line.company), retry_in=-1)

    chunks = line.dispatch()

    assert count(chunks) == {line.company: 1, other: 19}
    assert (doubted,) in [chunk.invoice_ids for chunk in chunks]


def test_a_canary_under_way_keeps_the_next_one_back(line):
    fill(line, line.company, 50)
    open_circuit(line, host_scope(line.settings), retry_in=-1)
    line.change("UPDATE circuit SET state = 'half_open', canary_until = :at", at=line.clock() + timedelta(seconds=60))

    assert line.dispatch() == []


def test_a_closing_circuit_starts_slowly(line):
    """After the canary twice as many may be under way each second."""
    fill(line, line.company, 50)
    open_circuit(line, host_scope(line.settings), state="closing", since=3)

    assert count(line.dispatch()) == {line.company: 8}


# Little beside much.


def test_one_invoice_goes_express_beside_a_full_window(database, vault):
    """While A's month end fills the window, B's single invoice is handed out at once, on the express queue."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    fill(line, line.company, 500)
    assert not any(chunk.is_express for chunk in line.dispatch())
    other = line.add_company("Beta")
    line.submit(1, company=other)

    assert [(chunk.company_id, chunk.is_express) for chunk in line.dispatch()] == [(other, True)]


def test_every_company_with_little_is_let_in_beside_a_full_window(database, vault):
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    fill(line, line.company, 500)
    line.dispatch()
    small = [line.add_company(f"C{number}") for number in range(15)]
    for company in small:
        line.submit(1, company=company)

    assert count(line.dispatch()) == dict.fromkeys(small, 1)


def test_who_submits_much_piece_by_piece_is_not_express(line):
    """A company that has few due because the rest is already on its way has not little."""
    line.submit(11)
    (first,) = line.dispatch()
    line.submit(1)
    (second,) = line.dispatch()

    assert (first.is_express, second.is_express) == (False, False)


def test_a_slow_company_does_not_take_turns_for_what_becomes_free(database, vault):
    """A's slow uploads fill the window; what becomes free goes to B until B has its share of it."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=4)
    fill(line, line.company, 200)
    chunks = line.dispatch()
    other = line.add_company("Beta")
    fill(line, other, 100)
    assert line.dispatch() == [], "no pieces while answers come in"
    let_uploads_hang(line)
    assert count(line.dispatch()) == {other: 10}, "beyond a window in which nothing moves"

    answer_all(line, chunks[:2])

    assert count(line.dispatch())[other] >= 9


def test_beyond_a_full_window_those_with_little_come_first(database, vault):
    """Others that have much and nothing in flight do not stand before a single invoice."""
    line = make_line(database, vault, chunk_invoices=10, window_chunks=2)
    fill(line, line.company, 100)
    line.dispatch()
    for number in range(12):
        fill(line, line.add_company(f"Much {number}"), 20)
    little = line.add_company("Little")
    line.submit(2, company=little)

    assert count(line.dispatch())[little] == 2


# Deadlines and suspects.


def test_the_earliest_deadline_goes_first_inside_a_share(database, vault):
    line = make_line(database, vault, chunk_invoices=2, window_chunks=1)
    plain = line.submit(3)
    urgent = {}
    with line.database.transaction() as session:
        for days in (3, 1, 2):
            deadline = line.clock() + timedelta(days=days)
            done = submit(session, company=line.company, content=document(), filename="a.xml", deadline=deadline,
                          now=line.clock() + timedelta(seconds=1))  # fmt: skip
            urgent[days] = done.uuid
    line.clock.pass_seconds(2)

    order = []
    for _ in range(3):
        chunks = line.dispatch()
        order += [uuid for chunk in chunks for uuid in chunk.invoice_ids]
        answer_all(line, chunks)

    assert order[:3] == [urgent[1], urgent[2], urgent[3]]
    assert set(order[3:]) == set(plain)


def test_a_deadline_without_zone_is_refused_by_the_service(line):
    naive = line.clock().replace(tzinfo=None)

    with line.database.transaction() as session, pytest.raises(InvalidInputError, match="time zone"):
        submit(session, company=line.company, content=document(), filename="a.xml", deadline=naive)


def test_what_missed_its_deadline_is_still_sent(line):
    with line.database.transaction() as session:
        past = line.clock() - timedelta(days=1)
        done = submit(session, company=line.company, content=document(), filename="a.xml", deadline=past,
                      now=line.clock())  # fmt: skip

    line.work()

    assert line.row(done.uuid).state == "accepted"


def test_suspects_travel_alone(line):
    """What was there at two deaths goes alone, what was there at one by tens, the rest in full chunks."""
    healthy, once, twice = line.submit(30), line.submit(15), line.submit(2)
    line.change("UPDATE invoice SET unfinished = 1 WHERE id = ANY(:ids)", ids=once)
    line.change("UPDATE invoice SET unfinished = 2 WHERE id = ANY(:ids)", ids=twice)

    chunks = line.dispatch()

    assert sorted(len(chunk.invoice_ids) for chunk in chunks) == [1, 1, 5, 10, 30]
    by_size = {len(chunk.invoice_ids): set(chunk.invoice_ids) for chunk in chunks}
    assert by_size[30] == set(healthy)
    assert by_size[10] | by_size[5] == set(once)


# Beside 100,000.

NO_BACKLOG = 10_000
"""What one statement of a tick may read: the window and what is in flight several times over, and no backlog."""


def test_a_single_invoice_beside_a_hundred_thousand(database, vault):
    """A has 100,000 due and the window full; B's one is handed out in the next tick, which reads no backlog."""
    line = make_line(database, vault)
    fill(line, line.company, 100_000)
    line.change("ANALYZE invoice")
    assert len(line.dispatch()) == 8
    other = line.add_company("Beta")
    (single,) = line.submit(1, company=other)

    with rows_read(database) as read:
        chunks = line.dispatch()
        with database.transaction() as session:
            assert rounds.is_wanted(session, now=line.clock())

    assert [chunk.invoice_ids for chunk in chunks] == [(single,)]
    assert 0 < max(read.values()) < NO_BACKLOG, read


def test_a_tick_beside_a_thousand_companies_stays_short(database, vault):
    """A thousand companies with due work, one with 100,000: no tick reads a backlog as a whole."""
    line = make_line(database, vault)
    fill(line, line.company, 100_000)
    line.change(COMPANIES, count=999, now=line.clock())
    for row in line.query("SELECT id FROM company WHERE id <> :id", id=line.company):
        line.change(FILL, company=row.id, now=line.clock(), count=20)
    line.change("ANALYZE invoice")

    got = Counter()
    for _ in range(30):
        with rows_read(database) as read:
            chunks = line.dispatch()
        assert 0 < max(read.values()) < NO_BACKLOG + 1000 * 20, read
        got += count(chunks)
        answer_all(line, chunks)
        if len(got) == 1000:
            break
        assert got[line.company] <= 200, "one with much has its turn like the others, and no second one before them"

    assert len(got) == 1000, "nobody starves: everybody within a window's turns"


def test_no_part_of_the_line_reads_a_backlog(database, vault):
    """Beside 100,000 of one company and a few of others: handing out, sending, following, checking holds, routing."""
    line = make_line(database, vault)
    fill(line, line.company, 100_000)
    for name in ("Beta", "Gamma"):
        line.submit(5, company=line.add_company(name))
    line.change("ANALYZE invoice")

    with rows_read(database) as read:
        line.work()
        line.clock.pass_seconds(60)
        line.follow()
        line.check_holds()
        line.route()

    assert 0 < max(read.values()) < NO_BACKLOG, read

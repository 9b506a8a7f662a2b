"""What must never stand still: each of these once waited for something that need not come."""

from datetime import timedelta

import pytest

from pipeline.services.gate import host_scope
from pipeline.services.picking import EXPRESS_INVOICES
from pipeline.services.standing import read_standing
from pipeline.storage import claims

from .line import Line
from .test_dispatch_fairness import answer_all, bring_into_doubt, claim, count, fill, open_circuit


def answer_but_one(line, chunks):
    """Have the workers be done with all but the first invoice; return what is left in the air."""
    hangs = chunks[0].invoice_ids[0]
    for chunk in chunks:
        claim(line, chunk)
    line.change(
        "UPDATE invoice SET state = 'accepted', lease_until = NULL, accepted_at = :now, look_at = :now "
        "WHERE state = 'sending' AND id <> :hangs",
        hangs=hangs,
        now=line.clock(),
    )
    return hangs


def test_one_slow_upload_does_not_stop_a_window_of_one_chunk(database, vault):
    """With a window of a single chunk the next ones go although one upload hangs."""
    line = Line(database, vault, chunk_invoices=20, window_chunks=1)
    fill(line, line.company, 100)

    answer_but_one(line, line.dispatch())
    line.clock.pass_seconds(5)

    assert count(line.dispatch())[line.company] == 19


def test_small_companies_cannot_keep_a_big_one_out_for_ever(database, vault):
    """A stream of single invoices whose uploads are slow fills the window again and again; the month end moves on."""
    line = Line(database, vault, chunk_invoices=20, window_chunks=2)
    small = [line.add_company(f"Small {n}") for n in range(60)]
    for company in small:
        line.submit(1, company=company)
    first = line.dispatch()
    under_way = [first[start : start + 6] for start in range(0, 60, 6)]
    fill(line, line.company, 100)

    got = 0
    for _ in range(20):
        # The oldest uploads end, and each of these companies has the next invoice.
        done = under_way.pop(0)
        answer_all(line, done)
        for chunk in done:
            line.submit(1, company=chunk.company_id)
        line.clock.pass_seconds(1)
        chunks = line.dispatch()
        got += count(chunks)[line.company]
        under_way.append([each for each in chunks if each.company_id != line.company])

    assert got >= EXPRESS_INVOICES


def test_probes_that_hang_keep_no_canary_back(line):
    """What was in the air when the circuit opened may hang for a minute, questions as well as uploads."""
    uuids = line.submit(3)
    for uuid in uuids[:2]:
        bring_into_doubt(line, uuid)
    probe = next(chunk for chunk in line.dispatch() if chunk.is_probe)
    with line.database.transaction() as session:
        claims.claim_probes(
            session,
            probe.invoice_ids,
            epoch=probe.epoch,
            now=line.clock(),
            lease=timedelta(seconds=30),
            give_up_at=line.clock() + timedelta(days=1),
        )
    line.clock.pass_seconds(16)
    open_circuit(line, host_scope(line.settings), retry_in=0)

    assert sum(count(line.dispatch()).values()) == 1


@pytest.mark.parametrize("age", [0, 1800])
def test_a_canary_that_nobody_needs_slows_nobody(line, age):
    """A company with an open circuit and nothing to ask about leaves the others' questions their number."""
    other = line.add_company("Other")
    open_circuit(line, other, retry_in=-age)

    with line.database.transaction() as session:
        assert read_standing(session, line.settings, now=line.clock()).most(50) == (1 if age == 0 else 50)

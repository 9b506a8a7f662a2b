"""Held companies are looked at one by one; trouble with one of them ends no other's release."""

import asyncio

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.outcome import Outcome
from pipeline.storage import companies
from pipeline.storage.vault import Vault, new_key

from .line import K, Line

REFUSED = Outcome(kind=K.REFUSED, http_status=422, message="no recipient")
TURNED_AWAY = Outcome(kind=K.UNAUTHORIZED, http_status=401, message="invalid token")


def hold(line, company):
    with line.database.transaction() as session:
        companies.hold_company(session, company, reason="HTTP 401", now=line.clock())


def held(line):
    return {row.name for row in line.query("SELECT name FROM company WHERE hold_reason IS NOT NULL")}


def test_only_the_companies_that_are_let_in_are_released(line):
    other = line.add_company("Beta")
    hold(line, line.company)
    hold(line, other)
    line.operator.closed[other] = "wrong key"
    line.clock.pass_seconds(61)

    assert asyncio.run(line.hold_keeper.run()) == 1
    assert held(line) == {"Beta"}


def test_a_company_whose_key_cannot_be_read_keeps_no_other_held(line):
    right, line.vault = line.vault, Vault([new_key()])
    broken = [line.add_company(name) for name in ("Beta", "Gamma")]
    line.vault = right
    for company in (broken[0], line.company, broken[1]):
        hold(line, company)
    line.clock.pass_seconds(61)

    with pytest.raises(ConfigurationError):
        asyncio.run(line.hold_keeper.run())

    assert held(line) == {"Beta", "Gamma"}


def test_a_company_that_is_not_let_in_is_held_and_its_other_invoices_wait(line):
    (turned_away,) = line.submit()
    line.operator.every_upload = TURNED_AWAY
    line.work()
    waiting = line.submit(2)
    (other,) = line.submit(company=line.add_company("Beta"))
    line.operator.every_upload = None

    line.work()

    assert line.states([turned_away, *waiting, other]) == ["held", "queued", "queued", "accepted"]
    row = line.row(turned_away)
    assert (row.held_for, row.due_at) == ("company", None)
    assert "401" in row.reason
    assert "401" in line.query("SELECT hold_reason FROM company WHERE id = :id", id=line.company)[0].hold_reason


def test_a_chunk_that_was_on_its_way_when_its_company_was_held_stays_unsent(database, vault):
    line = Line(database, vault, chunk_invoices=1)
    uuids = line.submit(3)
    chunks = line.dispatch()
    line.operator.every_upload = TURNED_AWAY

    line.work(chunks)

    assert len(line.operator.uploads) == 1
    assert sorted(line.states(uuids)) == ["held", "queued", "queued"]


def test_a_released_company_goes_on_by_itself(line):
    line.operator.closed[line.company] = "wrong key"
    (turned_away,) = line.submit()
    line.operator.every_upload = TURNED_AWAY
    line.work()
    line.operator.every_upload = None
    (waiting,) = line.submit()

    assert asyncio.run(line.hold_keeper.run()) == 0
    line.clock.pass_seconds(61)
    assert asyncio.run(line.hold_keeper.run()) == 0
    line.operator.closed.clear()
    line.clock.pass_seconds(61)
    assert asyncio.run(line.hold_keeper.run()) == 1

    assert line.states([turned_away, waiting]) == ["in_doubt", "queued"]
    for _ in range(3):
        line.work()
        line.clock.pass_seconds(2)
    assert line.states([turned_away, waiting]) == ["accepted", "accepted"]


def test_a_refused_invoice_of_a_held_company_is_not_sent_again(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [REFUSED]
    line.operator.on_probe[uuid] = [TURNED_AWAY]
    line.work()
    line.work()
    assert line.states([uuid]) == ["held"]
    line.clock.pass_seconds(61)
    asyncio.run(line.hold_keeper.run())

    line.work()

    assert line.states([uuid]) == ["refused"]
    assert line.operator.uploads == [uuid]

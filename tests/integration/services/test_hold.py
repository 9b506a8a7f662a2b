"""Held companies are looked at one by one; trouble with one of them ends no other's release."""

from collections import Counter

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.outcome import Outcome
from pipeline.storage import companies
from pipeline.storage.holding import LASTING
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

    assert line.check_holds() == 1
    assert held(line) == {"Beta"}


def test_a_company_whose_key_cannot_be_read_keeps_no_other_held(line):
    right, line.vault = line.vault, Vault([new_key()])
    broken = [line.add_company(name) for name in ("Beta", "Gamma")]
    line.vault = right
    for company in (broken[0], line.company, broken[1]):
        hold(line, company)
    line.clock.pass_seconds(61)

    with pytest.raises(ConfigurationError):
        line.check_holds()

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
    line.clock.pass_seconds(LASTING.total_seconds())
    line.work()
    assert line.states([turned_away, *waiting, other]) == ["held", "held", "held", "accepted"]
    row = line.row(turned_away)
    assert (row.held_for, row.due_at) == ("company", None)
    assert "401" in row.reason
    cause = company_row(line).hold_reason
    assert "401" in cause
    assert [(row.reason, row.uploads, row.give_up_at) for row in map(line.row, waiting)] == [(cause, 0, None)] * 2
    assert [event.cause for event in line.events(waiting[0]) if event.kind == "held"] == [cause]


def company_row(line):
    return line.query("SELECT * FROM company WHERE id = :id", id=line.company)[0]


def test_a_chunk_that_was_on_its_way_when_its_company_was_held_stays_unsent(database, vault):
    line = Line(database, vault, chunk_invoices=1)
    uuids = line.submit(3)
    chunks = line.dispatch()
    line.operator.every_upload = TURNED_AWAY

    line.work(chunks)

    assert len(line.operator.uploads) == 1
    assert sorted(line.states(uuids)) == ["held", "queued", "queued"]
    line.clock.pass_seconds(line.settings.dispatch_lease_seconds)
    assert line.dispatch() == []
    assert line.states(uuids) == ["held"] * 3


def test_a_released_company_goes_on_by_itself(line):
    line.operator.closed[line.company] = "wrong key"
    (turned_away,) = line.submit()
    line.operator.every_upload = TURNED_AWAY
    line.work()
    line.operator.every_upload = None
    (waiting,) = line.submit()
    line.clock.pass_seconds(LASTING.total_seconds())
    line.dispatch()

    assert line.check_holds() == 0
    line.clock.pass_seconds(61)
    assert line.check_holds() == 0
    line.operator.closed.clear()
    line.clock.pass_seconds(61)
    assert line.check_holds() == 1

    assert line.states([turned_away, waiting]) == ["held", "queued"]
    for _ in range(4):
        line.work()
        line.clock.pass_seconds(2)
    assert line.states([turned_away, waiting]) == ["accepted", "accepted"]


def test_a_hold_of_seconds_ends_with_one_invoice_first(line):
    """What was never moved waits for the trial too: the operator meets one invoice, and all when it was let in."""
    (turned_away,) = line.submit()
    line.operator.every_upload = TURNED_AWAY
    line.work()
    waiting = line.submit(5)
    line.operator.every_upload = None
    line.change("UPDATE company SET check_at = :now", now=line.clock())
    assert line.check_holds() == 1

    asked = []
    for _ in range(2):
        before = len(line.operator.uploads)
        line.work()
        asked.append(len(line.operator.uploads) - before)
    assert asked == [1, 4]
    line.work()
    assert line.states([turned_away, *waiting]) == ["accepted"] * 6


def test_a_refused_invoice_of_a_held_company_is_not_sent_again(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [REFUSED]
    line.operator.on_probe[uuid] = [TURNED_AWAY]
    line.work()
    line.work()
    assert line.states([uuid]) == ["held"]
    line.clock.pass_seconds(61)
    line.check_holds()

    line.work()

    assert line.states([uuid]) == ["refused"]
    assert line.operator.uploads == [uuid]


def test_an_unverified_company_waits_and_then_goes_out_untouched(line):
    """A thousand invoices of an unverified company wait, burn nothing, and go out by themselves once it is verified."""
    line.operator.unverified.add(line.company)
    other = line.add_company("Beta")
    first = line.submit(500)
    line.work(line.dispatch()[:1])
    second = line.submit(500)
    others = line.submit(20, company=other)
    for _ in range(4):
        line.clock.pass_seconds(16)
        line.work()
        line.check_holds()

    assert Counter(line.states([*first, *second])) == {"held": 1000}
    assert Counter(line.states(others)) == {"accepted": 20}
    burnt = sum(line.row(uuid).uploads for uuid in [*first, *second])
    assert burnt == len([uuid for uuid in line.operator.uploads if uuid not in others]) <= 100
    assert "not verified" in company_row(line).hold_reason
    assert "signed" in company_row(line).hold_advice

    line.operator.unverified.clear()
    line.clock.pass_seconds(61)
    assert line.check_holds() == 1
    for _ in range(60):
        line.work()
        line.clock.pass_seconds(2)

    assert Counter(line.states([*first, *second])) == {"accepted": 1000}
    assert Counter(line.operator.uploads[burnt + 20 :]) == Counter(first + second)
    assert line.query("SELECT 1 FROM alarm WHERE kind = 'company_held' AND ended_at IS NULL") == []


def test_a_wall_that_the_check_cannot_see_costs_one_upload_a_check(line):
    """A daily limit: the company is let in by every check, and yet not a hundred uploads burn each minute."""
    line.operator.every_upload = Outcome(
        kind=K.UNAUTHORIZED, http_status=403, error_code="x", message="USER DAILY INVOICE LIMIT (@500) REACHED"
    )
    uuids = line.submit(150)
    line.work(line.dispatch()[:1])
    burnt = len(line.operator.uploads)
    for _ in range(60 * 4):
        line.clock.pass_seconds(15)
        line.work()
        line.check_holds()

    assert Counter(line.states(uuids))["held"] >= 149
    assert len(line.operator.uploads) - burnt <= 6
    assert "daily" in company_row(line).hold_reason

    line.operator.every_upload = None
    for _ in range(60 * 5):
        line.clock.pass_seconds(15)
        line.work()
        line.check_holds()

    assert Counter(line.states(uuids)) == {"accepted": 150}


def test_a_check_tells_the_newest_cause(line):
    hold(line, line.company)
    line.operator.closed[line.company] = "the operator does not let this company in (HTTP 403, VENDOR API KEY DISABLED)"
    line.clock.pass_seconds(61)
    line.check_holds()

    assert "disabled" in company_row(line).hold_reason
    assert "enable" in company_row(line).hold_advice


def test_an_operator_that_is_closed_hides_no_cause(line):
    with line.database.transaction() as session:
        companies.hold_company(session, line.company, reason="Unauthorized", now=line.clock())
    line.operator.closed[line.company] = "the operator does not let this company in (HTTP 503, closed)"
    line.clock.pass_seconds(61)
    line.check_holds()

    assert company_row(line).hold_reason == "Unauthorized"


def test_two_beats_check_a_company_once(line):
    hold(line, line.company)
    line.operator.closed[line.company] = "wrong key"
    line.clock.pass_seconds(61)
    asked = []
    why_closed, line.operator.why_closed = line.operator.why_closed, lambda keys: asked.append(keys) or why_closed(keys)

    assert [line.check_holds(), line.check_holds()] == [0, 0]
    assert len(asked) == 1

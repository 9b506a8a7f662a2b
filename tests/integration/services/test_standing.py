"""While the operator, or the operator for one company, is left alone, nobody takes work that would ask it."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from pipeline.services.partner_errors import PartnerErrors
from pipeline.services.standing import read_standing
from pipeline.storage import circuits

from .line import START, K

HELD_BACK = Outcome(kind=K.UNAVAILABLE, message="left alone", held_back_seconds=7.0)
PARTNER_SCOPES = "eui partner:invoice_delivery_actions"


@pytest.fixture
def followed(line):
    """Invoices of two companies, due to be asked about, and two failures that nobody has seen to."""
    mine = line.submit(250)
    line.other = line.add_company("Other")
    theirs = line.submit(3, company=line.other)
    while line.work():
        line.clock.pass_seconds(1)
    for uuid in [*mine, *theirs]:
        line.operator.statuses_of[uuid] = "PENDING"
    line.clock.pass_seconds(10)
    line.operator.questions.clear()
    return mine, theirs


def open_circuit(line, scope=None, *, trips=1):
    """Open a circuit whose canary may go 5 s from now."""
    line.change(
        """INSERT INTO circuit (scope, state, since, retry_at, trips, evidence, window_at)
           VALUES (:scope, 'open', :now, :at, :trips, '10 of 10 exchanges failed', :now)""",
        scope=str(scope or host_scope(line.settings)),
        now=line.clock(),
        at=line.clock() + timedelta(seconds=5),
        trips=trips,
    )


def go_as_canary(line, *, ok):
    """Play the gate: be the canary of the host, and end."""
    scope, until = host_scope(line.settings), line.clock() + timedelta(seconds=60)
    with line.database.transaction() as session:
        assert circuits.try_canary(session, scope, until=until, now=line.clock())
    with line.database.transaction() as session:
        circuits.end_canary(session, scope, until=until, ok=ok, now=line.clock(), settings=line.settings)


def looks(line):
    return line.query("SELECT id, look_at FROM invoice ORDER BY id")


def failing_since(line):
    return [
        row.at
        for row in line.query("SELECT look_failing_since AS at FROM company WHERE look_failing_since > '-infinity'")
    ]


def standing(line):
    with line.database.transaction() as session:
        return read_standing(session, line.settings, now=line.clock())


def read_errors(line):
    parts = {"database": line.database, "vault": line.vault, "operator": line.operator, "settings": line.settings}
    return asyncio.run(PartnerErrors(**parts, clock=line.clock).run(uuid4()))


def test_nothing_is_looked_at_while_the_host_is_left_alone(line, followed):
    """No look is taken, none is counted, none is lost: they are due as before when the operator is back."""
    open_circuit(line)
    before = looks(line)

    assert line.follow() == {}

    assert (line.operator.questions, looks(line), failing_since(line)) == ([], before, [])


def test_followers_canary_is_one_call(line, followed):
    """With nothing to send the follower finds out by itself that the operator is back, with one call."""
    open_circuit(line)
    line.clock.pass_seconds(5)
    asked = []

    async def statuses(_, uuids):
        asked.append(uuids)
        await asyncio.to_thread(go_as_canary, line, ok=False)
        return Outcome(kind=K.UNAVAILABLE, error_code="refused")

    line.operator.statuses = statuses
    line.follow()
    line.follow()

    assert len(asked) == 1
    assert failing_since(line) == []


def test_looks_go_on_slowly_and_then_all_of_them(line, followed):
    """After the canary's answer one call is under way at once, a second later two, and in the end as many as are due."""
    open_circuit(line)
    line.clock.pass_seconds(5)
    go_as_canary(line, ok=True)
    assert standing(line).calls == 1
    line.clock.pass_seconds(2)
    assert standing(line).calls == 4
    line.clock.pass_seconds(9)
    assert standing(line).calls is None

    assert line.follow().total() == 253


def test_one_companys_circuit_leaves_the_others_their_looks(line, followed):
    open_circuit(line, line.company)

    assert line.follow() == {"accepted": 3}
    line.clock.pass_seconds(5)
    line.operator.questions.clear()
    assert standing(line).most_of(line.company, 40) == 1
    assert standing(line).most_of(line.other, 40) == 40


def test_pause_asked_for_reads_is_kept_by_all(line, followed):
    line.change(
        "INSERT INTO pace (scope, lane, blocked_until) VALUES (:scope, :lane, :at)",
        scope=str(line.company),
        lane=Lane.READ.value,
        at=line.clock() + timedelta(seconds=30),
    )
    assert line.follow() == {"accepted": 3}
    line.change("UPDATE pace SET scope = :host", host=host_scope(line.settings))
    line.clock.pass_seconds(29)
    assert line.follow() == {}

    line.clock.pass_seconds(1)

    assert line.follow().total() == 253


def test_look_held_back_is_put_off_and_counts_nothing(line, followed):
    """The gate was quicker than we: nobody was asked, so nobody was silent, and the looks come when they may."""
    line.operator.status_failure = HELD_BACK

    assert line.follow() == {"held_back": 253}

    assert {row.look_at for row in looks(line)} == {line.clock() + timedelta(seconds=7)}
    assert failing_since(line) == []
    assert {row.look_after for row in line.query("SELECT look_after FROM company")} == {None}
    line.operator.status_failure = None
    line.clock.pass_seconds(7)
    assert line.follow().total() == 253


def test_silence_counts_again_when_nobody_is_left_alone(line, followed):
    line.operator.status_failure = Outcome(kind=K.UNAVAILABLE, error_code="refused")

    line.follow()

    assert failing_since(line) == [line.clock(), line.clock()]


@pytest.fixture
def failed(line):
    """An invoice that failed and that nobody has seen to."""
    (uuid,) = line.submit()
    line.work()
    line.operator.fail(uuid, "no such address")
    line.clock.pass_seconds(5)
    line.follow()
    assert line.states([uuid]) == ["failed"]
    return uuid


def test_no_case_is_read_while_the_host_is_left_alone(line, failed):
    open_circuit(line)

    assert line.route() == {}

    assert line.operator.actions_asked == []
    line.clock.pass_seconds(5)
    assert line.route()["opened"] == 1


def test_case_held_back_tells_nothing_and_comes_back(line, failed):
    line.operator.on_actions.append(HELD_BACK)

    assert line.route() == {"unread": 1}

    assert "failure_unread" not in [event.kind for event in line.events(failed)]
    line.clock.pass_seconds(7)
    assert line.route()["opened"] == 1


def plan_reroute(line, uuid):
    assert line.route()["opened"] == 1
    (case,) = line.query("SELECT id FROM route_case")
    line.change(
        """INSERT INTO way_out (case_id, invoice_id, kind, fields, status, chosen_by, not_before, planned_at, epoch, asked)
           VALUES (:case, :invoice, 'print', '{}', 'planned', 'a person', :now, :now, 0, 0)""",
        case=case.id,
        invoice=uuid,
        now=line.clock(),
    )


@pytest.mark.parametrize("whose", ["host", "company"])
def test_no_reroute_is_begun_while_left_alone(line, failed, whose):
    """No intent is written for what would not be asked."""
    plan_reroute(line, failed)
    open_circuit(line, line.company if whose == "company" else None)

    assert line.route() == {}

    (way,) = line.query("SELECT status, asked, asked_at FROM way_out")
    assert (way.status, way.asked, way.asked_at) == ("planned", 0, None)
    line.clock.pass_seconds(5)
    line.route()
    assert len(line.operator.rerouted) == 1


def test_reroute_held_back_is_as_if_never_asked(line, failed):
    """Held back between the intent and the request: the intent is taken back, however long it has been planned."""
    plan_reroute(line, failed)
    line.clock.pass_seconds(8 * 24 * 3600)

    async def hold_back(*_):
        return HELD_BACK

    line.operator.on_reroute.append(hold_back)
    line.route()

    (way,) = line.query("SELECT status, asked, asked_at, not_before FROM way_out")
    assert (way.status, way.asked, way.asked_at) == ("planned", 0, None)
    assert way.not_before == line.clock() + timedelta(seconds=7)


def test_no_hold_is_checked_while_the_host_is_left_alone(line):
    line.change("UPDATE company SET hold_reason = 'r', held_since = :now, holds = 1", now=START)
    open_circuit(line)

    assert line.check_holds() == 0

    assert line.query("SELECT checked_at FROM company")[0].checked_at is None
    line.clock.pass_seconds(5)
    assert line.check_holds() == 1


def test_no_error_list_is_read_while_left_alone(line):
    line.change("UPDATE company SET scopes = :scopes", scopes=PARTNER_SCOPES)
    open_circuit(line, line.company)
    read_errors(line)
    assert line.operator.error_spans == []

    line.clock.pass_seconds(5)
    read_errors(line)

    assert len(line.operator.error_spans) == 1

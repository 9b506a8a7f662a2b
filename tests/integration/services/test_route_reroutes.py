"""Reroutes: asked once whatever is answered, whoever dies, and however many routers run."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.way import Way
from pipeline.services.route_means import Means
from pipeline.services.take_ways import take_ways

from .line import START
from .routes import EMAIL, case, kinds, let_time_pass, opened, plan, way

K = OutcomeKind
TIMEOUT = Outcome(kind=K.IN_DOUBT, error_code="read_timeout", message="the operator did not answer in time")
RESET = Outcome(kind=K.IN_DOUBT, error_code="reset", message="the connection was reset")
LIE = Outcome(kind=K.IN_DOUBT, http_status=500, message="the operator failed")
CLOSED = Outcome(kind=K.UNAVAILABLE, http_status=503, message="the operator is closed for now")
BUSY = Outcome(kind=K.THROTTLED, http_status=429, message="too many requests")
CONFLICT = Outcome(kind=K.REFUSED, http_status=409, message="already being sent")
NEVER_SENT = Outcome(kind=K.UNAVAILABLE, error_code="refused", message="the connection was refused: nothing was sent")


def before(line, outcome):
    """The request is lost on its way there."""

    async def answer(_uuid, _way, _fields):
        return outcome

    line.operator.on_reroute.append(answer)


def after(line, outcome):
    """The reroute is done, and its answer is lost or a lie."""

    async def answer(uuid, way, fields):
        line.operator.do_reroute(uuid, way, fields)
        return outcome

    line.operator.on_reroute.append(answer)


def assert_rerouted_once(line, uuid, way_out):
    assert line.operator.rerouted == [(uuid, Way.EMAIL, EMAIL)]
    assert way(line, way_out).status == "done"
    assert line.row(uuid).state == "accepted"
    assert case(line, uuid).status == "under_way"
    assert kinds(line, uuid).count("rerouted") == 1


def test_reroute_is_done_and_followed_again(line):
    uuid = opened(line)
    way_out = plan(line, uuid)

    counts = line.route()

    assert counts["rerouted"] == 1
    assert_rerouted_once(line, uuid, way_out)
    assert line.row(uuid).look_at == line.clock() + timedelta(seconds=1)
    assert line.row(uuid).channel == "EMAIL"
    assert line.events(uuid)[-1].cause == "rerouted by e-mail to buyer@example.com"


@pytest.mark.parametrize("outcome", [TIMEOUT, RESET, LIE, CLOSED, BUSY], ids=["timeout", "reset", "500", "503", "429"])
@pytest.mark.parametrize("script", [before, after], ids=["before", "after"])
def test_unclear_answer_ends_with_one_reroute(line, script, outcome):
    """Each ambiguous answer of a reroute is shown to end with one delivery."""
    uuid = opened(line)
    way_out = plan(line, uuid)
    script(line, outcome)

    assert line.route()["unclear"] == 1
    assert way(line, way_out).status == "unclear"
    let_time_pass(line)

    assert_rerouted_once(line, uuid, way_out)
    assert way(line, way_out).asked == (2 if script is before else 1)


@pytest.mark.parametrize("outcome", [CLOSED, BUSY], ids=["503", "429"])
def test_operator_that_says_later_costs_no_ask_and_no_person(line, outcome):
    uuid = opened(line)
    way_out = plan(line, uuid)
    for _ in range(6):
        before(line, outcome)

    let_time_pass(line, seconds=3 * 3600, step=30)

    assert_rerouted_once(line, uuid, way_out)


def test_nothing_is_asked_again_before_it_is_settled(line):
    uuid = opened(line)
    plan(line, uuid)
    before(line, TIMEOUT)
    line.route()

    let_time_pass(line, seconds=119, step=7)

    assert line.operator.rerouted == []


def test_reroute_shown_by_its_action_alone_is_not_asked_again(line):
    """The operator may still say FAILED when its actions already show the reroute."""
    uuid = opened(line)
    way_out = plan(line, uuid)

    async def slow(rerouted, taken, fields):
        line.operator.do_reroute(rerouted, taken, fields)
        line.operator.statuses_of[rerouted] = "FAILED"
        return TIMEOUT

    line.operator.on_reroute.append(slow)
    line.route()
    let_time_pass(line)

    assert_rerouted_once(line, uuid, way_out)


def test_conflict_after_an_unclear_answer_is_not_a_refusal(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    before(line, TIMEOUT)
    after(line, CONFLICT)

    let_time_pass(line)

    assert_rerouted_once(line, uuid, way_out)


def test_refusal_that_lied_is_found_out_by_reading(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    after(line, CONFLICT)

    line.route()

    assert_rerouted_once(line, uuid, way_out)


def test_refusal_goes_to_a_person_with_the_operators_words(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    before(line, Outcome(kind=K.REFUSED, http_status=422, message="recipient_email is invalid"))

    assert line.route()["refused"] == 1

    assert (way(line, way_out).status, case(line, uuid).status) == ("refused", "open")
    assert "recipient_email is invalid (422)" in case(line, uuid).plan
    assert case(line, uuid).decide_at is None
    assert line.row(uuid).state == "failed"
    assert isinstance(plan(line, uuid), int)


def test_three_asks_without_a_clear_answer_go_to_a_person(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    for _ in range(5):
        before(line, LIE)

    line.route()
    let_time_pass(line, seconds=1200)

    assert (way(line, way_out).status, way(line, way_out).asked) == ("refused", 3)
    assert "no clear answer 3 times" in way(line, way_out).outcome
    assert "the operator failed (500)" in way(line, way_out).outcome
    assert len(line.operator.on_reroute) == 2
    assert case(line, uuid).status == "open"


def test_connection_that_never_came_about_is_no_ask(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    before(line, NEVER_SENT)

    line.route()
    assert (way(line, way_out).status, way(line, way_out).asked) == ("planned", 0)
    let_time_pass(line, seconds=20)

    assert_rerouted_once(line, uuid, way_out)
    assert way(line, way_out).asked == 1


def test_company_not_let_in_is_held_and_its_reroute_waits(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    before(line, Outcome(kind=K.UNAUTHORIZED, http_status=403, message="Unauthorized"))

    line.route()
    let_time_pass(line)
    assert line.operator.rerouted == []
    assert "not verified" in line.query("SELECT hold_reason FROM company")[0].hold_reason
    line.change("UPDATE company SET hold_reason = NULL")
    line.route()

    assert_rerouted_once(line, uuid, way_out)


@pytest.mark.parametrize("status", ["DELIVERED", "PENDING"])
def test_nothing_is_rerouted_that_is_not_failed_any_more(line, status):
    """Nothing is ever delivered by two channels because we were impatient."""
    uuid = opened(line)
    way_out = plan(line, uuid)
    line.operator.statuses_of[uuid] = status

    assert line.route()["skipped"] == 1

    assert line.operator.rerouted == []
    assert way(line, way_out).status == "skipped"
    assert way(line, way_out).outcome == f"the operator says {status} already: nothing to reroute"
    assert line.row(uuid).state == "accepted"
    assert line.row(uuid).look_at is not None
    assert case(line, uuid).status == "under_way"


def test_nothing_is_rerouted_while_the_operator_cannot_be_read(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    line.operator.status_failure = Outcome(kind=K.UNAVAILABLE, http_status=502, message="a gateway")

    line.route()
    let_time_pass(line)
    assert line.operator.rerouted == []
    assert way(line, way_out).status == "planned"
    line.operator.status_failure = None
    let_time_pass(line, seconds=900)

    assert_rerouted_once(line, uuid, way_out)


def test_way_out_that_cannot_be_taken_for_a_week_goes_to_a_person(line):
    uuid = opened(line)
    way_out = plan(line, uuid)
    del line.operator.statuses_of[uuid]

    line.route()
    let_time_pass(line, seconds=8 * 24 * 3600, step=6 * 3600)

    assert way(line, way_out).status == "refused"
    assert "the operator does not show the invoice" in case(line, uuid).plan


def test_death_between_intent_and_request_ends_with_one_reroute(line):
    uuid = opened(line)
    way_out = plan(line, uuid)

    async def die(*_):
        raise RuntimeError("died before anything left")

    line.operator.on_reroute.append(die)
    with pytest.raises(RuntimeError):
        line.route()
    assert (way(line, way_out).status, way(line, way_out).asked) == ("begun", 1)
    let_time_pass(line)

    assert_rerouted_once(line, uuid, way_out)


def test_death_between_request_and_record_ends_with_one_reroute(line):
    uuid = opened(line)
    way_out = plan(line, uuid)

    async def die(rerouted, taken, fields):
        line.operator.do_reroute(rerouted, taken, fields)
        raise RuntimeError("died before it was written down")

    line.operator.on_reroute.append(die)
    with pytest.raises(RuntimeError):
        line.route()
    let_time_pass(line)

    assert_rerouted_once(line, uuid, way_out)
    assert way(line, way_out).asked == 1


def test_two_routers_at_once_reroute_once(line):
    """No reroute is executed twice, however many routers run: one has the lease, the claims guard the rest."""
    uuids = [opened(line) for _ in range(5)]
    for uuid in uuids:
        plan(line, uuid)

    async def both():
        return await asyncio.gather(*(line.router.run(uuid4()) for _ in range(4)))

    counts = asyncio.run(both())

    assert sorted(uuid for uuid, *_ in line.operator.rerouted) == sorted(uuids)
    assert sum(each["rerouted"] for each in counts) == 5


def test_claims_alone_keep_two_from_the_same_way_out(line):
    uuids = [opened(line) for _ in range(5)]
    for uuid in uuids:
        plan(line, uuid)
    parts = {"vault": line.vault, "operator": line.operator, "settings": line.settings, "clock": line.clock}
    means = Means(database=line.database, **parts)

    async def both():
        return await asyncio.gather(*(take_ways(means) for _ in range(3)))

    taken = asyncio.run(both())

    assert sorted(uuid for uuid, *_ in line.operator.rerouted) == sorted(uuids)
    assert sum(count for count, _ in taken) == 5


def test_router_that_lost_its_lease_asks_nothing(line):
    """A late router whose claim went over to another one neither asks nor writes."""
    uuid = opened(line)
    way_out = plan(line, uuid)
    read, late = line.operator.actions, []

    async def outlast_the_lease(credentials, asked):
        if not late:
            late.append(asked)
            line.clock.pass_seconds(200)
            await line.router.run(uuid4())
        return await read(credentials, asked)

    line.operator.actions = outlast_the_lease

    assert line.route()["late"] == 1

    assert_rerouted_once(line, uuid, way_out)


def test_reroute_that_failed_again_meanwhile_comes_back(line):
    """A reroute of which only its failure was seen is done, and the follow-up brings the case back."""
    uuid = opened(line)
    way_out = plan(line, uuid)

    async def fail_again(rerouted, taken, fields):
        line.operator.do_reroute(rerouted, taken, fields)
        line.clock.pass_seconds(5)
        line.operator.statuses_of[rerouted] = "FAILED"
        line.operator.note(
            rerouted, "ERROR", key="action_route_failed", message="E-mail bounced", channel="EMAIL", at=line.clock()
        )
        return TIMEOUT

    line.operator.on_reroute.append(fail_again)
    line.operator.actions_in_list = True
    line.route()
    line.clock.pass_seconds(10)
    line.route()

    done = way(line, way_out)
    assert (done.status, done.finished_at) == ("done", done.asked_at)
    assert line.row(uuid).state == "accepted"
    line.follow()
    line.route()
    assert (case(line, uuid).status, case(line, uuid).round) == ("open", 2)
    assert line.row(uuid).state == "failed"
    assert len(line.operator.rerouted) == 1


def test_order_waits_for_its_canary(line):
    """Of what was ordered for many, the canary alone goes first, and the rest once it has stood its time."""
    uuids = [opened(line) for _ in range(3)]
    line.change(
        "INSERT INTO route_order (kind, chosen, status, canary_until, undo_until, per_minute, created_at)"
        " VALUES ('email', '{}', 'canary', CAST(:now AS timestamptz) + interval '1 hour', :now, 60, :now)",
        now=START,
    )
    order = line.query("SELECT id FROM route_order")[0].id
    ways = [plan(line, uuid, order_id=order) for uuid in uuids]
    line.change("UPDATE route_order SET canary_id = :id", id=ways[1])

    line.route()
    line.clock.pass_seconds(3500)
    line.route()
    assert [uuid for uuid, *_ in line.operator.rerouted] == [uuids[1]]
    line.clock.pass_seconds(3600)
    line.route()
    line.clock.pass_seconds(120)
    line.route()

    assert sorted(uuid for uuid, *_ in line.operator.rerouted) == sorted(uuids)


def test_way_out_waits_for_its_time(line):
    uuid = opened(line)
    plan(line, uuid, later=60)

    line.route()
    assert line.operator.rerouted == []
    line.clock.pass_seconds(60)
    line.route()

    assert len(line.operator.rerouted) == 1


def test_way_out_begun_and_left_when_its_case_was_resolved_leaves_it_so(line):
    """A worker died that had begun while somebody else rerouted it, and it was delivered since."""
    uuid = opened(line)
    way_out = plan(line, uuid)
    line.change("UPDATE way_out SET status = 'begun', lease_until = :until", until=line.clock() + timedelta(minutes=1))
    line.change("UPDATE invoice SET state = 'accepted', look_at = :now WHERE id = :id", id=uuid, now=line.clock())
    line.operator.statuses_of[uuid] = "DELIVERED"
    line.follow()

    line.clock.pass_seconds(61)
    line.route()

    assert way(line, way_out).status == "skipped"
    assert case(line, uuid).status == "resolved"


def test_way_out_put_off_after_its_order_was_taken_back_goes_back_to_a_person(line):
    """It was begun, so taking back came too late for it; but nothing was asked, and nobody else would end it."""
    uuid = opened(line)
    line.change(
        "INSERT INTO route_order (kind, chosen, status, canary_until, undo_until, per_minute, created_at)"
        " VALUES ('email', '{}', 'running', :now, :now, 10, :now)",
        now=line.clock(),
    )
    order = line.query("SELECT id FROM route_order")[0].id
    way_out = plan(line, uuid, order_id=order)

    async def take_back_meanwhile(_credentials, _uuids):
        line.change("UPDATE route_order SET status = 'undone', why = 'a person took it back'")
        return CLOSED

    answers, line.operator.statuses = line.operator.statuses, take_back_meanwhile
    assert line.route()["put_off"] == 1
    line.operator.statuses = answers
    let_time_pass(line, seconds=60)

    assert line.operator.rerouted == []
    assert way(line, way_out).status == "refused"
    assert case(line, uuid).status == "open"
    assert "a person took it back" in case(line, uuid).plan

"""Failures become cases, and the rules have their say."""

from datetime import timedelta

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.way import Way

from .line import START
from .routes import (
    EMAIL,
    NO_ROUTE,
    UNREACHABLE,
    accepted,
    case,
    fail,
    failed,
    kinds,
    let_time_pass,
    mark_failed,
    opened,
    plan,
    refused,
    rules,
    way,
)

BY_EMAIL = """
[[rule]]
name = "wrong address to e-mail"
cause = "recipient_address"
way = "email"
[company."Acme"]
automatic = ["email", "print"]
"""


def test_failure_becomes_a_case(line):
    uuid = failed(line, NO_ROUTE)

    counts = line.route()

    found, failure = case(line, uuid), line.query("SELECT * FROM failure")[0]
    assert counts["opened"] == 1
    assert (found.status, found.round, found.cause, found.owner) == ("open", 1, "recipient_address", "accountant")
    assert set(found.ways) == {"einvoice", "email", "print", "resend", "close"}
    assert (failure.told, failure.channel, failure.refused) == (NO_ROUTE, "EINVOICE", False)
    assert (failure.case_id, failure.invoice_id) == (found.id, uuid)
    assert line.row(uuid).route_at is None
    assert line.row(uuid).reason == f"the operator says FAILED: {NO_ROUTE}"
    assert line.events(uuid)[-1].kind == "case_opened"
    assert "accountant" in line.events(uuid)[-1].cause
    assert line.query("SELECT message FROM operator_action")[0].message == NO_ROUTE


def test_refusal_becomes_a_case_without_a_question(line):
    uuid = refused(line)

    line.route()

    found, failure = case(line, uuid), line.query("SELECT * FROM failure")[0]
    assert (failure.refused, failure.told, failure.code) == (True, "not valid", "invalid_xml")
    assert {"retry", "email"} & set(found.ways) == {"retry"}
    assert line.operator.actions_asked == []


def test_unknown_text_goes_to_an_engineer(line):
    rules(line, BY_EMAIL)
    uuid = failed(line, "the moon is in the seventh house")

    line.route()

    assert (case(line, uuid).cause, case(line, uuid).owner) == ("unknown", "engineer")
    assert case(line, uuid).decide_at is None
    assert "unknown" in case(line, uuid).plan


def test_case_opens_once_when_routed_twice(line):
    uuid = failed(line)

    line.route()
    line.route()

    assert case(line, uuid).round == 1
    assert len(line.query("SELECT 1 FROM failure")) == 1
    assert kinds(line, uuid).count("case_opened") == 1


def test_case_comes_back_with_its_history(line):
    """A case that fails again after its way out comes back with its history."""
    uuid = opened(line)
    first = plan(line, uuid)
    line.route()
    fail(line, uuid, UNREACHABLE, channel="EMAIL")

    counts = line.route()

    found = case(line, uuid)
    assert counts["reopened"] == 1
    assert (found.status, found.round, found.cause) == ("open", 2, "recipient_unreachable")
    assert [each.told for each in line.query("SELECT told FROM failure ORDER BY id")] == [NO_ROUTE, UNREACHABLE]
    assert way(line, first).status == "done"
    assert line.events(uuid)[-1].kind == "case_reopened"


def test_unread_failure_is_never_judged_by_guess(line):
    """If the actions of a failure cannot be read, nothing is judged: it waits, longer each time."""
    uuid = failed(line)
    broken = Outcome(kind=OutcomeKind.IN_DOUBT, http_status=500, message="no usable answer")
    line.operator.on_actions = [broken] * 4

    line.route()

    assert line.query("SELECT 1 FROM route_case") == []
    assert line.row(uuid).route_at == line.clock() + timedelta(seconds=30)
    assert "cannot be read yet: no usable answer (500)" in line.row(uuid).reason
    let_time_pass(line, seconds=300)
    assert case(line, uuid).cause == "recipient_address"
    assert len(line.operator.actions_asked) == 5
    assert kinds(line, uuid).count("failure_unread") == 1


@pytest.mark.parametrize(
    ("answer", "days"),
    [
        (Outcome(kind=OutcomeKind.IN_DOUBT, http_status=404, message="not found"), 1),
        (Outcome(kind=OutcomeKind.IN_DOUBT, http_status=500, message="internal error"), 7),
        (Outcome(kind=OutcomeKind.IN_DOUBT, error_code="read_timeout"), 7),
    ],
    ids=["no", "error", "silence"],
)
def test_failure_that_stays_unread_goes_to_a_person(line, answer, days):
    """It waits for a weekend without the operator, and not for ever."""
    uuid = failed(line)
    line.operator.on_actions = [answer] * 10_000

    let_time_pass(line, seconds=days * 24 * 3600 - 1, step=1800)
    assert line.query("SELECT 1 FROM route_case") == []
    let_time_pass(line, seconds=3600, step=900)

    assert case(line, uuid).cause == "unknown"
    assert line.row(uuid).route_at is None


def test_failure_told_from_before_the_acceptance_counts_from_there(line):
    """An instant like that of an unset clock must not let a rule go that is to wait."""
    uuid = accepted(line)
    line.operator.statuses_of[uuid] = "FAILED"
    line.operator.note(uuid, "ERROR", message=NO_ROUTE, at=START - timedelta(days=20_000))
    mark_failed(line, uuid)

    line.route()

    assert case(line, uuid).failed_at == line.row(uuid).accepted_at


def test_company_not_let_in_is_held_and_its_failure_waits(line):
    uuid = failed(line)
    line.operator.on_actions = [Outcome(kind=OutcomeKind.UNAUTHORIZED, http_status=401, message="Unauthorized")]

    line.route()
    let_time_pass(line, seconds=600)

    assert "not verified" in line.query("SELECT hold_reason FROM company")[0].hold_reason
    assert line.operator.actions_asked == [uuid]
    line.change("UPDATE company SET hold_reason = NULL")
    line.route()
    assert case(line, uuid).status == "open"


def test_invoice_that_moved_meanwhile_gets_no_case(line):
    uuid = failed(line)
    read = line.operator.actions

    async def move_meanwhile(credentials, asked):
        line.change("UPDATE invoice SET state = 'accepted', route_at = NULL WHERE id = :id", id=asked)
        return await read(credentials, asked)

    line.operator.actions = move_meanwhile

    assert line.route()["opened"] == 0
    assert line.query("SELECT 1 FROM route_case") == []
    assert line.row(uuid).state == "accepted"


def test_crash_while_reading_costs_no_failure(line):
    uuid = failed(line)
    line.operator.on_actions = [RuntimeError("died")]

    with pytest.raises(RuntimeError):
        line.route()
    let_time_pass(line, seconds=320)

    assert case(line, uuid).round == 1


def test_company_whose_key_cannot_be_read_holds_up_no_other(line):
    """The rules are asked and the ways out are taken all the same."""
    by_hand, by_rule = opened(line), failed(line)
    way_out = plan(line, by_hand)
    broken = line.add_company("Beta")
    failed(line, company=broken)
    line.change("UPDATE company SET user_api_key = '' WHERE id = :id", id=broken)

    with pytest.raises(ConfigurationError):
        line.route()

    assert way(line, way_out).status == "done"
    assert case(line, by_rule).decide_at is None


def test_rule_takes_its_way_out_at_once(line):
    rules(line, BY_EMAIL)
    uuid = failed(line)

    counts = line.route()

    assert (counts["planned"], counts["rerouted"]) == (1, 1)
    assert line.operator.rerouted == [(uuid, Way.EMAIL, EMAIL)]
    taken = line.query("SELECT * FROM way_out")[0]
    assert (taken.status, taken.chosen_by) == ("done", "rule: wrong address to e-mail")
    assert case(line, uuid).status == "under_way"
    assert case(line, uuid).plan == "rerouted by e-mail to buyer@example.com; waiting for the delivery"


def test_rule_not_switched_on_leaves_it_to_a_person(line):
    rules(line, BY_EMAIL.replace('automatic = ["email", "print"]', ""))
    uuid = failed(line)

    line.route()

    assert line.operator.rerouted == []
    assert (case(line, uuid).status, case(line, uuid).decide_at) == ("open", None)
    assert "not switched on" in case(line, uuid).plan


def test_rule_waits_for_its_time_unless_a_person_decides(line):
    after = BY_EMAIL.replace('way = "email"', 'way = "email"\nafter = "48h"')
    rules(line, after)
    one, two = failed(line), failed(line)

    line.route()
    assert "unless a person decides first" in case(line, one).plan
    assert line.operator.rerouted == []
    plan(line, two, Way.EMAIL, {"recipient_email": "other@example.com"})
    line.route()
    line.clock.pass_seconds(48 * 3600 - 60)
    line.route()
    assert [uuid for uuid, *_ in line.operator.rerouted] == [two]
    line.clock.pass_seconds(120)
    line.route()

    assert [uuid for uuid, *_ in line.operator.rerouted] == [two, one]


def test_rule_lacking_an_address_leaves_it_to_a_person(line):
    rules(line, BY_EMAIL)
    uuid = accepted(line, email="")
    fail(line, uuid)

    line.route()

    assert case(line, uuid).plan.endswith("the document has no e-mail address")


def test_loop_goes_to_a_person(line):
    """A loop (n ways out tried) goes to a person."""
    rules(
        line,
        "loop = 1\n" + BY_EMAIL + '\n[[rule]]\nname = "then as new"\ncause = "recipient_address"\nway = "resend"\n',
    )
    uuid = failed(line)
    line.route()
    line.operator.fail(uuid, NO_ROUTE, channel="EMAIL")
    mark_failed(line, uuid)

    line.route()

    assert len(line.operator.rerouted) == 1
    assert (case(line, uuid).status, case(line, uuid).decide_at) == ("open", None)
    assert "a person must look" in case(line, uuid).plan


def test_a_failure_older_than_the_reroute_moves_no_rule(line):
    """The operator took the reroute and still shows the old error: no second channel is tried on a guess."""
    rules(line, BY_EMAIL + "\n[[rule]]\nname = 'then a letter'\nway = 'print'\n")
    uuid = failed(line, NO_ROUTE)
    line.route()
    let_time_pass(line)
    assert [each.status for each in line.query("SELECT status FROM way_out")] == ["done"]
    line.operator.statuses_of[uuid] = "FAILED"
    mark_failed(line, uuid)

    line.route()

    found = case(line, uuid)
    assert (found.status, found.round, found.cause, found.owner) == ("open", 2, "unknown", "engineer")
    assert "still be on its way" in found.advice
    assert len(line.operator.rerouted) == 1

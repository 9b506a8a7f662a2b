"""Following what the operator holds: hundreds at a time, states as it tells them, and nobody forgotten."""

import asyncio
from datetime import timedelta

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.outcome import Outcome
from pipeline.storage.vault import Vault, new_key

from .line import START, K


@pytest.fixture
def accepted(line):
    (uuid,) = line.submit()
    line.work()
    return uuid


def say(line, uuid, status):
    line.operator.statuses_of[uuid] = status
    line.clock.pass_seconds(7 * 3600)
    line.follow()


def test_pending_stays_accepted_and_is_asked_about_ever_more_rarely(line, accepted):
    line.operator.statuses_of[accepted] = "PENDING"
    waits = []

    for _ in range(7):
        line.clock.now = line.row(accepted).look_at
        assert line.follow() == {"accepted": 1}
        waits.append((line.row(accepted).look_at - line.clock()).total_seconds())

    assert waits == [2, 5, 15, 60, 300, 3600, 3600]
    assert line.follow() == {}
    assert line.states([accepted]) == ["accepted"]


@pytest.mark.parametrize(("status", "state"), [("DELIVERED", "delivered"), ("FAILED", "failed")])
def test_the_end_is_marked_with_its_cause(line, accepted, status, state):
    say(line, accepted, status)

    row, last = line.row(accepted), line.events(accepted)[-1]
    assert (row.state, row.operator_status) == (state, status)
    assert (last.kind, last.source, last.target, last.cause) == (
        "operator_status",
        "accepted",
        state,
        f"the operator says {status}",
    )


def test_a_failure_is_told_in_the_operators_words(line, accepted):
    line.operator.causes[accepted] = "Print service is not enabled"

    say(line, accepted, "FAILED")

    cause = "the operator says FAILED: Print service is not enabled"
    assert (line.row(accepted).reason, line.events(accepted)[-1].cause) == (cause, cause)


def test_an_invoice_the_operator_does_not_know_says_so_once(line, accepted):
    for _ in range(3):
        line.clock.now = line.row(accepted).look_at
        line.follow()

    told = [event for event in line.events(accepted) if event.kind == "look"]
    assert [event.cause for event in told] == [line.row(accepted).reason]
    assert "does not show it" in told[0].cause


def test_delivered_can_fail_days_later(line, accepted):
    say(line, accepted, "DELIVERED")
    for _ in range(12):
        say(line, accepted, "DELIVERED")
    line.clock.pass_seconds(3 * 24 * 3600)
    say(line, accepted, "FAILED")

    assert line.states([accepted]) == ["failed"]
    assert line.row(accepted).look_at is None
    assert [(event.source, event.target) for event in line.events(accepted)][-2:] == [
        ("accepted", "delivered"),
        ("delivered", "failed"),
    ]


def test_delivered_is_never_taken_back_to_pending(line, accepted):
    say(line, accepted, "DELIVERED")
    say(line, accepted, "PENDING")

    assert line.states([accepted]) == ["delivered"]


def test_delivered_is_looked_at_for_its_days_and_no_longer(line, accepted):
    say(line, accepted, "DELIVERED")
    assert line.row(accepted).look_at == line.clock() + timedelta(seconds=line.settings.delivered_looks_seconds)
    line.clock.now = START + timedelta(days=line.settings.delivered_days)

    line.follow()

    assert line.row(accepted).look_at is None


@pytest.mark.parametrize("status", ["", "SOMETHING_NEW"])
def test_an_unknown_status_changes_nothing_and_is_asked_about_again(line, accepted, status):
    say(line, accepted, status)

    assert line.states([accepted]) == ["accepted"]
    assert line.row(accepted).look_at > line.clock()


def test_an_invoice_the_operator_does_not_know_is_an_error_and_asked_about_again(line, accepted, caplog):
    line.follow()

    assert line.states([accepted]) == ["accepted"]
    assert line.row(accepted).look_at > line.clock()
    assert line.row(accepted).operator_status == "PENDING"
    (entry,) = [each for each in caplog.records if getattr(each, "event", None) == "accepted_unknown"]
    assert (entry.levelname, entry.invoice) == ("ERROR", str(accepted))


def test_questions_hold_a_hundred_of_one_company(line):
    other = line.add_company("Beta")
    mine, theirs = line.submit(230), line.submit(5, company=other)
    line.work()
    line.work()

    line.follow()

    assert sorted(len(asked) for asked in line.operator.questions) == [5, 30, 100, 100]
    assert {uuid for asked in line.operator.questions for uuid in asked} == set(mine) | set(theirs)
    assert not any(set(asked) & set(mine) and set(asked) & set(theirs) for asked in line.operator.questions)


@pytest.mark.parametrize(
    ("failure", "wait"),
    [
        (Outcome(kind=K.UNAVAILABLE), 5),
        (Outcome(kind=K.IN_DOUBT), 5),
        (Outcome(kind=K.THROTTLED, retry_after_seconds=90.0), 90),
    ],
    ids=["away", "in doubt", "throttled"],
)
def test_a_failed_question_is_asked_again(line, accepted, failure, wait):
    line.operator.status_failure = failure

    assert line.follow() == {failure.kind.value: 1}

    row = line.row(accepted)
    assert (row.state, row.operator_status) == ("accepted", "PENDING")
    assert row.look_at == line.clock() + timedelta(seconds=wait)
    line.operator.status_failure = None
    say(line, accepted, "DELIVERED")
    assert line.states([accepted]) == ["delivered"]


def test_a_company_that_is_not_let_in_is_held_and_asked_about_after_its_release(line, accepted):
    line.operator.status_failure = Outcome(kind=K.UNAUTHORIZED, message="invalid token")
    line.follow()
    line.operator.status_failure = None
    line.operator.statuses_of[accepted] = "DELIVERED"
    line.clock.pass_seconds(61)

    assert line.follow() == {}
    asyncio.run(line.hold_keeper.run())
    assert line.follow() == {"delivered": 1}


def test_a_follower_that_died_is_replaced(line, accepted):
    line.operator.status_failure = RuntimeError("killed")
    with pytest.raises(RuntimeError):
        line.follow()
    line.operator.status_failure = None
    line.operator.statuses_of[accepted] = "DELIVERED"

    assert line.follow() == {}
    line.clock.pass_seconds(121)
    assert line.follow() == {"delivered": 1}


def test_one_company_whose_key_cannot_be_read_holds_up_no_other(line, accepted):
    line.operator.statuses_of[accepted] = "DELIVERED"
    right, line.vault = line.vault, Vault([new_key()])
    broken = line.add_company("Beta")
    line.vault = right
    line.submit(company=line.company)
    line.change(
        "UPDATE invoice SET company_id = company_id, look_at = :now WHERE id = :id", now=line.clock(), id=accepted
    )
    line.change("ALTER TABLE invoice DISABLE TRIGGER USER")
    line.change(
        "UPDATE invoice SET company_id = :broken, state = 'accepted', accepted_at = :now, look_at = :before "
        "WHERE state = 'queued'",
        broken=broken,
        now=line.clock(),
        before=line.clock() - timedelta(hours=1),
    )

    with pytest.raises(ConfigurationError):
        line.follow()

    assert line.states([accepted]) == ["delivered"]

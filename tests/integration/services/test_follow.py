"""Following what the operator holds: hundreds at a time, states as it tells them, and nobody forgotten."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.outcome import Outcome
from pipeline.storage.vault import Vault, new_key
from tests.integration.storage.rows import wait_for_a_lock

from .line import START, FakeOperator, K

DAY = 24 * 3600
NO_ROUTE = "No routing found for the invoice"
MULTIPLY = """
    INSERT INTO invoice (id, company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, format, submitted_at, changed_at)
    SELECT gen_random_uuid(), company_id, document_sha256, document_at, size, filename, options, state, epoch, due_at,
        uploads, tries, looks, format, submitted_at, changed_at
    FROM invoice, generate_series(2, :count) WHERE id = :id
    RETURNING id
"""


@pytest.fixture
def accepted(line):
    (uuid,) = line.submit()
    line.work()
    return uuid


def say(line, uuid, status, *, after=7 * 3600):
    line.operator.statuses_of[uuid] = status
    line.clock.pass_seconds(after)
    return line.follow()


def look_when_due(line, uuid):
    line.clock.now = line.row(uuid).look_at
    return line.follow()


def causes(line, uuid, kind):
    return [event.cause for event in line.events(uuid) if event.kind == kind]


def test_pending_is_asked_about_ever_more_rarely(line, accepted):
    """An accepted invoice is looked at 2, 7, 22, 82, 382 and 3982 s after its acceptance, then every hour."""
    line.operator.statuses_of[accepted] = "PENDING"
    ages = []

    for _ in range(8):
        ages.append((line.row(accepted).look_at - START).total_seconds())
        assert look_when_due(line, accepted) == {"accepted": 1}
        assert line.follow() == {}

    assert ages == [2, 7, 22, 82, 382, 3982, 7582, 11182]
    assert (line.states([accepted]), line.row(accepted).seen_at) == (["accepted"], line.clock())


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


def test_a_failure_goes_to_the_router_in_the_operators_words(line, accepted):
    line.operator.actions_in_list = True
    line.operator.fail(accepted, NO_ROUTE)

    say(line, accepted, "FAILED")

    row, cause = line.row(accepted), f"the operator says FAILED: {NO_ROUTE}"
    assert (row.reason, row.route_at, line.events(accepted)[-1].cause) == (cause, line.clock(), cause)
    assert line.operator.actions_asked == []


def test_delivered_can_fail_days_later(line, accepted):
    """DELIVERED may turn FAILED days later, and is then routed like any failure."""
    say(line, accepted, "DELIVERED")
    for _ in range(12):
        say(line, accepted, "DELIVERED")
    say(line, accepted, "FAILED", after=3 * DAY)

    assert (line.states([accepted]), line.row(accepted).route_at) == (["failed"], line.clock())
    assert [(event.source, event.target) for event in line.events(accepted)][-2:] == [
        ("accepted", "delivered"),
        ("delivered", "failed"),
    ]


def test_delivered_is_never_taken_back_to_pending(line, accepted):
    say(line, accepted, "DELIVERED")
    say(line, accepted, "PENDING")

    assert line.states([accepted]) == ["delivered"]
    assert causes(line, accepted, "operator_state") == ["the operator notes: awaiting delivery (0 PENDING)"]


@pytest.mark.parametrize("status", ["DELIVERED", "FAILED"])
def test_what_ended_is_looked_at_for_its_days_and_no_longer(line, accepted, status):
    say(line, accepted, status)
    assert line.row(accepted).look_at == line.clock() + timedelta(seconds=line.settings.delivered_looks_seconds)
    line.clock.now = START + timedelta(days=line.settings.delivered_days)

    line.follow()

    assert line.row(accepted).look_at is None


@pytest.mark.parametrize("status", ["", "SOMETHING_NEW"])
def test_an_unknown_status_changes_nothing_and_is_asked_about_again(line, accepted, status):
    say(line, accepted, status)

    assert line.states([accepted]) == ["accepted"]
    assert line.row(accepted).look_at > line.clock()


def test_a_hint_that_comes_while_we_ask_is_obeyed(line, accepted):
    """A webhook that arrives between our question and its answer causes another look."""

    class Hinting(FakeOperator):
        async def statuses(self, credentials, uuids):
            answer = await super().statuses(credentials, uuids)
            if len(self.questions) == 1:
                line.change("UPDATE invoice SET look_at = :now", now=line.clock())
                self.statuses_of[accepted] = "DELIVERED"
            return answer

    line.operator = Hinting(statuses_of={accepted: "PENDING"})
    line.clock.pass_seconds(2)

    assert line.follow() == {"accepted": 1, "delivered": 1}


def test_an_answer_later_than_its_lease_changes_nothing(line, accepted):
    class Slow(FakeOperator):
        async def statuses(self, credentials, uuids):
            if not self.questions:
                line.clock.pass_seconds(120)
                self.questions.append(tuple(uuids))
                return await FakeOperator(statuses_of={accepted: "FAILED"}).statuses(credentials, uuids)
            return await super().statuses(credentials, uuids)

    line.operator = Slow(statuses_of={accepted: "PENDING"})
    line.clock.pass_seconds(2)

    assert line.follow() == {"late": 1, "accepted": 1}
    assert line.states([accepted]) == ["accepted"]


def test_only_one_sweep_runs_however_often_it_is_rung(line, accepted):
    line.operator.statuses_of[accepted] = "PENDING"
    line.clock.pass_seconds(2)

    async def twice():
        return await asyncio.gather(line.follower.run(uuid4()), line.follower.run(uuid4()))

    assert sorted(count.total() for count in asyncio.run(twice())) == [0, 1]
    assert len(line.operator.questions) == 1


def test_questions_hold_a_hundred_of_one_company(line):
    other = line.add_company("Beta")
    mine, theirs = line.submit(230), line.submit(5, company=other)
    line.work()
    line.work()
    line.operator.statuses_of = dict.fromkeys(mine + theirs, "PENDING")
    line.clock.pass_seconds(2)

    line.follow()

    assert sorted(len(asked) for asked in line.operator.questions) == [5, 30, 100, 100]
    assert {uuid for asked in line.operator.questions for uuid in asked} == set(mine) | set(theirs)
    assert not any(set(asked) & set(mine) and set(asked) & set(theirs) for asked in line.operator.questions)


def submit_alike(line, count, *, company=None):
    """Submit one invoice and write the others like it: with thousands, submitting is not what is tested."""
    [first] = line.submit(1, company=company)
    return [first, *(row.id for row in line.query(MULTIPLY, id=first, count=count))]


def accept_by_hand(line, uuids, *, look_at):
    """Let queued invoices be accepted without uploading them, for large numbers."""
    line.change("ALTER TABLE invoice DISABLE TRIGGER invoice_guard")
    line.change(
        "UPDATE invoice SET state = 'accepted', due_at = NULL, accepted_at = :at, look_at = :look_at WHERE id = ANY(:ids)",
        ids=uuids,
        at=line.clock(),
        look_at=look_at,
    )
    line.operator.statuses_of.update(dict.fromkeys(uuids, "PENDING"))


def test_pending_invoices_cost_one_call_per_hundred(line):
    """100,000 pending cost at most 1,000 calls, and one more per company: here 3,000 of three companies, 33."""
    line.clock.now = START - timedelta(days=1)
    counts = {line.company: 1950, line.add_company("Beta"): 1049, line.add_company("Gamma"): 1}
    uuids = [uuid for company, count in counts.items() for uuid in submit_alike(line, count, company=company)]
    accept_by_hand(line, uuids, look_at=START)
    line.clock.now = START

    assert line.follow() == {"accepted": 3000}

    assert sum(len(asked) for asked in line.operator.questions) == 3000
    assert len(line.operator.questions) <= 33
    assert all(line.row(uuid).look_at > START for uuid in (uuids[0], uuids[2000], uuids[-1]))


def test_a_call_is_filled_up_with_what_is_due_soon(line):
    """A call never goes out half empty while others of the company are due within the minute."""
    line.clock.now = START - timedelta(days=1)
    due, soon, later = line.submit(10), line.submit(60), line.submit(40)
    accept_by_hand(line, due, look_at=START)
    accept_by_hand(line, soon, look_at=START + timedelta(seconds=50))
    accept_by_hand(line, later, look_at=START + timedelta(seconds=70))
    line.clock.now = START

    line.follow()

    assert [set(asked) for asked in line.operator.questions] == [set(due) | set(soon)]
    assert line.row(soon[0]).look_at > START + timedelta(seconds=50)


def test_a_look_that_filled_up_a_call_counts_as_the_planned_one(line, accepted):
    line.operator.statuses_of[accepted] = "PENDING"
    for _ in range(4):
        look_when_due(line, accepted)
    assert line.row(accepted).look_at == START + timedelta(seconds=382)
    line.clock.now = START + timedelta(seconds=340)
    (younger,) = line.submit()
    line.work()
    line.operator.statuses_of[younger] = "PENDING"
    line.clock.pass_seconds(2)

    line.follow()

    assert set(line.operator.questions[-1]) == {accepted, younger}
    assert line.row(accepted).look_at == START + timedelta(seconds=3982)


def test_a_young_invoice_is_not_asked_about_again_at_once_to_fill_a_call(line, accepted):
    line.operator.statuses_of[accepted] = "PENDING"
    line.clock.pass_seconds(22)
    line.follow()
    (younger,) = line.submit()
    line.work()
    line.operator.statuses_of[younger] = "PENDING"
    line.clock.pass_seconds(2)

    line.follow()

    assert line.operator.questions[1:] == [(younger,)]


@pytest.mark.parametrize(
    ("failure", "wait"),
    [
        (Outcome(kind=K.UNAVAILABLE), 5),
        (Outcome(kind=K.IN_DOUBT), 5),
        (Outcome(kind=K.THROTTLED, retry_after_seconds=90.0), 90),
    ],
    ids=["away", "in doubt", "throttled"],
)
def test_a_failed_question_is_asked_again_and_counts_no_look(line, accepted, failure, wait):
    line.operator.status_failure = failure
    line.clock.pass_seconds(2)

    assert line.follow() == {failure.kind.value: 1}

    row = line.row(accepted)
    assert (row.state, row.operator_status, row.looks) == ("accepted", "PENDING", 0)
    assert row.look_at == line.clock() + timedelta(seconds=wait)
    line.operator.status_failure = None
    say(line, accepted, "DELIVERED")
    assert line.states([accepted]) == ["delivered"]


def test_a_throttled_company_is_left_alone_as_long_as_the_operator_wants(line, accepted):
    line.clock.pass_seconds(1.9)
    (younger,) = line.submit()
    line.work()
    line.operator.status_failure = Outcome(kind=K.THROTTLED, retry_after_seconds=90.0)
    line.clock.pass_seconds(0.1)
    assert line.follow() == {"throttled": 1}

    line.clock.pass_seconds(89)
    assert line.follow() == {}
    line.clock.pass_seconds(1)
    line.operator.status_failure = None
    line.operator.statuses_of = dict.fromkeys((accepted, younger), "DELIVERED")

    assert line.follow() == {"delivered": 2}


def test_an_operator_that_is_away_is_not_asked_about_everything(line):
    """Once a company's question failed, no other of its questions begins in this run, however much is due."""
    line.clock.now = START - timedelta(days=1)
    accept_by_hand(line, submit_alike(line, 4100), look_at=START)
    line.clock.now = START
    line.operator.status_failure = Outcome(kind=K.UNAVAILABLE)

    assert line.follow() == {"unavailable": 4000}, "a second round began"

    assert len(line.operator.questions) == 20, "as many as were in the air at once"


def company_row(line, company=None):
    return line.query("SELECT * FROM company WHERE id = :id", id=company or line.company)[0]


def test_the_last_answer_about_a_company_and_its_silence_are_kept(line, accepted):
    """A poll that learns nothing leaves since when, and when the operator last answered."""
    line.operator.statuses_of[accepted] = "PENDING"
    line.clock.pass_seconds(2)
    line.follow()
    answered_at = line.clock()
    assert (company_row(line).looked_at, company_row(line).look_failing_since) == (answered_at, None)

    line.operator.status_failure = Outcome(kind=K.UNAVAILABLE)
    line.clock.pass_seconds(5)
    failing_since = line.clock()
    for _ in range(3):
        line.follow()
        line.clock.pass_seconds(5)
    assert (company_row(line).looked_at, company_row(line).look_failing_since) == (answered_at, failing_since)

    line.operator.status_failure = None
    line.follow()
    assert (company_row(line).looked_at, company_row(line).look_failing_since) == (line.clock(), None)


def test_a_company_that_is_not_let_in_is_held_and_asked_about_after_its_release(line, accepted):
    line.operator.status_failure = Outcome(kind=K.UNAUTHORIZED, message="invalid token")
    line.clock.pass_seconds(2)
    line.follow()
    line.operator.status_failure = None
    line.operator.statuses_of[accepted] = "DELIVERED"
    line.clock.pass_seconds(61)
    assert "invalid token" in company_row(line).hold_reason

    assert line.follow() == {}
    line.change("UPDATE company SET hold_reason = NULL, held_since = NULL")
    assert line.follow() == {"delivered": 1}


def test_a_follower_that_died_is_replaced(line, accepted):
    line.operator.status_failure = RuntimeError("killed")
    line.clock.pass_seconds(2)
    with pytest.raises(RuntimeError):
        line.follow()
    line.operator.status_failure = None
    line.operator.statuses_of[accepted] = "DELIVERED"

    assert line.follow() == {}
    line.clock.pass_seconds(121)
    assert line.follow() == {"delivered": 1}


def test_one_company_whose_key_cannot_be_read_holds_up_no_other(line, accepted):
    right, line.vault = line.vault, Vault([new_key()])
    broken = line.add_company("Beta")
    line.vault = right
    accept_by_hand(line, line.submit(company=broken), look_at=START)
    line.operator.statuses_of[accepted] = "DELIVERED"
    line.clock.pass_seconds(2)

    with pytest.raises(ConfigurationError):
        line.follow()

    assert line.states([accepted]) == ["delivered"]
    assert company_row(line, broken).look_failing_since == line.clock()


def note(line, uuid, key, *, hours):
    line.operator.note(uuid, "DELIVERED", key=key, channel="EMAIL", at=START + timedelta(hours=hours))


def test_the_operators_finer_states_are_kept_and_change_nothing(line, accepted):
    """VIEWED, PAID and the like are kept beside our state, told as information, and move nothing."""
    line.operator.actions_in_list = True
    say(line, accepted, "DELIVERED")
    assert line.row(accepted).operator_state == 1
    note(line, accepted, "action_seen", hours=8)
    say(line, accepted, "DELIVERED")
    note(line, accepted, "action_disputed", hours=15)
    say(line, accepted, "DELIVERED")
    say(line, accepted, "DELIVERED")

    row = line.row(accepted)
    assert (row.state, row.operator_state, row.route_at) == ("delivered", 92, None)
    assert causes(line, accepted, "operator_state") == [
        "the operator notes: viewed by the recipient (7 VIEWED), information only",
        "the operator notes: disputed by the recipient (92 DISPUTED), information only",
    ]


def test_a_finer_state_stays_when_the_list_shows_no_actions(line, accepted):
    line.operator.actions_in_list = True
    note(line, accepted, "action_paid", hours=1)
    say(line, accepted, "DELIVERED")
    line.operator.actions_in_list = False
    say(line, accepted, "DELIVERED")

    assert line.row(accepted).operator_state == 6


def test_actions_are_stored_once_and_never_asked_for(line, accepted):
    line.operator.actions_in_list = True
    line.operator.note(accepted, "SENT")
    for _ in range(3):
        say(line, accepted, "DELIVERED")
    line.operator.fail(accepted, NO_ROUTE)
    say(line, accepted, "FAILED")

    stored = line.query("SELECT type, message FROM operator_action ORDER BY id")
    assert [tuple(row) for row in stored] == [("SENT", None), ("ERROR", NO_ROUTE)]
    assert line.operator.actions_asked == []


def test_one_that_stays_pending_says_so_once_a_day(line, accepted):
    """A poll that learns nothing for long is an event, not silence."""
    line.operator.statuses_of[accepted] = "PENDING"
    while line.clock.now < START + timedelta(days=2, hours=2):
        look_when_due(line, accepted)

    assert [cause.partition(";")[0] for cause in causes(line, accepted, "look")] == [
        "still PENDING after 1 days",
        "still PENDING after 2 days",
    ]
    assert "last answered at 2026-11-02 01:" in causes(line, accepted, "look")[0]


def test_the_daily_pass_asks_about_everything_open(line):
    """With webhooks lost and the age curve asleep, the daily pass still ends every invoice."""
    line.settings = line.settings.model_copy(update={"look_waits_seconds": (30.0 * DAY,)})
    pending, late, ended = line.submit(3)
    line.work()
    line.clock.pass_seconds(DAY - 1)
    assert asyncio.run(line.follower.backup(uuid4())) == 0
    assert line.follow() == {}

    line.clock.pass_seconds(2)
    line.operator.statuses_of = {pending: "PENDING", late: "FAILED", ended: "DELIVERED"}
    assert asyncio.run(line.follower.backup(uuid4())) == 3
    assert asyncio.run(line.follower.backup(uuid4())) == 0
    assert line.follow() == {"accepted": 1, "failed": 1, "delivered": 1}

    assert line.states([pending, late, ended]) == ["accepted", "failed", "delivered"]
    assert causes(line, pending, "look") == ["still PENDING after 1 days; never answered before"]


def test_the_daily_pass_leaves_closed_and_old_ones(line):
    closed, old, failed = line.submit(3)
    line.work()
    line.operator.statuses_of = {closed: "FAILED", old: "DELIVERED", failed: "FAILED"}
    line.clock.pass_seconds(2)
    line.follow()
    open_case(line, closed, status="closed")
    line.clock.pass_seconds(30 * DAY)
    line.follow()
    line.clock.pass_seconds(2 * DAY)

    assert asyncio.run(line.follower.backup(uuid4())) == 1
    assert line.row(failed).look_at == line.clock()


def open_case(line, uuid, *, status="open", round_=1):
    line.change(
        "INSERT INTO route_case (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words,"
        " advice, ways, failed_at, decide_at, plan, opened_at, changed_at, closed_reason) VALUES (:company, :id, :status,"
        " :round, 'unknown', 'engineer', 'v', '1', '', '', '{}', :now, :now, 'a person is asked', :now, :now, 'x')",
        company=line.company,
        id=uuid,
        status=status,
        round=round_,
        now=line.clock(),
    )


def case(line, uuid):
    return line.query("SELECT * FROM route_case WHERE invoice_id = :id", id=uuid)[0]


def way_out(line, uuid, status, *, finished_at=None):
    line.change(
        "INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, status, not_before, epoch, lease_until,"
        " asked, planned_at, finished_at) VALUES (:case, :id, 'email', '{}', 'a rule', :status, :now, 1, :now, 1, :now,"
        " :finished_at)",
        case=case(line, uuid).id,
        id=uuid,
        status=status,
        now=line.clock(),
        finished_at=finished_at,
    )


@pytest.fixture
def failed(line, accepted):
    say(line, accepted, "FAILED")
    open_case(line, accepted)
    return accepted


def test_one_rerouted_in_the_operators_console_is_followed_again(line, failed):
    """What a person reroutes in the operator's own console is noticed, and its case waits for the end of it."""
    way_out(line, failed, "planned")
    assert say(line, failed, "PENDING") == {"accepted": 1}

    row, last = line.row(failed), line.events(failed)[-1]
    assert (row.state, row.route_at) == ("accepted", None)
    assert row.look_at == line.clock() + timedelta(seconds=2)
    assert last.cause == "the operator is sending it again: rerouted outside Postiljon"
    assert (case(line, failed).status, case(line, failed).plan) == ("under_way", "rerouted outside Postiljon")
    assert case(line, failed).decide_at is None
    assert line.query("SELECT status FROM way_out")[0].status == "skipped"


def test_a_case_is_resolved_by_delivery(line, failed):
    say(line, failed, "DELIVERED")
    say(line, failed, "DELIVERED", after=2)

    assert line.states([failed]) == ["delivered"]
    resolved = case(line, failed)
    assert (resolved.status, resolved.plan, resolved.decide_at) == ("resolved", None, None)
    assert [event.kind for event in line.events(failed)][-2:] == ["operator_status", "case_resolved"]


def test_the_cases_of_a_call_are_taken_in_their_order(line):
    """As a person's order for many takes them: while the first one is waited for, no other is held."""
    uuids = line.submit(8)
    line.work()
    line.operator.statuses_of = dict.fromkeys(uuids, "FAILED")
    line.clock.pass_seconds(2)
    line.follow()
    for uuid in uuids:
        open_case(line, uuid)
    line.operator.statuses_of = dict.fromkeys(uuids, "PENDING")
    line.change("UPDATE invoice SET look_at = :now", now=line.clock())

    with ThreadPoolExecutor() as pool:
        with line.database.transaction() as person:
            person.connection().execute(text("SELECT 1 FROM route_case ORDER BY id LIMIT 1 FOR NO KEY UPDATE"))
            followed = pool.submit(line.follow)
            wait_for_a_lock(line.database)
            person.connection().execute(text("SELECT 1 FROM route_case FOR NO KEY UPDATE NOWAIT"))
        followed.result()

    assert set(line.states(uuids)) == {"accepted"}


@pytest.mark.parametrize("status", ["begun", "unclear"])
def test_a_reroute_of_ours_in_the_air_is_left_to_the_router(line, failed, status):
    way_out(line, failed, status)

    assert say(line, failed, "PENDING") == {"failed": 1}

    assert (line.states([failed]), case(line, failed).status) == (["failed"], "open")
    assert line.row(failed).look_at == line.clock() + timedelta(seconds=5)


def test_a_reroute_of_ours_that_begins_while_we_ask_is_left_to_the_router(line, failed):
    class Racing(FakeOperator):
        async def statuses(self, credentials, uuids):
            if not self.questions:
                way_out(line, failed, "begun")
            return await super().statuses(credentials, uuids)

    line.operator = Racing(statuses_of={failed: "PENDING"})
    line.clock.pass_seconds(7 * 3600)

    assert line.follow() == {"moved_meanwhile": 1}
    assert line.states([failed]) == ["failed"]


@pytest.fixture
def rerouted(line, failed):
    """Rerouted by the router just now; the operator may still show the old failure."""
    way_out(line, failed, "done", finished_at=line.clock())
    line.change(
        "UPDATE invoice SET state = 'accepted', route_at = NULL, look_at = :at", at=line.clock() + timedelta(seconds=2)
    )
    return failed


def test_the_old_failure_right_after_a_reroute_is_no_new_one(line, rerouted):
    for _ in range(3):
        assert look_when_due(line, rerouted) == {"accepted": 1}
    assert (line.clock() - START).total_seconds() % 3600 == 22, "the age curve did not begin anew"

    assert say(line, rerouted, "FAILED", after=120) == {"failed": 1}


def test_a_newer_error_right_after_a_reroute_is_a_new_failure(line, rerouted):
    line.operator.actions_in_list = True
    line.operator.note(rerouted, "ERROR", message=NO_ROUTE, at=line.clock() + timedelta(seconds=1))

    assert look_when_due(line, rerouted) == {"failed": 1}
    assert line.row(rerouted).route_at == line.clock()


def alarms(line):
    return line.query("SELECT * FROM alarm WHERE kind = 'accepted_unknown' ORDER BY id")


def test_an_absence_right_after_acceptance_is_only_asked_about_again(line, accepted):
    line.clock.pass_seconds(29)
    line.follow()

    assert (line.states([accepted]), line.row(accepted).lost, alarms(line)) == (["accepted"], 0, [])
    assert line.row(accepted).look_at == START + timedelta(seconds=30)
    assert line.row(accepted).seen_at is None


def lose(line, uuid):
    line.clock.pass_seconds(31)
    return line.follow()


def test_a_lost_invoice_is_checked_and_sent_again_under_its_uuid(line, accepted, caplog):
    """What the operator does not know although it had accepted it is probed, then uploaded again under the same UUID."""
    line.operator.held.clear()

    assert lose(line, accepted) == {"in_doubt": 1}

    (entry,) = [each for each in caplog.records if getattr(each, "event", None) == "accepted_unknown"]
    assert (entry.levelname, entry.invoice) == ("ERROR", str(accepted))
    assert [(alarm.subject, alarm.company_id, alarm.ended_at) for alarm in alarms(line)] == [
        (str(accepted), line.company, None)
    ]
    assert line.row(accepted).lost == 1
    line.work()
    assert line.operator.probes == [(accepted,)]
    line.work()
    assert (line.operator.uploads, line.states([accepted])) == ([accepted, accepted], ["accepted"])
    say(line, accepted, "DELIVERED", after=5)
    assert line.states([accepted]) == ["delivered"]
    assert alarms(line)[0].ended_at == line.clock()


def test_a_lost_invoice_that_a_probe_finds_is_not_sent_again(line, accepted):
    lose(line, accepted)
    line.work()

    assert (line.operator.uploads, line.states([accepted])) == ([accepted], ["accepted"])
    line.clock.pass_seconds(29)
    line.follow()
    assert line.states([accepted]) == ["accepted"], "it must be given time to show once more"


def test_an_invoice_lost_three_times_waits_for_a_person(line, accepted):
    for _ in range(2):
        assert lose(line, accepted) == {"in_doubt": 1}
        line.work()
    assert lose(line, accepted) == {"held": 1}

    row = line.row(accepted)
    assert (row.held_for, row.look_at, row.lost) == ("person", None, 3)
    assert "postiljon release UUID" in row.reason
    assert len(alarms(line)) == 1


def test_nothing_is_lost_on_the_word_of_a_token_that_nobody_vouches_for(line, accepted):
    """An empty list also means "no access": it proves nothing while the operator does not vouch for the token."""
    line.operator.closed[line.company] = "the token has no right to the company's sent invoices"

    lose(line, accepted)

    assert (line.states([accepted]), line.row(accepted).lost, alarms(line)) == (["accepted"], 0, [])
    assert line.row(accepted).look_at == line.clock() + timedelta(seconds=5)
    assert company_row(line).look_failing_since == line.clock()


@pytest.mark.parametrize("status", ["DELIVERED", "FAILED"])
def test_an_ended_invoice_the_operator_forgot_is_noted_once_and_never_sent_again(line, accepted, status):
    say(line, accepted, status)
    line.operator.statuses_of.clear()
    for _ in range(3):
        line.clock.pass_seconds(7 * 3600)
        line.follow()

    assert line.states([accepted]) == [status.lower()]
    assert len(causes(line, accepted, "unknown")) == 1
    assert line.row(accepted).look_at > line.clock()
    assert line.operator.uploads == [accepted]

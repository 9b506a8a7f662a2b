"""The watch tells what a person must hear of although nothing failed, once, and takes it back when it is over."""

import asyncio
import logging
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.services.watch import Watch, find_missed_rings, read_alarms, watched_sweeps
from pipeline.storage import alarms, leases

from .line import START, K, Line, Outcome

HOUR = 3600
SWEEPS = ("dispatch", "follow", "check_holds", "route", "watch")


class Rules:
    """Stands in for the routing: one table of hours by company name and channel."""

    def __init__(self, **hours):
        self.hours = {"default": 48, **hours}

    def for_company(self, company_id, name, /):
        assert company_id
        return Rules.Of(self.hours, name)

    class Of:
        def __init__(self, hours, name):
            self.table, self.name = hours, name

        def pending_after(self, channel, /):
            for key in (f"{self.name}_{channel}", self.name, "default"):
                if key in self.table:
                    return timedelta(hours=self.table[key])
            raise AssertionError


def watch(line, rules=None, **more):
    parts = {"database": line.database, "settings": line.settings, "clock": line.clock}
    return asyncio.run(Watch(**parts, routing=lambda: rules or Rules(), **more).run(uuid4()))


def on(line, kind):
    with line.database.transaction() as session:
        return [alarm for alarm in alarms.list_alarms(session) if alarm.kind == kind]


def accept(line, count=1, **where):
    uuids = line.submit(count, **where)
    line.work()
    assert set(line.states(uuids)) == {"accepted"}
    return uuids


def test_an_invoice_pending_for_longer_than_set_raises_an_alarm_once(line, caplog):
    """The alarm shows the last successful look; it is told once, and on the invoice's own story."""
    (uuid,) = accept(line)
    line.change("UPDATE invoice SET number = 'INV-7', seen_at = :at", at=START + timedelta(hours=30))
    line.clock.pass_seconds(47 * HOUR)
    watch(line)
    assert on(line, "pending_long") == []
    line.clock.pass_seconds(HOUR)

    with caplog.at_level(logging.ERROR):
        watch(line)
        watch(line)

    (alarm,) = on(line, "pending_long")
    assert (alarm.subject, alarm.invoice_id, alarm.company_id) == (str(uuid), uuid, line.company)
    assert "INV-7 of Acme" in alarm.told
    assert "last seen at the operator: 2026-11-02 08:00:00 UTC" in alarm.told
    assert [event.cause for event in line.events(uuid) if event.kind == "pending_long"] == [alarm.told]
    assert [record.message for record in caplog.records if record.event == "pending_long"] == ["pending for long"]


def test_how_long_is_set_by_company_and_channel(line):
    beta = line.add_company("Beta")
    by_print, by_email = accept(line, 2)
    (of_beta,) = accept(line, company=beta)
    line.change("UPDATE invoice SET channel = 'PRINT' WHERE id = :id", id=by_print)
    line.change("UPDATE invoice SET channel = 'EMAIL' WHERE id = :id", id=by_email)
    line.clock.pass_seconds(10 * HOUR)

    watch(line, Rules(Acme_PRINT=100, Acme=9, Beta=11))
    assert {alarm.invoice_id for alarm in on(line, "pending_long")} == {by_email}
    line.clock.pass_seconds(HOUR)
    watch(line, Rules(Acme_PRINT=100, Acme=9, Beta=11))

    assert {alarm.invoice_id for alarm in on(line, "pending_long")} == {by_email, of_beta}


@pytest.mark.parametrize("state", ["delivered", "failed"])
def test_the_alarm_ends_when_the_invoice_is_no_longer_pending(line, state):
    (uuid,) = accept(line)
    line.clock.pass_seconds(48 * HOUR)
    watch(line)
    assert len(on(line, "pending_long")) == 1

    line.change("UPDATE invoice SET state = :state WHERE id = :id", id=uuid, state=state)
    watch(line)

    assert on(line, "pending_long") == []


def reroute(line, uuid):
    line.change(
        "INSERT INTO route_case (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words,"
        " advice, ways, failed_at, opened_at, changed_at) VALUES (:company, :invoice, 'resolved', 1, 'content',"
        " 'accountant', 'v', '1', 'w', 'a', '{}', :now, :now, :now)",
        company=line.company,
        invoice=uuid,
        now=line.clock(),
    )
    line.change(
        "INSERT INTO way_out (case_id, invoice_id, kind, fields, chosen_by, status, not_before, epoch, asked, planned_at,"
        " finished_at) SELECT id, invoice_id, 'email', '{}', 'rule', 'done', :now, 0, 1, :now, :now FROM route_case",
        now=line.clock(),
    )


def test_a_reroute_makes_the_time_count_anew(line):
    (uuid,) = accept(line)
    line.clock.pass_seconds(48 * HOUR)
    watch(line)
    line.clock.pass_seconds(60)
    reroute(line, uuid)

    watch(line)
    assert on(line, "pending_long") == []
    line.clock.pass_seconds(47 * HOUR)
    watch(line)
    assert on(line, "pending_long") == []
    line.clock.pass_seconds(HOUR)
    watch(line)
    assert len(on(line, "pending_long")) == 1


def test_more_than_a_piece_is_told_in_one_run(line):
    accept(line, 5)
    line.clock.pass_seconds(48 * HOUR)

    watch(line, pending_piece=2)

    assert len(on(line, "pending_long")) == 5


def test_rules_that_cannot_be_read_keep_nothing_else_silent(line):
    accept(line)
    line.change("UPDATE company SET look_failing_since = :now", now=line.clock())
    line.clock.pass_seconds(HOUR)

    def unreadable():
        raise ConfigurationError("routing.toml: line 3")

    parts = {"database": line.database, "settings": line.settings, "clock": line.clock}
    with pytest.raises(ConfigurationError):
        asyncio.run(Watch(**parts, routing=unreadable).run(uuid4()))

    assert len(on(line, "poll_silent")) == 1


def test_a_company_of_which_nothing_is_learned_raises_an_alarm(line):
    accept(line)
    line.change(
        "UPDATE company SET look_failing_since = :now, looked_at = :before",
        now=line.clock(),
        before=line.clock() - timedelta(minutes=5),
    )
    line.clock.pass_seconds(899)
    watch(line)
    assert on(line, "poll_silent") == []
    line.clock.pass_seconds(1)

    watch(line)

    (alarm,) = on(line, "poll_silent")
    assert alarm.company_id == line.company
    assert "last successful look: 2026-11-01 01:55:00 UTC" in alarm.told
    line.change("UPDATE company SET look_failing_since = NULL")
    watch(line)
    assert on(line, "poll_silent") == []


def test_silence_about_a_company_with_nothing_left_to_learn_is_no_alarm(line):
    (uuid,) = accept(line)
    line.change("UPDATE company SET look_failing_since = :now", now=line.clock())
    line.clock.pass_seconds(line.settings.poll_silence_seconds)
    watch(line)
    assert len(on(line, "poll_silent")) == 1

    line.change("UPDATE invoice SET look_at = NULL WHERE id = :id", id=uuid)
    watch(line)

    assert on(line, "poll_silent") == []


@pytest.mark.parametrize(
    ("path", "is_on"),
    [
        (["in_doubt"], True),
        (["in_doubt", "accepted"], True),
        (["in_doubt", "refused"], False),
        (["in_doubt", "refused", "superseded"], False),
    ],
    ids=lambda path: path[-1] if isinstance(path, list) else "",
)
def test_the_alarm_of_a_lost_invoice_ends_when_nobody_will_see_it_any_more(line, path, is_on):
    """While it may still be found, only the follow-up ends the alarm, by seeing it."""
    (uuid,) = accept(line)
    with line.database.transaction() as session:
        alarms.raise_alarm(session, "accepted_unknown", str(uuid), told="lost", now=line.clock(), invoice_id=uuid)
    for state in path:
        line.change(
            "UPDATE invoice SET state = :state, due_at = now(), route_at = NULL WHERE id = :id", id=uuid, state=state
        )

    watch(line)

    assert bool(on(line, "accepted_unknown")) == is_on


def ring(line, *names):
    with line.database.transaction() as session:
        for name in names:
            leases.ring(session, name, now=line.clock())


def test_a_dead_beat_is_noticed_while_work_goes_on(line, caplog):
    """With beat dead, bells alone ring the dispatcher; it says which sweeps nobody rings for, once."""
    ring(line, *SWEEPS)
    with caplog.at_level(logging.ERROR):
        for _ in range(40):
            line.clock.pass_seconds(15)
            line.submit()
            line.work()

    assert {alarm.subject for alarm in on(line, "not_rung")} == {"follow", "route", "watch", "check_holds"}
    assert len([record for record in caplog.records if record.event == "not_rung"]) == 4
    assert "beat" in on(line, "not_rung")[0].told

    ring(line, *SWEEPS)
    line.clock.pass_seconds(15)
    line.dispatch()
    assert on(line, "not_rung") == []


def test_a_dead_beat_is_noticed_by_rare_bells_too(line):
    ring(line, *SWEEPS)
    for _ in range(3):
        line.clock.pass_seconds(HOUR / 2)
        line.dispatch()

    assert len(on(line, "not_rung")) == 4


def test_after_a_stop_of_everything_beat_has_time_to_ring(line):
    ring(line, *SWEEPS)
    line.dispatch()
    line.clock.pass_seconds(15)
    ring(line, *SWEEPS)
    line.dispatch()
    line.clock.pass_seconds(60 * HOUR)

    line.dispatch()
    line.clock.pass_seconds(16)
    line.dispatch()

    assert on(line, "not_rung") == []


def test_a_sweep_that_was_never_rung_for_is_missed_too(line):
    for _ in range(8):
        line.clock.pass_seconds(15)
        ring(line, *(set(SWEEPS) - {"route"}))
        line.dispatch()

    assert [alarm.subject for alarm in on(line, "not_rung")] == ["route"]


def test_a_sweep_that_an_installation_may_do_without_is_missed_after_its_first_ring(line):
    ring(line, "backup")
    for _ in range(95):
        line.clock.pass_seconds(50)
        ring(line, *SWEEPS)
        line.dispatch()

    assert [alarm.subject for alarm in on(line, "not_rung")] == ["backup"]


def test_a_dead_beat_shows_to_a_reader_when_nothing_runs(line):
    """Nobody need be alive: who reads, sees."""
    ring(line, *SWEEPS)
    later = START + timedelta(minutes=10)

    with line.database.transaction() as session:
        told = read_alarms(session, line.settings, now=later)

    assert {(each.kind, each.subject) for each in told} == {("not_rung", name) for name in SWEEPS}
    assert on(line, "not_rung") == []


@pytest.mark.parametrize(("interval", "patience"), [(1, 60), (15, 75), (60, 300), (900, 4500), (86400, 90000)], ids=str)
def test_how_long_a_ring_may_be_missing(interval, patience):
    def missed(seconds):
        now = START + timedelta(seconds=seconds)
        return find_missed_rings({"a": START}, intervals={"a": interval, "never": interval}, now=now)

    assert missed(patience) == []
    assert [each.name for each in missed(patience + 1)] == ["a"]


def test_every_sweep_of_beat_is_watched(line):
    """Who adds a sweep to the settings adds it to the watch."""
    assert set(watched_sweeps(line.settings)) == {*SWEEPS, "backup", "partner_errors"}


def test_the_watch_folds_the_counters(line):
    line.submit(3)

    watch(line)

    assert line.query("SELECT 1 FROM tally_delta") == []
    assert [row.n for row in line.query("SELECT n FROM tally")] == [3]


def test_two_watches_at_once_tell_everything_once(line):
    accept(line, 3)
    line.clock.pass_seconds(48 * HOUR)
    parts = {"database": line.database, "settings": line.settings, "clock": line.clock}

    async def both():
        await asyncio.gather(*(Watch(**parts, routing=Rules).run(uuid4()) for _ in range(2)))

    asyncio.run(both())

    assert len(line.query("SELECT 1 FROM event WHERE kind = 'pending_long'")) == 3


def test_a_held_company_is_an_alarm_until_it_is_released(database, vault):
    line = Line(database, vault)
    line.operator.every_upload = Outcome(kind=K.UNAUTHORIZED, http_status=401, message="Unauthorized")
    line.submit()
    line.work()

    assert "Acme is held" in on(line, "company_held")[0].told
    line.clock.pass_seconds(61)
    line.check_holds()
    assert on(line, "company_held") == []

"""What was held back before it began leaves the invoice as it was; what ended its worker is counted, and set aside."""

from datetime import timedelta

import pytest

from pipeline.domain.outcome import Outcome
from pipeline.storage import claims
from pipeline.storage.holding import release_invoice
from pipeline.storage.reading import read_story

from .line import START, K, Line

HELD_BACK = Outcome(kind=K.UNAVAILABLE, held_back_seconds=20, message="the operator is left alone")
NEVER_SENT = Outcome(kind=K.UNAVAILABLE, error_code="refused")
REFUSED = Outcome(kind=K.REFUSED, http_status=422, message="already exists")
IN_DOUBT = Outcome(kind=K.IN_DOUBT, error_code="read_timeout")
LEASE = timedelta(seconds=30)


def test_a_held_back_upload_is_as_if_never_claimed(line):
    """No try, no upload, no attempt and no budget is spent; the cause and the time are told."""
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [HELD_BACK]

    assert line.work() == {"held_back": 1}

    row = line.row(uuid)
    assert (row.state, row.due_at, row.lease_until) == ("waiting", START + timedelta(seconds=20), None)
    assert (row.uploads, row.tries, row.unfinished, row.last_upload_at) == (0, 0, 0, None)
    assert row.give_up_at == START + timedelta(days=7, seconds=20)
    assert line.attempts(uuid) == []
    assert [(e.kind, e.source, e.target) for e in line.events(uuid)] == [
        ("submitted", None, "queued"),
        ("held_back", "queued", "waiting"),
    ]
    assert "the operator is left alone" in line.events(uuid)[-1].cause


def test_being_held_back_again_for_the_same_cause_is_told_once(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [HELD_BACK] * 3

    for _ in range(3):
        line.work()
        line.clock.pass_seconds(20)
    line.work()

    assert [event.kind for event in line.events(uuid)] == ["submitted", "held_back", "upload_begun", "upload_answered"]
    assert [attempt.number for attempt in line.attempts(uuid)] == [1]
    assert line.row(uuid).uploads == 1


def test_a_held_back_probe_stays_in_doubt(line):
    (uuid,) = line.submit()
    line.operator.on_upload[uuid] = [IN_DOUBT]
    line.operator.on_probe[uuid] = [HELD_BACK]
    line.work()
    before = line.row(uuid)

    line.work()

    row = line.row(uuid)
    assert (row.state, row.due_at) == ("in_doubt", START + timedelta(seconds=20))
    assert (row.uploads, row.tries, row.unfinished) == (before.uploads, before.tries, before.unfinished)
    assert [attempt.kind for attempt in line.attempts(uuid)] == ["upload"]
    with line.database.transaction() as session:
        assert "probe_begun" not in [event.kind for event in read_story(session, uuid).events]


def test_a_late_held_back_changes_nothing(line):
    (uuid,) = line.submit()
    (chunk,) = line.dispatch()

    async def too_late():
        line.clock.pass_seconds(31)
        line.dispatch()
        return HELD_BACK

    line.operator.on_upload[uuid] = [too_late]
    line.work([chunk])

    row = line.row(uuid)
    assert (row.state, row.uploads) == ("in_doubt", 1)
    assert len(line.attempts(uuid)) == 1


def test_an_upload_that_never_left_is_not_counted_among_those_that_may_have_arrived(line):
    """A UUID met at the first upload that left is compared, however often no connection came about before."""
    (uuid,) = line.submit()
    line.change("UPDATE invoice SET number = '1001' WHERE id = :id", id=uuid)
    line.operator.on_upload[uuid] = [NEVER_SENT, NEVER_SENT, REFUSED]
    line.operator.on_probe[uuid] = [Outcome(kind=K.ALREADY_THERE, operator_number="9999", operator_seller="Other Oy")]

    for _ in range(4):
        line.work()
        line.clock.pass_seconds(20)

    row = line.row(uuid)
    assert (row.state, row.held_for, row.uploads) == ("held", "person", 1)
    assert "ours 1001" in row.reason
    assert "theirs 9999" in row.reason
    assert "Other Oy" in row.reason
    assert [attempt.outcome for attempt in line.attempts(uuid)][:2] == ["unavailable"] * 2


def die(line, chunk):
    """Claim a chunk as a worker does, and never come back."""
    claim = claims.claim_probes if chunk.is_probe else claims.claim_uploads
    with line.database.transaction() as session:
        now = line.clock()
        claim(session, chunk.invoice_ids, epoch=chunk.epoch, now=now, lease=LEASE, give_up_at=now + timedelta(days=7))
    line.clock.pass_seconds(31)


def die_uploading(line, times):
    for _ in range(times):
        chunks = [chunk for chunk in line.dispatch() if not chunk.is_probe]
        for chunk in chunks:
            die(line, chunk)
        line.work()
        line.clock.pass_seconds(11)


@pytest.fixture
def frail(database, vault):
    """A line that sets aside after three deaths."""
    return Line(database, vault, poison_deaths=3)


def test_the_counter_is_raised_before_anything_is_done(frail):
    (uuid,) = frail.submit()

    (chunk,) = frail.dispatch()
    die(frail, chunk)

    assert frail.row(uuid).unfinished == 1


def test_an_invoice_that_kills_its_worker_is_set_aside(frail):
    """After n deaths, with the operator asked each time, it is held for a person, who learns what is known."""
    (uuid,) = frail.submit()

    die_uploading(frail, 2)
    assert frail.row(uuid).state == "waiting"
    die_uploading(frail, 1)

    row = frail.row(uuid)
    assert (row.state, row.held_for, row.unfinished) == ("held", "person", 3)
    assert "ended the worker 3 times" in row.reason
    assert f"{row.size:,} bytes" in row.reason
    assert frail.operator.uploads == []


def test_an_answer_starts_the_counter_anew(frail):
    (uuid,) = frail.submit()
    frail.operator.on_upload[uuid] = [Outcome(kind=K.THROTTLED, http_status=429)]

    die_uploading(frail, 2)
    frail.work()

    row = frail.row(uuid)
    assert (row.state, row.unfinished) == ("waiting", 0)


def test_an_invoice_whose_probes_kill_is_set_aside(frail):
    """What cannot even be asked about is held too, and a person is told that nobody knows whether it arrived."""
    (uuid,) = frail.submit()
    frail.operator.on_upload[uuid] = [IN_DOUBT]
    frail.work()

    for _ in range(3):
        (chunk,) = frail.dispatch()
        die(frail, chunk)
    frail.work()

    row = frail.row(uuid)
    assert (row.state, row.held_for) == ("held", "person")
    assert "not known" in row.reason
    assert frail.operator.probes == []


def test_a_persons_release_starts_the_counter_anew(frail):
    (uuid,) = frail.submit()
    die_uploading(frail, 3)

    with frail.database.transaction() as session:
        release_invoice(session, uuid, now=frail.clock())
    frail.work()
    frail.clock.pass_seconds(11)
    frail.work()

    assert frail.states([uuid]) == ["accepted"]
    assert frail.row(uuid).unfinished == 0

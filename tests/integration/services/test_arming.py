"""A copy of production sends nothing until a person arms it, and then asks before it sends."""

import asyncio
from copy import copy as shallow_copy
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import event

from pipeline.domain.arming import Part
from pipeline.domain.errors import ConfigurationError, DisarmedError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.services import take_ways
from pipeline.services.arm import Armer, Listed
from pipeline.services.arming import arm_itself, read_standing, require_armed, why_disarmed
from pipeline.services.watch import DISARMED, read_alarms
from pipeline.settings import settings_from
from pipeline.storage import holding, schema
from pipeline.storage.database import Database
from tests.arming import INSTANCE_KEY, arm_here
from tests.conftest import execute, url_of

from .routes import case, opened, plan, way

OTHER_KEY = "the key of another installation"
CLOSED = Outcome(kind=OutcomeKind.UNAVAILABLE, http_status=503, message="the operator is closed for now")
ELSEWHERE = [
    ({"instance_key": OTHER_KEY}, {Part.KEY}),
    ({"installation": "production"}, {Part.ENVIRONMENT, Part.OPERATOR}),
    ({"operator_url": "http://simulator:8099"}, {Part.OPERATOR}),
]


class FakeList:
    """What the operator lists as sent, by company."""

    def __init__(self):
        self.sent, self.asked, self.failure = {}, [], None

    async def sent_since(self, credentials, *, since):
        self.asked.append(since)
        return self.failure or tuple(self.sent.get(credentials.company_id, ()))


def standing(database, settings):
    with database.transaction() as session:
        return read_standing(session, settings)


def parts(database, settings):
    return {each.part for each in standing(database, settings).differences}


def moved(line, **settings):
    """The same database under other settings: what runs where a copy was started."""
    given = {"retry_waits_seconds": "0,2,10", "instance_key": INSTANCE_KEY, **settings}
    other = shallow_copy(line)
    other.settings = settings_from({f"POSTILJON_{name.upper()}": value for name, value in given.items()})
    return other


@pytest.fixture
def copy(line):
    """The line with another installation's key."""
    return moved(line, instance_key=OTHER_KEY)


def armer(line, listed=None):
    return Armer(
        database=line.database,
        vault=line.vault,
        operator=listed or FakeList(),
        settings=line.settings,
        clock=line.clock,
    )


def arm(line, listed=None):
    service = armer(line, listed)
    return service.arm(asyncio.run(service.look()), by="a person")


@pytest.mark.parametrize(("settings", "expected"), ELSEWHERE, ids=["key", "environment", "operator"])
def test_another_installation_is_handed_nothing(line, settings, expected):
    """Disarmed: the dispatcher hands out nothing, and nothing of the invoices changes or is used up."""
    queued, waiting, doubtful = line.submit(3)
    line.operator.on_upload[waiting].append(CLOSED)
    line.operator.on_upload[doubtful].append(Outcome(kind=OutcomeKind.IN_DOUBT))
    line.operator.on_probe[doubtful] += [CLOSED] * 3
    line.operator.on_probe[waiting] += [CLOSED] * 3
    line.change("UPDATE invoice SET due_at = due_at + interval '1 hour' WHERE id = :id", id=queued)
    line.work()
    line.clock.pass_seconds(7200)
    before = line.query("SELECT * FROM invoice ORDER BY id")
    uploads, probes = list(line.operator.uploads), list(line.operator.probes)
    copy = moved(line, **settings)

    assert copy.dispatch() == []
    assert line.query("SELECT * FROM invoice ORDER BY id") == before
    assert (line.operator.uploads, line.operator.probes) == (uploads, probes)
    assert {row.state for row in before} == {"queued", "in_doubt"}
    assert parts(line.database, copy.settings) == expected


def test_chunk_on_its_way_claims_nothing(line, copy):
    """What was published before, or by another, is refused again right before the claim."""
    uuids = line.submit(3)
    chunks = line.dispatch()

    assert not copy.work(chunks)

    assert line.operator.uploads == []
    assert line.states(uuids) == ["queued"] * 3
    assert [line.attempts(uuid) for uuid in uuids] == [[]] * 3
    assert [line.row(uuid).uploads for uuid in uuids] == [0] * 3
    line.clock.pass_seconds(60)
    line.work()
    assert line.states(uuids) == ["accepted"] * 3


def test_no_reroute_is_taken(line, copy):
    uuid = opened(line)
    way_out = plan(line, uuid)

    copy.route()

    assert line.operator.rerouted == []
    assert (way(line, way_out).status, way(line, way_out).asked) == ("planned", 0)


def test_rules_decide_nothing_in_a_copy(line, copy):
    """A resend planned by a copy would get a UUID of its own; after the arming a person decides what was open."""
    uuid = opened(line)
    line.change("UPDATE route_case SET decide_at = :now", now=line.clock())

    assert not copy.route()
    assert line.query("SELECT count(*) AS n FROM way_out")[0].n == 0

    assert arm(copy).cases == 1
    assert (case(line, uuid).decide_at, "a person decides" in case(line, uuid).plan) == (None, True)


def test_no_reroute_is_asked_for_right_before_it(line, copy, monkeypatch):
    """A router that claimed while it was armed asks for nothing once it is not."""
    uuid = opened(line)
    way_out = plan(line, uuid)
    monkeypatch.setattr(take_ways, "why_disarmed", lambda *_: None)

    assert copy.route()["disarmed"] == 1

    assert line.operator.rerouted == []
    assert way(line, way_out).asked == 0
    monkeypatch.undo()
    line.clock.pass_seconds(200)
    assert line.route()["rerouted"] == 1


def test_following_goes_on(line, copy):
    """A copy looks: what the operator says of accepted invoices is written down."""
    [uuid] = line.submit()
    line.work()
    line.operator.statuses_of[uuid] = "DELIVERED"
    line.clock.pass_seconds(10)

    copy.follow()

    assert line.states([uuid]) == ["delivered"]


def test_disarmed_is_an_alarm_that_is_never_stored(line, copy):
    with line.database.transaction() as session:
        [first, *_] = read_alarms(session, copy.settings, now=line.clock())
        assert (first.kind, "postiljon arm" in first.told) == (DISARMED, True)
        assert DISARMED not in {each.kind for each in read_alarms(session, line.settings, now=line.clock())}


def test_changes_at_the_operator_are_refused(line, copy):
    with line.database.transaction() as session:
        require_armed(session, line.settings)
        with pytest.raises(DisarmedError, match="instance key"):
            require_armed(session, copy.settings)


def test_unreadable_key_disarms_and_breaks_nothing(line, tmp_path):
    settings = settings_from({"POSTILJON_INSTANCE_KEY_FILE": str(tmp_path / "gone")})

    assert parts(line.database, settings) == {Part.KEY}


def test_copy_made_on_the_same_server_is_disarmed(line, postgres_server):
    """CREATE DATABASE ... TEMPLATE, with the same key and settings: a staging database beside production."""
    line.submit()
    line.database.close()
    source, name = line.database.engine.url.database, f"copy_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name} TEMPLATE {source}")
    database = Database(url_of(postgres_server, name))
    try:
        assert standing(line.database, line.settings).is_armed
        assert parts(database, line.settings) == {Part.DATABASE}
        there = moved(line)
        there.database = database
        assert there.dispatch() == []
        assert line.dispatch() != []
    finally:
        database.close()
        execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def test_dump_restored_over_the_old_database_is_disarmed(line):
    """A dump drops and makes the tables again: what was sent since it was taken is forgotten, so it may not send."""
    line.change("CREATE TABLE restored (LIKE arming INCLUDING ALL)")
    line.change("INSERT INTO restored OVERRIDING SYSTEM VALUE SELECT * FROM arming")
    line.change("DROP TABLE arming")
    line.change("ALTER TABLE restored RENAME TO arming")

    assert parts(line.database, line.settings) == {Part.DATABASE}


def test_dump_restored_on_another_server_is_disarmed(line, tmp_path: Path):
    """Another system identifier; the rows are the same."""
    row = line.query("SELECT * FROM arming ORDER BY id DESC LIMIT 1")[0]._asdict()
    del row["id"]
    with EmbeddedPostgres(tmp_path / "other", durable=False) as server:
        database = Database(server.url)
        schema.upgrade(database.engine)
        there = moved(line)
        there.database = database
        there.change(f"INSERT INTO arming ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", **row)

        assert Part.SERVER in parts(database, line.settings)
        database.close()


def test_fresh_database_arms_itself_once_and_copies_do_not(postgres_server):
    """Where the tables were made, `db upgrade` arms; a copy of the unarmed database waits for a person."""
    settings = settings_from({"POSTILJON_INSTANCE_KEY": INSTANCE_KEY})
    names = [f"fresh_{uuid4().hex}" for _ in range(2)]
    first, copied = (Database(url_of(postgres_server, name)) for name in names)
    execute(postgres_server, f"CREATE DATABASE {names[0]}")
    schema.upgrade(first.engine)
    first.close()
    execute(postgres_server, f"CREATE DATABASE {names[1]} TEMPLATE {names[0]}")
    try:
        assert [_arm_itself(each, settings) for each in (first, first, copied)] == [True, False, False]
        assert standing(first, settings).is_armed
        assert Part.DATABASE in parts(copied, settings)
    finally:
        for database, name in zip((first, copied), names, strict=True):
            database.close()
            execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def test_without_a_key_nothing_arms_itself(postgres_server):
    name = f"fresh_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name}")
    database = Database(url_of(postgres_server, name))
    schema.upgrade(database.engine)
    try:
        assert not _arm_itself(database, settings_from({}))
        assert parts(database, settings_from({})) == {Part.SEAL, Part.KEY}
        assert _arm_itself(database, settings_from({"POSTILJON_INSTANCE_KEY": INSTANCE_KEY}))
    finally:
        database.close()
        execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def _arm_itself(database, settings):
    with database.transaction() as session:
        return arm_itself(session, settings, by="tests")


def test_disarmed_installation_never_arms_itself(line, copy):
    assert not _arm_itself(line.database, copy.settings)
    assert not standing(line.database, copy.settings).is_armed


def test_armed_copy_asks_before_it_sends(line, copy):
    """What the living installation sent is adopted by a probe, what it did not is sent once; nothing is sent blindly."""
    sent_there, waiting, not_sent = uuids = line.submit(3)
    line.change("UPDATE invoice SET state = 'sending', lease_until = due_at WHERE id = :id", id=waiting)
    line.change("UPDATE invoice SET state = 'waiting', lease_until = NULL WHERE id = :id", id=waiting)
    line.operator.held = {sent_there: line.content(sent_there), waiting: line.content(waiting)}
    listed = FakeList()
    unknown = Listed(uuid=uuid4(), number="17")
    listed.sent[line.company] = (Listed(uuid=sent_there, number="1"), unknown)

    survey = asyncio.run(armer(copy, listed).look())
    done = armer(copy, listed).arm(survey, by="a person")

    [found] = survey.companies
    assert (found.to_adopt, found.unknown) == ((sent_there,), (unknown,))
    assert (survey.unsent, done.adopted, done.asked_first) == (3, 1, 2)
    assert line.states(uuids) == ["in_doubt"] * 3
    assert [event.kind for event in line.events(sent_there)][-1] == "adopted"
    assert [event.kind for event in line.events(not_sent)][-1] == "asked_first"
    assert line.operator.uploads == []
    for _ in range(3):
        copy.work()
        line.clock.pass_seconds(60)
    assert line.states(uuids) == ["accepted"] * 3
    assert line.operator.uploads == [not_sent]
    assert {uuid for asked in line.operator.probes for uuid in asked} == set(uuids)
    assert standing(line.database, line.settings).differences, "only one installation lives"


@pytest.mark.parametrize("held_for", ["company", "person"])
def test_held_invoice_is_asked_about_when_released(line, copy, held_for):
    """A held invoice that this database never sent may have been sent by the living one: the release probes."""
    [uuid] = line.submit()
    line.change(
        "UPDATE invoice SET state = 'held', held_for = :held_for, reason = 'why', due_at = NULL WHERE id = :id",
        id=uuid,
        held_for=held_for,
    )
    line.operator.held[uuid] = line.content(uuid)

    assert arm(copy).asked_first == 1
    assert line.states([uuid]) == ["held"]
    with line.database.transaction() as session:
        if held_for == "person":
            holding.release_invoice(session, uuid, now=line.clock())
        else:
            holding.release_invoices(session, line.company, cause="tests", now=line.clock(), limit=None)
    copy.work()

    assert line.operator.uploads == []
    assert line.states([uuid]) == ["accepted"]


def test_held_invoice_that_was_sent_is_adopted(line, copy):
    [uuid] = line.submit()
    line.change("UPDATE invoice SET state = 'held', held_for = 'person', reason = 'why' WHERE id = :id", id=uuid)
    line.operator.held[uuid] = line.content(uuid)
    listed = FakeList()
    listed.sent[line.company] = (Listed(uuid=uuid, number=None),)

    assert arm(copy, listed).adopted == 1

    copy.work()
    assert (line.states([uuid]), line.operator.uploads) == (["accepted"], [])


def test_chunk_from_before_the_arming_is_too_late(line, copy):
    """Arming gives what it moves a new epoch: a message of before finds nothing to upload."""
    uuids = line.submit(2)
    chunks = line.dispatch()
    arm(copy)

    assert not copy.work(chunks)

    assert line.operator.uploads == []
    assert line.states(uuids) == ["in_doubt"] * 2


def test_operator_is_asked_from_the_last_upload_on(line, copy):
    """Looks and releases of a disarmed copy do not move the snapshot: only an upload does."""
    line.submit()
    line.work()
    uploaded_at = line.clock()
    line.clock.pass_seconds(10 * 86400)
    line.submit()
    listed = FakeList()

    survey = asyncio.run(armer(copy, listed).look())

    assert survey.snapshot == uploaded_at
    assert listed.asked == [uploaded_at - timedelta(hours=1)]


def test_unanswered_question_is_told_and_all_is_probed(line, copy):
    [uuid] = line.submit()
    listed = FakeList()
    listed.failure = CLOSED

    survey = asyncio.run(armer(copy, listed).look())
    armer(copy, listed).arm(survey, by="a person")

    assert "could not be asked" in survey.companies[0].failure
    assert line.states([uuid]) == ["in_doubt"]


def test_looking_changes_nothing(line, copy):
    uuids = line.submit(2)

    asyncio.run(armer(copy).look())

    assert line.states(uuids) == ["queued"] * 2
    assert not standing(line.database, copy.settings).is_armed


def test_no_arming_without_a_key(line):
    uuids = line.submit(2)
    bare = moved(line)
    bare.settings = settings_from({})

    with pytest.raises(ConfigurationError, match="POSTILJON_INSTANCE_KEY_FILE"):
        arm(bare)

    assert line.states(uuids) == ["queued"] * 2


def test_arming_says_when_and_by_whom(line, copy):
    arm(copy)

    latest = standing(line.database, copy.settings).latest
    assert (latest.by, latest.at) == ("a person", line.clock())


def test_check_is_one_statement(line):
    """Cheap enough to be read with every claim."""
    statements = []
    event.listen(line.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with line.database.transaction() as session:
        assert why_disarmed(session, line.settings) is None

    assert len(statements) == 1


def test_only_the_one_armed_last_lives(line, copy):
    """Whoever was armed last lives; the other one is disarmed from that moment."""
    arm(copy)
    [uuid] = copy.submit()
    assert line.dispatch() == []
    arm_here(line.database, line.settings)
    assert copy.dispatch() == []

    line.work()

    assert line.states([uuid]) == ["accepted"]

"""The upkeep puts away what is finished, piece by piece, and leaves alone what the line still has to do with."""

import asyncio
import logging
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.services.follow_backup import BackupPass
from pipeline.services.upkeep import Upkeep

from .line import START, Line


def keep_up(line, **more):
    parts = {"database": line.database, "settings": line.settings, "clock": line.clock}
    return asyncio.run(Upkeep(**parts, **more).run(uuid4()))


def deliver(line, count):
    uuids = line.submit(count)
    line.work()
    for uuid in uuids:
        line.operator.statuses_of[uuid] = "DELIVERED"
    line.clock.pass_seconds(60)
    line.follow()
    return uuids


def open_ones(line):
    return {row.id for row in line.query("SELECT id FROM invoice_open")}


def test_delivered_invoices_are_put_away_when_nobody_looks_any_more(line):
    """While the line looks for a late failure they stay; after that all of them go, whatever a piece is."""
    uuids = set(deliver(line, 5))
    waiting = set(line.submit(1))

    assert keep_up(line) == 0
    line.clock.now = START + timedelta(days=line.settings.delivered_days, hours=1)
    line.follow()
    line.clock.pass_seconds(2 * 3600)

    assert keep_up(line) == 5
    assert open_ones(line) == waiting
    assert set(line.states(list(uuids))) == {"delivered"}
    assert keep_up(line) == 0


def test_the_daily_pass_finds_everything_it_asks_about_among_the_open_ones(line):
    """Nothing is put away that the daily pass would still ask about."""
    uuids = deliver(line, 2)
    line.change("UPDATE invoice SET look_at = NULL")
    line.clock.now = START + timedelta(days=line.settings.delivered_days - 1)

    assert keep_up(line) == 0
    rung = asyncio.run(BackupPass(database=line.database, settings=line.settings, clock=line.clock).run(uuid4()))

    assert rung == len(uuids)


def test_pieces_follow_each_other_until_all_is_put_away(line):
    deliver(line, 5)
    line.change("UPDATE invoice SET look_at = NULL")
    line.clock.now = START + timedelta(days=line.settings.delivered_days + 1)

    assert keep_up(line, piece=2) == 5


@pytest.mark.parametrize("table", ["event", "invoice"])
def test_months_wait_for_nobody(line, caplog, table):
    """While somebody uses a table the new month is put off, and invoices are put away all the same."""
    deliver(line, 1)
    line.change("UPDATE invoice SET look_at = NULL")
    line.clock.now = START + timedelta(days=400)
    with line.database.transaction() as session:
        session.connection().exec_driver_sql(f"LOCK TABLE {table}_other IN ACCESS SHARE MODE")
        with caplog.at_level(logging.WARNING):
            assert keep_up(line) == 1

    assert "months_put_off" in caplog.text
    assert line.query("SELECT to_regclass('event_2028_03') AS found")[0].found is None
    keep_up(line)
    assert line.query("SELECT to_regclass('event_2028_03') AS found")[0].found is not None


def test_a_line_with_a_history_sends_as_before(database, vault):
    """Put away, brought back and failed after all: the case opens as if the invoice had never been away."""
    line = Line(database, vault)
    (uuid,) = deliver(line, 1)
    line.change("UPDATE invoice SET look_at = NULL")
    line.clock.now = START + timedelta(days=60)
    assert keep_up(line) == 1

    line.operator.fail(uuid, "the recipient's operator gave up")
    line.operator.statuses_of[uuid] = "FAILED"
    line.change("UPDATE invoice SET shelf = 0, look_at = :now WHERE id = :id", id=uuid, now=line.clock())
    line.follow()
    line.route()

    assert line.states([uuid]) == ["failed"]
    assert line.query("SELECT status FROM route_case WHERE invoice_id = :id", id=uuid)[0].status == "open"
    line.clock.now = START + timedelta(days=120)
    assert keep_up(line) == 0

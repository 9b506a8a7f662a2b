"""How long messages may wait: judged by two machines' wall clocks, so never where being late is harmless."""

from uuid import uuid4

import pytest

from pipeline.services.ports import Chunk
from pipeline.settings import settings_from
from workers import bell, publisher
from workers.schedule import beat_schedule

MOST_APART = 60
"""Seconds by which the wall clocks of two machines may differ without anything standing still."""


@pytest.fixture
def sent(monkeypatch):
    sent = []

    def send_task(name, **options):
        sent.append((name, options))

    monkeypatch.setattr("workers.app.app.send_task", send_task)
    return sent


@pytest.mark.parametrize("is_probe", [False, True])
def test_chunk_never_expires(sent, is_probe):
    """A worker whose wall clock is ahead sends all the same: the claim alone says whether a chunk comes too late."""
    chunk = Chunk(
        company_id=uuid4(),
        company_name="Company",
        epoch=7,
        invoice_ids=(uuid4(),),
        is_probe=is_probe,
        is_express=False,
    )

    publisher.CeleryPublisher(most=1, held=lambda _: 0).publish(chunk)

    [(name, options)] = sent
    assert name == ("probe" if is_probe else "send")
    assert options.get("expires") is None


def test_bell_outlives_clocks_that_differ(sent):
    bell.ring()
    bell.ring_route()

    assert [name for name, _ in sent] == ["dispatch", "route"]
    assert all(options["expires"] >= MOST_APART for _, options in sent)


def test_tick_outlives_clocks_that_differ():
    """However often beat rings, a tick is not dropped for a minute; yet each one dies, so they pile up no further."""
    ticks = beat_schedule(settings_from({"POSTILJON_DISPATCH_INTERVAL_SECONDS": "0.5"}))

    assert all(MOST_APART <= each["options"]["expires"] < 3600 for each in ticks.values())
    assert all(each["options"]["expires"] >= each["schedule"] for each in ticks.values())

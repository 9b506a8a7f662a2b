"""The express queue on a real broker, with the options of the app: it passes what waits, and starves nobody."""

from uuid import uuid4

import pytest
from kombu import Connection, Queue
from kombu.entity import Exchange

from pipeline.embedded.valkey import EmbeddedValkey
from pipeline.services.ports import Chunk
from pipeline.settings import settings_from
from workers.app import app, configuration
from workers.publisher import CeleryPublisher, most_bytes

QUEUES = ("send", "express")
"""As the sending workers name them."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey") / "server") as server:
        yield server


@pytest.fixture
def settings(broker, monkeypatch):
    monkeypatch.setenv("POSTILJON_BROKER_URL", broker.url)
    return settings_from({"POSTILJON_BROKER_URL": broker.url})


@pytest.fixture
def connection(settings):
    options = configuration(settings)["broker_transport_options"]
    with Connection(settings.require_broker_url(), transport_options=options) as connection:
        yield connection
        for name in QUEUES:
            connection.default_channel.client.delete(name)


def queues():
    return [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES]


def publish(connection, name, count):
    producer = connection.Producer()
    for _ in range(count):
        producer.publish(name, routing_key=name, exchange=name, declare=queues())


def take_one_by_one(connection, count):
    """Take messages as a worker process with prefetch 1 does: the next one after the last is done."""
    taken = []

    def take(body, message):
        taken.append(body)
        message.ack()

    with connection.Consumer(queues(), callbacks=[take], prefetch_count=1):
        while len(taken) < count:
            connection.drain_events(timeout=10)
    return taken


def test_an_express_message_overtakes_eight_waiting_chunks(connection):
    """A message on the express queue waits for one chunk at most, though eight were there before it."""
    publish(connection, "send", 8)
    publish(connection, "express", 1)

    assert "express" in take_one_by_one(connection, 9)[:2]


def test_express_messages_starve_no_chunk(connection):
    """While both queues have messages the worker takes one from each in turn."""
    publish(connection, "express", 6)
    publish(connection, "send", 6)

    taken = take_one_by_one(connection, 12)

    assert all(taken[place] != taken[place + 1] for place in range(0, 12, 2))


@pytest.mark.parametrize(("is_express", "name"), [(True, "express"), (False, "send")])
def test_a_chunk_goes_to_its_queue(connection, settings, monkeypatch, is_express, name):
    monkeypatch.setattr(app.conf, "broker_url", settings.require_broker_url())
    chunk = Chunk(
        company_id=uuid4(), company_name="Acme", epoch=1, invoice_ids=(uuid4(),), is_probe=False, is_express=is_express
    )

    CeleryPublisher(most=most_bytes(settings)).publish(chunk)

    client = connection.default_channel.client
    assert [client.llen(each) for each in QUEUES] == [int(each == name) for each in QUEUES]


def test_two_windows_of_single_invoices_fit(connection, settings, monkeypatch):
    """The bound never keeps a window from being published, not even one of messages with one invoice each."""
    monkeypatch.setattr(app.conf, "broker_url", settings.require_broker_url())
    publisher, window = CeleryPublisher(most=most_bytes(settings)), settings.window_chunks * settings.chunk_invoices

    for _ in range(2 * window):
        publisher.publish(
            Chunk(company_id=uuid4(), company_name="A" * 60, epoch=10**9, invoice_ids=(uuid4(),), is_probe=False)
        )

    assert connection.default_channel.client.llen("send") == 2 * window


def test_a_queue_nobody_reads_stays_small(connection, settings, monkeypatch, caplog):
    """However long nobody reads, a queue holds no more than a bound; once it is read it gets messages again."""
    monkeypatch.setattr(app.conf, "broker_url", settings.require_broker_url())
    client = connection.default_channel.client
    most = 200_000
    ids = tuple(uuid4() for _ in range(100))
    chunk = Chunk(company_id=uuid4(), company_name="Acme", epoch=1, invoice_ids=ids, is_probe=False)
    publisher = CeleryPublisher(most=most)

    for _ in range(100):
        publisher.publish(chunk)
    left = client.llen("send")
    held = client.memory_usage("send")
    client.delete("send")
    publisher.publish(chunk)

    assert 10 < left < 100
    assert held < 1.2 * most
    assert client.llen("send") == 1
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["queue_unread"]

"""The same promise with the broker in a container of pytest-celery's own; the workers are as everywhere else."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisContainer,
    RedisTestBroker,
)

from .installation import Installation
from .papers import papers

pytestmark = pytest.mark.docker


@pytest.fixture
def celery_broker_cluster(default_redis_broker: RedisContainer) -> CeleryBrokerCluster:
    """One broker in a container."""
    assert default_redis_broker.ready()
    return CeleryBrokerCluster(RedisTestBroker(default_redis_broker))


@pytest.fixture
def line(celery_broker_cluster: CeleryBrokerCluster, tmp_path) -> Iterator[Installation]:
    """An installation of its own whose bells go through the container."""
    url = celery_broker_cluster[0].config()["host_url"].replace("localhost", "127.0.0.1")
    with Installation(tmp_path / "state", POSTILJON_BROKER_URL=url).running() as whole:
        yield whole


@pytest.fixture
def celery_worker_cluster(line: Installation, celery_setup_app: Celery) -> CeleryWorkerCluster:
    """The workers on the container's broker."""
    nodes = [CeleryTestWorker(node, celery_setup_app) for node in line.workers]
    return CeleryWorkerCluster(*nodes)


def test_emptied_container_costs_seconds(celery_setup: CeleryTestSetup, line: Installation):
    """FLUSHALL of a broker in a container loses none and doubles none."""
    assert celery_setup.ready(ping=False)
    sent = line.submit(papers(300))

    with closing(celery_setup.broker.container.client) as broker:
        line.lose_every_message(broker, sent)

    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)

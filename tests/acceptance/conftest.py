"""pytest-celery's fixtures on real local processes: broker, workers and beat of one supervised installation.

Everything that needs a database, a broker and an operator shares one installation; each test finds it fresh.
"""

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from celery import Celery
from pytest_celery import CeleryBrokerCluster, CeleryTestBroker, CeleryTestWorker, CeleryWorkerCluster

from .installation import Installation


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the machine reaches the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("POSTILJON_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Installation]:
    """The one installation."""
    with Installation(tmp_path_factory.mktemp("installation") / "state").running() as whole:
        yield whole


@pytest.fixture(scope="module")
def keeps_to_the_specification(running: Installation) -> Iterator[None]:
    """Whatever went over the wire in a module keeps to the operator's specification."""
    before = running.operator.violations()["checked"]
    yield
    found = running.operator.violations()
    checked = {kind: found["checked"][kind] - before[kind] for kind in before}
    assert all(checked.values()), f"nothing was checked against the specification: {checked}"
    assert not found["requests"], f"requests of ours break the specification: {found['requests'][:5]}"
    assert not found["answers"], f"answers of the simulator break the specification: {found['answers'][:5]}"
    assert not found["dropped"]


@pytest.fixture
def line(running: Installation, keeps_to_the_specification: None) -> Installation:
    """The installation, everything up and nothing left to do."""
    running.fresh()
    return running


@pytest.fixture
def celery_broker_cluster(line: Installation) -> CeleryBrokerCluster:
    """The embedded Valkey."""
    return CeleryBrokerCluster(CeleryTestBroker(line.valkey))


@pytest.fixture
def celery_backend_cluster() -> None:
    """There is none: the truth is in PostgreSQL."""
    return


@pytest.fixture
def celery_worker_cluster(line: Installation, celery_setup_app: Celery) -> CeleryWorkerCluster:
    """The workers for sending and for the pump, as users run them."""
    nodes = [CeleryTestWorker(node, celery_setup_app) for node in line.workers]
    return CeleryWorkerCluster(*nodes)


@pytest.fixture
def celery_setup_app(celery_setup_cls, celery_setup_config, celery_setup_name) -> Iterator[Celery]:
    """pytest-celery's app, closed at the end."""
    app = celery_setup_cls.create_setup_app(
        celery_setup_config=celery_setup_config, celery_setup_app_name=celery_setup_name
    )
    yield app
    app.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `docker` need an engine: skipped with a reason in the summary, or an error with REQUIRE_DOCKER=1."""
    if item.get_closest_marker("docker") is None:
        return
    missing = _why_no_engine()
    if missing is None:
        return
    if os.environ.get("REQUIRE_DOCKER") == "1":
        pytest.fail(f"REQUIRE_DOCKER=1 and no container engine answers: {missing}", pytrace=False)
    pytest.skip(f"NOT TESTED, no container engine answers ({missing}); REQUIRE_DOCKER=1 makes this an error")


def _why_no_engine() -> str | None:
    # Asked by a socket of our own: the Docker library leaves one open when nobody answers.
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    parts = urlsplit(host)
    family = socket.AF_UNIX if parts.scheme == "unix" else socket.AF_INET
    with socket.socket(family) as door:
        door.settimeout(5)
        try:
            door.connect(parts.path if parts.scheme == "unix" else (parts.hostname, parts.port or 2375))
        except OSError as exc:
            return f"{host}: {exc.strerror or exc}"
    return None

"""What every test may ask for: a database of its own on a real PostgreSQL, and a vault. No setting leaks in from outside."""

import os
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.storage import schema
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault, new_key

TEMPLATE = "postiljon_template"

# A busy machine holds an example up for longer than any limit on its time, and luck must not decide about a run:
# the same examples each time. `--hypothesis-profile=default` tries others.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the settings of the machine the tests run on."""
    for name in os.environ:
        if name.startswith("POSTILJON_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole run, with a migrated database to copy."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "server", durable=False)
    with server:
        execute(server, f"CREATE DATABASE {TEMPLATE}")
        template = Database(url_of(server, TEMPLATE))
        schema.upgrade(template.engine)
        template.close()
        yield server


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The SQLAlchemy address of a migrated, empty database that only this test uses."""
    name = f"test_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield url_of(postgres_server, name)
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The product's own way into `database_url`."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def vault() -> Vault:
    """A vault with a fresh key."""
    return Vault([new_key()])


def url_of(server: EmbeddedPostgres, name: str) -> str:
    return f"{server.url.rpartition('/')[0]}/{name}"


def execute(server: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement.encode())

"""Brings a database to the tables of this version, and tells how far it is. Run by hand or once per deploy."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from pipeline.storage.database import translated
from pipeline.storage.tables import METADATA

MIGRATION_LOCK = 4_711_001
"""Advisory lock, so that two deploys at once migrate one after the other."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> str:
    """Bring the database to the newest revision and return it; safe to call twice and from two places.

    Raises: ServiceUnavailableError when the database cannot be reached.
    """
    with translated(), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        command.upgrade(_config(connection), "head")
    return newest_revision()


def newest_revision() -> str:
    """Return the revision that this version's code needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def current_revision(engine: Engine) -> str | None:
    """Return the revision the database is at, None for an empty one."""
    with translated(), engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def drift(engine: Engine) -> list[str]:
    """List where tables.py and the migrated database differ; empty when they agree."""
    with translated(), engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    return [str(difference) for difference in differences]

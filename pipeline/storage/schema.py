"""Brings a database to the tables of this version, and tells how far it is. Run by hand or once per deploy."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from pipeline.domain.state import TRANSITIONS
from pipeline.storage.case_tables import METADATA
from pipeline.storage.database import translated

MIGRATION_LOCK = 4_711_001
"""Advisory lock, so that two deploys at once migrate one after the other."""

DRAFT = "drift_draft"
MOVES = text("SELECT source, target FROM transition")
RULES = text("""
    SELECT t.relname AS owner, c.conname AS name, pg_get_constraintdef(c.oid) AS rule FROM pg_constraint AS c
    JOIN pg_class AS t ON t.oid = c.conrelid WHERE t.relnamespace = CAST(CAST(:schema AS text) AS regnamespace)
        AND t.relname <> 'alembic_version'
    UNION ALL
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = CAST(:schema AS text) AND tablename <> 'alembic_version'
""")


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
    """List where tables.py and the table of moves differ from the migrated database; empty when they agree."""
    # An engine of its own: SQLAlchemy reads some of PostgreSQL's own columns in their text form only.
    with translated(), create_engine(engine.url, poolclass=NullPool).connect() as connection:
        tables = [str(each) for each in compare_metadata(MigrationContext.configure(connection), METADATA)]
        moves = {(row.source, row.target) for row in connection.execute(MOVES)}
        migrated = _rules(connection, "public")
        # Alembic does not compare CHECK constraints, nor the WHERE of an index: the tables are made once more beside
        # the migrated ones and both described by PostgreSQL itself. Nothing of it is committed.
        connection.execute(text(f"CREATE SCHEMA {DRAFT}"))
        connection.execute(text(f"SET LOCAL search_path TO {DRAFT}"))
        METADATA.create_all(connection, checkfirst=False)
        drafted = _rules(connection, DRAFT)
        connection.rollback()
    legal = {(source.value, target.value) for source, targets in TRANSITIONS.items() for target in targets}
    return [
        *tables,
        *_differences("rule", drafted, migrated),
        *_differences(
            "move", {f"{one} to {other}" for one, other in legal}, {f"{one} to {other}" for one, other in moves}
        ),
    ]


def _rules(connection: Connection, namespace: str) -> set[str]:
    rows = connection.execute(RULES, {"schema": namespace})
    return {f"{row.owner} {row.name}: {row.rule}".replace(f"{namespace}.", "") for row in rows}


def _differences(what: str, code: set[str], migrated: set[str]) -> list[str]:
    return [
        *(f"{what} only in the code: {each}" for each in sorted(code - migrated)),
        *(f"{what} only in the migrations: {each}" for each in sorted(migrated - code)),
    ]

"""Brings a database to the tables of this version, and tells how far it is. Run by hand or once per deploy."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from pipeline.domain.state import TRANSITIONS
from pipeline.storage.database import translated
from pipeline.storage.every_table import METADATA
from pipeline.storage.partitions import OPEN_PART, make_months, make_open_part

MIGRATION_LOCK = 4_711_001
"""Advisory lock, so that two deploys at once migrate one after the other."""

DRAFT = "drift_draft"
NOW = text("SELECT now()")
MOVES = text("SELECT source, target FROM transition")
RULES = text("""
    SELECT t.relname AS owner, c.conname AS name, pg_get_constraintdef(c.oid) AS rule FROM pg_constraint AS c
    JOIN pg_class AS t ON t.oid = c.conrelid WHERE t.relnamespace = CAST(CAST(:schema AS text) AS regnamespace)
        AND t.relname <> 'alembic_version' AND NOT t.relname = ANY(CAST(:parts AS text[]))
    UNION ALL
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = CAST(:schema AS text) AND tablename <> 'alembic_version'
        AND NOT tablename = ANY(CAST(:parts AS text[]))
""")
# Parts of tables come and go with the months; the one for open work alone is described in the code.
PARTS = text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")


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
        make_months(connection, now=connection.execute(NOW).scalar_one())
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
        parts = set(connection.execute(PARTS).scalars())
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or name not in parts}
        )
        tables = [str(each) for each in compare_metadata(context, METADATA)]
        moves = {(row.source, row.target) for row in connection.execute(MOVES)}
        migrated = _rules(connection, "public", parts)
        # Alembic does not compare CHECK constraints, nor the WHERE of an index: the tables are made once more beside
        # the migrated ones and both described by PostgreSQL itself. Nothing of it is committed.
        connection.execute(text(f"CREATE SCHEMA {DRAFT}"))
        connection.execute(text(f"SET LOCAL search_path TO {DRAFT}"))
        METADATA.create_all(connection, checkfirst=False)
        make_open_part(connection)
        drafted = _rules(connection, DRAFT, parts)
        connection.rollback()
    legal = {(source.value, target.value) for source, targets in TRANSITIONS.items() for target in targets}
    return [
        *tables,
        *_differences("rule", drafted, migrated),
        *_differences(
            "move", {f"{one} to {other}" for one, other in legal}, {f"{one} to {other}" for one, other in moves}
        ),
    ]


def _rules(connection: Connection, namespace: str, parts: set[str]) -> set[str]:
    rows = connection.execute(RULES, {"schema": namespace, "parts": sorted(parts - {OPEN_PART})})
    return {f"{row.owner} {row.name}: {row.rule}".replace(f"{namespace}.", "") for row in rows}


def _differences(what: str, code: set[str], migrated: set[str]) -> list[str]:
    return [
        *(f"{what} only in the code: {each}" for each in sorted(code - migrated)),
        *(f"{what} only in the migrations: {each}" for each in sorted(migrated - code)),
    ]

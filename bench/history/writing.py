"""Writes a history into a migrated database, in pieces of time, and brings it to more when it is asked again.

The triggers and foreign keys are left out (session_replication_role), so what is written must be right by itself: the
counters are written beside the invoices. For a database of its own only; needs a superuser of PostgreSQL.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import psycopg
from psycopg import errors as pg
from sqlalchemy.engine import make_url

from bench.history import layout, shape
from pipeline.domain.credentials import CompanyCredentials
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import save_company
from pipeline.storage.database import Database
from pipeline.storage.tallies import fold
from pipeline.storage.vault import Vault

NAMESPACE = UUID("0a8f5f9e-5a3e-5f53-9f0e-1f8f6c1f5a10")
PIECE = 100_000
"""Invoices of one transaction."""
MUCH = 50_000
"""From so many on it is cheaper to make the indexes anew."""
FOLD_PIECE = 50_000
INDEXES = """
    SELECT c.relname AS name, replace(pg_get_indexdef(c.oid), ' ON ONLY ', ' ON ') AS definition
    FROM pg_class AS whole
    CROSS JOIN LATERAL (SELECT whole.oid UNION SELECT relid FROM pg_partition_tree(whole.oid)) AS t (oid)
    JOIN pg_index AS i ON i.indrelid = t.oid JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE whole.relname = ANY(%s) AND whole.relnamespace = 'public'::regnamespace AND NOT c.relispartition
        AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = c.oid)
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What history is wanted. The same plan and seed give the same invoices, step by step or at once."""

    seed: int = 7
    until: datetime
    """The last month of the history is over by then; QUIET_DAYS before now, so that nothing of it is still open."""
    companies: int = shape.COMPANIES
    months: int = shape.MONTHS
    documents: int = 1_000_000
    """Invoices beyond so many share the documents of the first."""
    document_bytes: int = 0
    """Of filling in each document."""
    jobs: int = 2

    @property
    def begins_at(self) -> datetime:
        """The first of the first month."""
        last = self.until.year * 12 + self.until.month - 1 - self.months
        return datetime(last // 12, last % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a step took."""

    invoices: int
    seconds: float
    index_seconds: float
    tidy_seconds: float


def plan_before(now: datetime, **wanted: Any) -> Plan:
    """Return a plan for a history that is over at an instant."""
    return Plan(until=now - timedelta(days=shape.QUIET_DAYS), **wanted)


def add_companies(database: Database, vault: Vault, plan: Plan) -> list[UUID]:
    """Add the companies of a plan the way the product does; return their ids, the largest first."""
    ids = [uuid5(NAMESPACE, f"{plan.seed}:{number}") for number in range(1, plan.companies + 1)]
    with database.transaction() as session:
        for number, company_id in enumerate(ids, start=1):
            credentials = CompanyCredentials(company_id=company_id, user_api_key="u" * 36, vendor_api_key="v" * 36)
            save_company(session, credentials, name=f"Yritys {number:03} Oy", vault=vault, now=plan.begins_at)
    return ids


def write_history(database: Database, plan: Plan, *, first: int, last: int) -> Written:
    """Write the invoices numbered `first` to `last` - 1; the companies are there, the earlier invoices too."""
    url = make_url(database.engine.url).set(drivername="postgresql").render_as_string(hide_password=False)
    began = time.monotonic()
    if first == 0:
        with database.transaction() as session:
            layout.make_past_months(session, since=plan.begins_at, now=read_clock(session))
    with _connect(url) as connection:
        _prepare(connection, plan)
        connection.execute(_filled(layout.BATCHES, plan))
        with _without_indexes(connection, much=last - first >= MUCH) as timing:
            pieces = [(begin, min(begin + PIECE, last)) for begin in range(first, last, PIECE)]
            with ThreadPoolExecutor(plan.jobs) as pool:
                list(pool.map(lambda piece: _write_piece(url, plan, piece, span=(first, last)), pieces))
        connection.execute(layout.CLOSE_BATCHES)
        connection.execute("SELECT setval('epoch', greatest(%s, (SELECT last_value FROM epoch)))", (last // 100 + 2,))
        while _fold(database):
            pass
        tidied = time.monotonic()
        connection.execute(f"VACUUM (ANALYZE) {', '.join(layout.INDEXED)}, batch, tally, tally_delta")
    ended = time.monotonic()
    return Written(
        invoices=last - first,
        seconds=round(ended - began, 1),
        index_seconds=round(sum(timing), 1),
        tidy_seconds=round(ended - tidied, 1),
    )


def write_backlog(database: Database, plan: Plan, *, first: int, last: int, at: datetime) -> None:
    """Write queued invoices numbered like those of a history, due since an instant."""
    url = make_url(database.engine.url).set(drivername="postgresql").render_as_string(hide_password=False)
    with _connect(url) as connection:
        _prepare(connection, plan)
        with _without_indexes(connection, much=last - first >= MUCH):
            words = {"begin": first, "end": last, "at": at.isoformat()}
            connection.execute(_filled(layout.BACKLOG, plan, **words))
        connection.execute(f"VACUUM (ANALYZE) {', '.join(layout.INDEXED)}")
    while _fold(database):
        pass


def _fold(database: Database) -> bool:
    with database.transaction() as session:
        return fold(session, limit=FOLD_PIECE) > 0


@contextmanager
def _connect(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        yield connection


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any], *, much: bool) -> Iterator[list[float]]:
    timing: list[float] = []
    found = connection.execute(INDEXES, (list(layout.INDEXED),)).fetchall() if much else []
    dropped = [definition for name, definition in found if _drop(connection, name)]
    try:
        yield timing
    finally:
        began = time.monotonic()
        for definition in dropped:
            connection.execute(definition)
        timing.append(time.monotonic() - began)


def _drop(connection: psycopg.Connection[Any], name: str) -> bool:
    try:
        connection.execute(f'DROP INDEX "{name}"')
    except pg.DependentObjectsStillExist:
        return False
    return True


def _write_piece(url: str, plan: Plan, piece: tuple[int, int], *, span: tuple[int, int]) -> None:
    with _connect(url) as connection, connection.transaction():
        _prepare(connection, plan)
        words = {"begin": piece[0], "end": piece[1], "first": span[0], "last": span[1]}
        for statement in (layout.DRAW, "ANALYZE drawn", *layout.STATEMENTS):
            connection.execute(_filled(statement, plan, **words))


def _prepare(connection: psycopg.Connection[Any], plan: Plan) -> None:
    connection.execute(layout.STEPS)
    ids = [(number, uuid5(NAMESPACE, f"{plan.seed}:{number}")) for number in range(1, plan.companies + 1)]
    companies = [(number, company, f"Yritys {number:03} Oy") for number, company in ids]
    ways = shape.EVERY_WAY
    rows: dict[str, Sequence[tuple[object, ...]]] = {
        "company_of": companies,
        "way_of": [
            (no, way.name, way.state.value, way.reason, way.uploads, way.tries, way.was_accepted, way.has_case)
            for no, way in enumerate(ways, start=1)
        ],
        "event_step": [
            (way.name, no, each.kind, each.source and each.source.value, each.target.value, each.cause, each.at)
            for way in ways
            for no, each in enumerate(way.events, start=1)
        ],
        "attempt_step": [
            (way.name, no, each.kind, each.outcome, each.http_status, each.error_code, each.message)
            for way in ways
            for no, each in enumerate(way.attempts, start=1)
        ],
        "action_step": [
            (way.name, no, each.type, each.key, each.channel, each.message, each.at)
            for way in ways
            for no, each in enumerate(way.actions, start=1)
        ],
    }
    with connection.cursor() as cursor:
        for table, content in rows.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in content:
                    copy.write_row(row)
    connection.execute(f"ANALYZE {', '.join(rows)}")


def _filled(statement: str, plan: Plan, **words: object) -> str:
    """Put numbers of ours into a statement; nothing of it comes from outside."""
    shares = "{" + ",".join(f"{bound:.9f}" for bound in shape.cumulated_shares(plan.companies)) + "}"
    ways = "{" + ",".join(str(bound) for bound in shape.cumulated_ways()) + "}"
    given = {
        "seed": plan.seed,
        "months": plan.months,
        "documents": plan.documents,
        "document_bytes": plan.document_bytes,
        "begins_at": plan.begins_at.isoformat(),
        "night": shape.NIGHT_SHARE,
        "pair_every": shape.PAIR_EVERY,
        "pair_place": shape.PAIR_PLACE,
        "superseded": len(shape.WAYS) + 1,
        "shares": f"'{shares}'",
        "ways": f"'{ways}'",
        "epoch": 1,
        "key": layout.KEY.format(seed=plan.seed, g="g"),
        "earlier_key": layout.KEY.format(seed=plan.seed, g="(g - 1)"),
        "later_key": layout.KEY.format(seed=plan.seed, g="(g + 1)"),
    }
    return statement.format(**(given | words))

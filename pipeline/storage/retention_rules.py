"""Which rows must live, in SQL, and which parts have any that need not. Counts by the rules; changes nothing.

A record lives by its company's months and its state, an attempt or event as long as its invoice, a document as long as
an invoice that still wants it, or a way out under way.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlmodel import Session

from pipeline.domain.retention import Bounds, Keep, bounds_of
from pipeline.storage.case_tables import LIVE_WAY_SQL
from pipeline.storage.partitions import months_of

ORDER = ("document", "invoice", "attempt", "event")
"""Documents go before records, and what belongs to a record after it."""

_RULE = """
    rule AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:companies AS uuid[]), CAST(:delivered AS int[]), CAST(:failed AS int[]),
            CAST(:documents AS int[])) AS rule (company_id, delivered, failed, documents))
"""
# What belongs to a company that came after the rules were read has none, and lives.
_GOES = """
    coalesce(i.shelf > 0 AND i.shelf < CASE WHEN i.state = 'delivered' THEN rule.delivered ELSE rule.failed END, false)
"""
_DOCUMENT_GOES = f"""
    ({_GOES} OR coalesce(i.shelf > 0 AND i.state NOT IN ('failed', 'refused') AND i.shelf < rule.documents, false))
"""
# What began or happened in a month belongs to nothing submitted later or put away before; a day and a month more are
# for clocks that are put back. With constants, so that only the later parts are read, by when invoices were submitted.
_RECORDS = f"""
    WITH {_RULE}, living AS (
        SELECT i.id FROM invoice AS i LEFT JOIN rule USING (company_id) WHERE NOT {_GOES}
            AND (i.shelf = 0 OR i.shelf >= {{since}}) AND i.submitted_at < '{{until}}')
"""
_DOCUMENTS = f"""
    WITH {_RULE}, wanted AS (
        SELECT i.document_sha256 AS sha256, i.document_at AS at FROM invoice AS i LEFT JOIN rule USING (company_id)
        WHERE NOT {_DOCUMENT_GOES}
        UNION ALL SELECT document_sha256, NULL FROM way_out WHERE document_sha256 IS NOT NULL AND {LIVE_WAY_SQL})
"""
_OF_INVOICE = f"{_RECORDS} SELECT t.* FROM {{part}} AS t WHERE EXISTS (SELECT 1 FROM living WHERE id = t.invoice_id)"
SURVIVORS = {
    "invoice": f"WITH {_RULE} SELECT i.* FROM {{part}} AS i LEFT JOIN rule USING (company_id) WHERE NOT {_GOES}",
    "attempt": _OF_INVOICE,
    "event": _OF_INVOICE,
    # Where an invoice of old knows not when its document came, every copy of it is wanted.
    "document": f"""{_DOCUMENTS} SELECT t.* FROM {{part}} AS t WHERE EXISTS (
        SELECT 1 FROM wanted WHERE wanted.sha256 = t.sha256 AND (wanted.at IS NULL OR wanted.at = t.created_at))""",
}
GONE = f"""
    WITH {_RULE} SELECT i.id, i.company_id, i.batch_id, i.state FROM {{part}} AS i LEFT JOIN rule USING (company_id)
    WHERE {_GOES}
"""
OWN = text("""
    SELECT id, keep_delivered_months AS delivered, keep_failed_months AS failed, keep_documents_months AS documents
    FROM company ORDER BY id
""")
MARK = text("SELECT obj_description(CAST(:part AS regclass), 'pg_class')")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What counts for each company at an instant."""

    general: Keep
    own: Mapping[UUID, Keep]
    """Of the companies that have months of their own."""
    bounds: Mapping[UUID, Bounds]
    """Of every company."""

    @property
    def parameters(self) -> dict[str, object]:
        """What the statements of this module take."""
        return {
            "companies": list(self.bounds),
            "delivered": [each.delivered for each in self.bounds.values()],
            "failed": [each.failed for each in self.bounds.values()],
            "documents": [each.documents for each in self.bounds.values()],
        }

    @property
    def mark(self) -> str:
        """A short text that is another one as soon as anything else may go."""
        rows = sorted((str(id_), each.delivered, each.failed, each.documents) for id_, each in self.bounds.items())
        return f"retention {hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}"

    def first_kept(self, table: str) -> int:
        """Return the first month of which nothing of a table can go."""
        return max(
            (each.latest if table == "document" else each.of_records for each in self.bounds.values()), default=0
        )

    def as_object(self) -> dict[str, object]:
        """Return the months as a removal keeps them."""
        return {**vars(self.general), "companies": {str(id_): vars(keep) for id_, keep in self.own.items()}}


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What is to leave one part."""

    table: str
    part: str
    rows: int
    """How many go."""
    kept: int
    """How many stay, in a replacement; with none the whole part goes."""
    states: Mapping[str, int] = field(default_factory=dict)
    """Of invoices, how many go of each state."""

    def as_object(self) -> dict[str, object]:
        """Return it as scripts may rely on it."""
        states = {"states": dict(self.states)} if self.states else {}
        return {"table": self.table, "part": self.part, "rows": self.rows, "kept": self.kept, **states}


def read_rules(session: Session, general: Keep, *, now: datetime) -> Rules:
    """Return the months of the installation and of each company."""
    own = {row.id: Keep(delivered=row.delivered, failed=row.failed, documents=row.documents) for row in _own(session)}
    return Rules(
        general=general,
        own={company_id: keep for company_id, keep in own.items() if keep != Keep()},
        bounds={company_id: bounds_of(keep.within(general), now=now) for company_id, keep in own.items()},
    )


def parts_to_look_at(session: Session, rules: Rules, table: str, *, again: bool = False) -> list[str]:
    """Return the parts that something may leave, the oldest first; those looked at under the same rules not again."""
    connection = session.connection()
    return [
        f"{table}_{year}_{month:02}"
        for year, month in sorted(months_of(connection, table))
        if year * 100 + month < rules.first_kept(table)
        and (again or mark_of(connection, f"{table}_{year}_{month:02}") != rules.mark)
    ]


def survivors_of(table: str, part: str) -> str:
    """Return the statement for the rows of a part that must live; parameters: those of `Rules`."""
    year, month = (int(each) for each in part.split("_")[-2:])
    before = f"{year - 1}12" if month == 1 else f"{year}{month - 1:02}"
    after = f"{year + 1}-01" if month == 12 else f"{year}-{month + 1:02}"  # noqa: PLR2004 - months of a year
    return SURVIVORS[table].format(part=part, since=before, until=f"{after}-02T00:00:00Z")


def count_leaving(session: Session, rules: Rules, table: str, part: str) -> Leaving:
    """Count what leaves a part and what stays."""
    connection = session.connection()
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    survivors = survivors_of(table, part)
    kept = connection.execute(text(_counting(survivors)), rules.parameters).scalar_one()
    states: dict[str, int] = {}
    if table == "invoice":
        states = _states(connection, rules, part)
        return Leaving(table=table, part=part, rows=sum(states.values()), kept=kept, states=states)
    total = connection.execute(text(f"SELECT count(*) FROM {part}")).scalar_one()
    return Leaving(table=table, part=part, rows=total - kept, kept=kept)


def mark_of(connection: Connection, part: str) -> str | None:
    """Return under which rules a part was looked at last."""
    mark: str | None = connection.execute(MARK, {"part": part}).scalar_one()
    return mark


def _own(session: Session) -> Sequence[Row[tuple[UUID, int | None, int | None, int | None]]]:
    return session.connection().execute(OWN).all()


def _states(connection: Connection, rules: Rules, part: str) -> dict[str, int]:
    rows: Sequence[tuple[str, int]] = [
        (row.state, row.n)
        for row in connection.execute(
            text(f"SELECT state, count(*) AS n FROM ({GONE.format(part=part)}) AS gone GROUP BY state ORDER BY state"),
            rules.parameters,
        )
    ]
    return dict(rows)


def _counting(survivors: str) -> str:
    return f"SELECT count(*) FROM ({survivors}) AS survivors"

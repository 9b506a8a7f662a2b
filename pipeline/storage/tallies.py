"""The maintained counters: read together with what is not yet folded in, and folded. The triggers that feed them are
in migration 0002. Nothing here scans invoices, but for the one batch whose balance is asked for.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import OPEN_STATES, State

NO_BATCH = 0

_BOTH = """
    SELECT subject, company_id, batch_id, name, n FROM tally
    UNION ALL SELECT subject, company_id, batch_id, name, n FROM tally_delta
"""
BY_COMPANY = text(f"""
    SELECT subject, company_id, 0 AS batch_id, name, CAST(sum(n) AS bigint) AS n FROM ({_BOTH}) AS b
    WHERE subject <> 'deadline' GROUP BY subject, company_id, name HAVING sum(n) <> 0
""")
BY_BATCH = text(f"""
    SELECT subject, company_id, batch_id, name, CAST(sum(n) AS bigint) AS n FROM ({_BOTH}) AS b
    WHERE subject <> 'deadline' GROUP BY subject, company_id, batch_id, name HAVING sum(n) <> 0
""")
LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('postiljon.fold'))")
FOLD = text("""
    WITH taken AS (
        DELETE FROM tally_delta WHERE id IN (SELECT id FROM tally_delta ORDER BY id LIMIT :limit)
        RETURNING subject, company_id, batch_id, name, n
    ), summed AS (
        INSERT INTO tally AS t (subject, company_id, batch_id, name, n)
        SELECT subject, company_id, batch_id, name, sum(n) FROM taken GROUP BY 1, 2, 3, 4
        ON CONFLICT (subject, company_id, batch_id, name) DO UPDATE SET n = t.n + excluded.n
    )
    SELECT count(*) AS folded, array_agg(DISTINCT company_id) AS companies FROM taken
""")
REMOVE_ZEROS = text("""
    DELETE FROM tally WHERE subject IN ('invoice', 'case', 'deadline')
        AND company_id = ANY(CAST(:companies AS uuid[])) AND n = 0
""")
BATCH = text("""
    SELECT (SELECT count(*) FROM invoice WHERE batch_id = :batch) AS total,
        (SELECT coalesce(jsonb_object_agg(name, n), '{}') FROM (
            SELECT name, sum(n) AS n FROM (
                SELECT name, n FROM tally
                WHERE subject = 'invoice' AND batch_id = :batch
                    AND company_id = (SELECT company_id FROM batch WHERE id = :batch)
                UNION ALL SELECT name, n FROM tally_delta WHERE subject = 'invoice' AND batch_id = :batch
            ) AS b GROUP BY name) AS s) AS states
""")
OLDEST_STATES = tuple(state for state in State if state in OPEN_STATES or state is State.HELD)
# Written out with constants, state by state: only so does the planner see that the partial index serves.
OLDEST = text(
    " UNION ALL ".join(
        f"(SELECT state, submitted_at FROM invoice_open WHERE state = '{state.value}' ORDER BY submitted_at LIMIT 1)"
        for state in OLDEST_STATES
    )
)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many invoices (name: a state) or cases (name: status/owner) of a company there are."""

    subject: str
    company_id: UUID
    batch_id: int
    """NO_BATCH for none, and in counts that are not taken batch by batch."""
    name: str
    n: int


@dataclass(frozen=True, kw_only=True)
class Tallies:
    """All counters at one instant."""

    rows: tuple[Tally, ...]

    @cached_property
    def _by_company(self) -> dict[UUID, tuple[Tally, ...]]:
        split: dict[UUID, list[Tally]] = {}
        for row in self.rows:
            split.setdefault(row.company_id, []).append(row)
        return {company_id: tuple(rows) for company_id, rows in split.items()}

    def states(self, company_id: UUID | None = None) -> dict[State, int]:
        """Count the invoices by state, of one company or of all; a state without any has 0."""
        rows = self.rows if company_id is None else self._by_company.get(company_id, ())
        counts = _sum(row for row in rows if row.subject == "invoice")
        return {state: counts[state.value] for state in State}

    def cases(self, status: str, company_id: UUID | None = None) -> dict[str, int]:
        """Count the cases of a status by owner, of one company or of all; an owner without any is left out."""
        rows = self.rows if company_id is None else self._by_company.get(company_id, ())
        wanted = _sum(row for row in rows if row.subject == "case")
        split = {tuple(name.split("/", 1)): n for name, n in wanted.items() if n}
        return {owner: n for (each, owner), n in split.items() if each == status}

    def of_company(self, company_id: UUID) -> "Tallies":
        """Return the counters of one company."""
        return Tallies(rows=self._by_company.get(company_id, ()))

    def of_batch(self, batch_id: int) -> "Tallies":
        """Return the counters of one batch; only of tallies read batch by batch."""
        return Tallies(rows=tuple(row for row in self.rows if row.batch_id == batch_id))


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Where the invoices of a batch stand. The parts come from the counters, the total from the invoices themselves."""

    total: int
    delivered: int
    failed: int
    """Refused ones too."""
    open: int
    held: int
    cancelled: int
    superseded: int

    @property
    def is_balanced(self) -> bool:
        """Whether every invoice of the batch is in exactly one part."""
        parts = (self.delivered, self.failed, self.open, self.held, self.cancelled, self.superseded)
        return self.total == sum(parts)


def read_tallies(session: Session, *, by_batch: bool = False) -> Tallies:
    """Return all counters as of this statement; cheap however long the history is."""
    rows = session.connection().execute(BY_BATCH if by_batch else BY_COMPANY)
    return Tallies(
        rows=tuple(
            Tally(subject=row.subject, company_id=row.company_id, batch_id=row.batch_id, name=row.name, n=row.n)
            for row in rows
        )
    )


def fold(session: Session, *, limit: int = 50_000) -> int:
    """Add up to `limit` changes to their counters; return how many. 0 beside somebody else who folds."""
    connection = session.connection()
    if not connection.execute(LOCK).scalar_one():
        return 0
    row = connection.execute(FOLD, {"limit": limit}).one()
    if row.folded:
        connection.execute(REMOVE_ZEROS, {"companies": row.companies})
    return int(row.folded)


def batch_balances(session: Session, batch_id: int) -> Balance:
    """Return where the invoices of a batch stand; an unknown batch has none."""
    row = session.connection().execute(BATCH, {"batch": batch_id}).one()
    counts = Counter({State(name): int(n) for name, n in row.states.items()})
    return Balance(
        total=row.total,
        delivered=counts[State.DELIVERED],
        failed=counts[State.FAILED] + counts[State.REFUSED],
        open=sum(counts[state] for state in OPEN_STATES),
        held=counts[State.HELD],
        cancelled=counts[State.CANCELLED],
        superseded=counts[State.SUPERSEDED],
    )


def read_oldest(session: Session) -> dict[State, datetime]:
    """Return for every open state when its oldest invoice was submitted; states without any are left out."""
    return {State(row.state): row.submitted_at for row in session.connection().execute(OLDEST)}


def _sum(rows: Iterable[Tally]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.name] += row.n
    return counts

"""Whether a run has come to rest, and what it took: for the commands that prove a run against the operator's ledger.

Scans everything, so for installations as small as a demo.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.state import OPEN_STATES, State
from pipeline.storage.batches import read_batches
from pipeline.storage.tallies import batch_balances, read_tallies

UNSETTLED = text("""
    SELECT (SELECT count(*) FROM invoice_open WHERE state = ANY(:open) OR route_at IS NOT NULL)
        + (SELECT count(*) FROM way_out WHERE status IN ('planned', 'begun', 'unclear'))
        + (SELECT count(*) FROM route_case WHERE decide_at IS NOT NULL)
""")
INVOICES = text("SELECT id, state, supersedes, document_sha256 FROM invoice")
DONE_REROUTES = text("""
    SELECT invoice_id, count(*) AS n FROM way_out
    WHERE status = 'done' AND kind IN ('einvoice', 'email', 'print') GROUP BY invoice_id
""")
STATES = text(
    "SELECT id, state FROM invoice WHERE cardinality(CAST(:ids AS uuid[])) = 0 OR id = ANY(CAST(:ids AS uuid[]))"
)
CASES = text("SELECT owner, status, count(*) AS n FROM route_case GROUP BY owner, status")
HELD_FOR_COMPANY = text("SELECT count(*) FROM invoice_open WHERE state = 'held' AND held_for = 'company'")
P95 = text("""
    SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM accepted_at - submitted_at))
    FROM invoice WHERE accepted_at IS NOT NULL
""")
BATCHES = text("SELECT id FROM batch ORDER BY id")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One invoice as we keep it."""

    state: State
    supersedes: UUID | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Standings:
    """Everything a run left behind."""

    invoices: dict[UUID, Kept]
    done_reroutes: Counter[UUID]
    """By invoice, how many reroutes of ours were carried out."""
    cases: Counter[tuple[str, str]]
    """By owner and status."""


def count_unsettled(session: Session) -> int:
    """Count what is still to change without a person: open invoices, failures without a case, ways out on the way."""
    states = [state.value for state in OPEN_STATES]
    return int(session.connection().execute(UNSETTLED, {"open": states}).scalar_one())


def count_held_for_company(session: Session) -> int:
    """Count what goes on by itself when its company is let in again."""
    return int(session.connection().execute(HELD_FOR_COMPANY).scalar_one())


def read_states(session: Session, ids: Sequence[UUID] = ()) -> dict[UUID, State]:
    """Return the state of the invoices named, or of every one."""
    rows = session.connection().execute(STATES, {"ids": list(ids)})
    return {row.id: State(row.state) for row in rows}


def read_p95_seconds(session: Session) -> float | None:
    """Return within how many seconds of its submission 95 % of the accepted were accepted; None before the first."""
    value = session.connection().execute(P95).scalar_one()
    return None if value is None else float(value)


def read_standings(session: Session) -> Standings:
    """Return every invoice with its state and lineage, the reroutes carried out, and the cases."""
    connection = session.connection()
    return Standings(
        invoices={
            row.id: Kept(state=State(row.state), supersedes=row.supersedes, sha256=row.document_sha256.hex())
            for row in connection.execute(INVOICES)
        },
        done_reroutes=Counter({row.invoice_id: row.n for row in connection.execute(DONE_REROUTES)}),
        cases=Counter({(row.owner, row.status): row.n for row in connection.execute(CASES)}),
    )


def is_balanced(session: Session, standings: Standings) -> bool:
    """Tell whether every batch adds up, and the maintained counters equal a count of the invoices themselves."""
    batches = [row.id for row in session.connection().execute(BATCHES)]
    counted = Counter(kept.state for kept in standings.invoices.values())
    kept_count = Counter(read_tallies(session).states())
    # Three books: the invoices themselves, the counters by state, and the batch's own.
    own = {each.id: each.balance for each in read_batches(session, batches)}
    return +counted == +kept_count and all(
        (balance := batch_balances(session, each)).is_balanced and balance == own[each] for each in batches
    )

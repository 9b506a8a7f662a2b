"""What the dispatcher hands out: who has due work, what is in flight, picking what is due, stamping it.

Every statement finds its rows by an index and stops at a number: a tick costs the same beside a backlog of 100 and of
100,000. Who gets how much is decided elsewhere.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlmodel import Session

from pipeline.domain.state import State

DUE = "state IN ('queued', 'waiting', 'in_doubt') AND due_at <= :now"
# What is merely counted has an order too: without it, beside one company's 100,000 the planner looks for another's few
# by reading all of them, in the hope to meet enough early.
IN_ORDER = "ORDER BY due_at"

# A claimed probe keeps the state in_doubt; the epoch it was begun under tells that a worker has it.
COUNT_IN_FLIGHT = text("""
    SELECT company_id, count(*) AS whole, count(*) FILTER (WHERE NOT begun) AS on_the_way,
        count(*) FILTER (WHERE NOT begun OR changed_at > :since) AS fresh
    FROM (
        SELECT company_id, changed_at, state = 'sending' OR (state = 'in_doubt' AND begun_epoch = epoch) AS begun
        FROM invoice_open WHERE lease_until > :now) AS flying
    GROUP BY company_id
""")
FIND_CONTENDERS = text(f"""
    SELECT company.id, name, weight, cap, deficit, check_at > :now AS is_on_trial, due.backlog
    FROM company CROSS JOIN LATERAL (
        SELECT count(*) AS backlog FROM (
            SELECT 1 FROM invoice_open WHERE company_id = company.id AND {DUE} {IN_ORDER} LIMIT :little) AS few) AS due
    WHERE hold_reason IS NULL AND (due.backlog > 0 OR deficit <> 0)
""")
COUNT_BACKLOGS = text(f"""
    SELECT named.id, (
        SELECT count(*) FROM (
            SELECT 1 FROM invoice_open WHERE company_id = named.id AND {DUE} {IN_ORDER} LIMIT named.most) AS first
    ) AS backlog FROM unnest(CAST(:companies AS uuid[]), CAST(:most AS bigint[])) AS named(id, most)
""")
PICKED = "SELECT id, company_id, size, state, unfinished FROM invoice_open"
NAMED = "FROM unnest(CAST(:companies AS uuid[]), CAST(:shares AS bigint[])) AS named(id, share)"
# Two statements, each in the order of its index: one ordered by both would sort the whole backlog. The first passes
# over what is not due yet by leaps, from one priority and deadline to the next (skip scan, PostgreSQL 18).
PICK_URGENT = text(f"""
    SELECT picked.* {NAMED} CROSS JOIN LATERAL (
        {PICKED} WHERE company_id = named.id AND (deadline IS NOT NULL OR priority > 0) AND {DUE}
        ORDER BY priority DESC, deadline, due_at LIMIT named.share FOR UPDATE SKIP LOCKED) AS picked
""")
PICK_OTHERS = text(f"""
    SELECT picked.* {NAMED} CROSS JOIN LATERAL (
        {PICKED} WHERE company_id = named.id AND deadline IS NULL AND priority = 0 AND {DUE}
        ORDER BY due_at LIMIT named.share FOR UPDATE SKIP LOCKED) AS picked
""")
PICK_DOUBT = text(f"""
    {PICKED} WHERE company_id = ANY(:companies) AND state = 'in_doubt' AND {DUE}
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
""")
# A company that somebody else has locked keeps its deficit: a fraction of an invoice is not worth waiting for.
SAVE_DEFICITS = text("""
    UPDATE company SET deficit = free.given FROM (
        SELECT company.id, named.given FROM company
        JOIN unnest(CAST(:companies AS uuid[]), CAST(:deficits AS float8[])) AS named(id, given) USING (id)
        ORDER BY company.id FOR NO KEY UPDATE OF company SKIP LOCKED) AS free
    WHERE company.id = free.id
""")
NEXT_EPOCHS = text("SELECT nextval('epoch') FROM generate_series(1, :count)")
# What was due and not handed out (an open circuit, a limit, no worker) was not tried: that time is given back.
STAMP = text("""
    UPDATE invoice_open AS invoice SET epoch = named.epoch, lease_until = :until, due_at = :until,
        give_up_at = give_up_at + greatest(CAST(:now AS timestamptz) - due_at, interval '0')
    FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[])) AS named(id, epoch)
    WHERE invoice.id = named.id AND shelf = 0
""")


@dataclass(frozen=True, kw_only=True)
class InFlight:
    """Invoices of a company that workers have, or that are on their way to them."""

    whole: int
    fresh: int
    """Of these, what may still wait for its turn at the gate: on its way, or claimed within the horizon."""
    on_the_way: int
    """Of these, what no worker has begun to upload or to ask about."""

    def plus(self, other: "InFlight") -> "InFlight":
        """Return both together."""
        return InFlight(
            whole=self.whole + other.whole,
            fresh=self.fresh + other.fresh,
            on_the_way=self.on_the_way + other.on_the_way,
        )


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A company that has due work, or a deficit from when it had."""

    id: UUID
    name: str
    weight: float
    cap: int | None
    deficit: float
    backlog: int
    """Due invoices, counted up to a number."""
    is_on_trial: bool = False
    """It was held a moment ago, and the operator has not let it in since (companies.TRIAL)."""


@dataclass(frozen=True, kw_only=True)
class DueInvoice:
    """An invoice that the dispatcher has locked."""

    id: UUID
    company_id: UUID
    size: int
    state: State
    unfinished: int
    """How often its processing was begun and nobody lived to tell the end."""


def count_in_flight(session: Session, *, now: datetime, horizon: timedelta) -> dict[UUID, InFlight]:
    """Count by company the invoices that are with workers or on their way to them; companies without are left out."""
    rows = session.connection().execute(COUNT_IN_FLIGHT, {"now": now, "since": now - horizon})
    return {r.company_id: InFlight(whole=r.whole, fresh=r.fresh, on_the_way=r.on_the_way) for r in rows}


def find_contenders(session: Session, *, now: datetime, little: int) -> list[Contender]:
    """Return the companies, none of them held, that have due work, each counted up to `little`."""
    rows = session.connection().execute(FIND_CONTENDERS, {"now": now, "little": little})
    return [
        Contender(
            id=row.id,
            name=row.name,
            weight=row.weight,
            cap=row.cap,
            deficit=row.deficit,
            backlog=row.backlog,
            is_on_trial=bool(row.is_on_trial),
        )
        for row in rows
    ]


def count_backlogs(session: Session, most: Mapping[UUID, int], *, now: datetime) -> dict[UUID, int]:
    """Count the due invoices of companies, each up to a number of its own."""
    if not most:
        return {}
    parameters = {"now": now, "companies": list(most), "most": list(most.values())}
    return {row.id: row.backlog for row in session.connection().execute(COUNT_BACKLOGS, parameters)}


def pick_due(session: Session, shares: Mapping[UUID, int], *, now: datetime) -> list[DueInvoice]:
    """Lock up to each company's share of its due invoices: by priority, then by deadline, then the oldest first."""
    picked = _pick(session, PICK_URGENT, shares, now=now)
    taken = Counter(each.company_id for each in picked)
    return picked + _pick(session, PICK_OTHERS, {key: share - taken[key] for key, share in shares.items()}, now=now)


def pick_doubt(session: Session, companies: Collection[UUID], *, now: datetime) -> DueInvoice | None:
    """Lock the one invoice of some companies that has been in doubt for longest, None if nothing is in doubt."""
    rows = session.connection().execute(PICK_DOUBT, {"now": now, "companies": list(companies)})
    return next((_due(row) for row in rows), None)


def save_deficits(session: Session, deficits: Mapping[UUID, float]) -> None:
    """Keep what companies are owed for the next round; never waits for a lock."""
    if deficits:
        parameters = {"companies": list(deficits), "deficits": list(deficits.values())}
        session.connection().execute(SAVE_DEFICITS, parameters)


def stamp(session: Session, chunks: Sequence[Sequence[UUID]], *, now: datetime, until: datetime) -> list[int]:
    """Give the locked invoices of each chunk a new epoch and a lease until an instant; return the chunks' epochs."""
    connection = session.connection()
    epochs = [int(epoch) for epoch in connection.execute(NEXT_EPOCHS, {"count": len(chunks)}).scalars()]
    stamped = [(each, epoch) for chunk, epoch in zip(chunks, epochs, strict=True) for each in chunk]
    ids, given = [each for each, _ in stamped], [epoch for _, epoch in stamped]
    connection.execute(STAMP, {"ids": ids, "epochs": given, "now": now, "until": until})
    return epochs


def _pick(session: Session, statement: TextClause, shares: Mapping[UUID, int], *, now: datetime) -> list[DueInvoice]:
    wanted = {key: share for key, share in shares.items() if share > 0}
    if not wanted:
        return []
    parameters = {"now": now, "companies": list(wanted), "shares": list(wanted.values())}
    return [_due(row) for row in session.connection().execute(statement, parameters)]


def _due(row: Row[Any]) -> DueInvoice:
    return DueInvoice(
        id=row.id, company_id=row.company_id, size=row.size, state=State(row.state), unfinished=row.unfinished
    )

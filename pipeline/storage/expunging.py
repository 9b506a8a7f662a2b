"""Removing one customer's data from finished invoices for good, with a proof of what was removed.

What stays of an invoice says when it was sent and how it ended, and nothing of to whom or what for. Its UUID stays
used. Everything happens in the caller's transaction: all of it or nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text
from sqlmodel import Session

from pipeline.domain.errors import InvalidInputError, UnknownInvoiceError
from pipeline.domain.state import State
from pipeline.storage.expunging_steps import CASES, ORDERS, SHARED_DOCUMENTS, STEPS, WORD, Step
from pipeline.storage.retention_swap import note_removal, take_removal_lock

OF_CUSTOMER = text("SELECT id FROM invoice WHERE company_id = :company AND buyer_name = :customer ORDER BY id")
OF_IDS = text("SELECT id FROM invoice WHERE company_id = :company AND id = ANY(CAST(:ids AS uuid[])) ORDER BY id")
USED = text("SELECT id FROM invoice_key WHERE id = ANY(CAST(:ids AS uuid[]))")
# What was resent is the same matter under another UUID, before and after.
CHAINS = text("""
    WITH RECURSIVE chain AS (
        SELECT id, supersedes FROM invoice WHERE id = ANY(CAST(:ids AS uuid[]))
        UNION
        SELECT next.id, next.supersedes FROM chain AS c CROSS JOIN LATERAL (
            SELECT id, supersedes FROM invoice WHERE id = c.supersedes
            UNION ALL SELECT id, supersedes FROM invoice WHERE supersedes = c.id) AS next
    )
    SELECT id FROM chain ORDER BY id
""")
HOLD = text("""
    SELECT id, state, shelf, accepted_at FROM invoice WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'expunged', state, state, :cause FROM invoice WHERE id = ANY(CAST(:ids AS uuid[]))
""")
KIND = "expunged"


@dataclass(frozen=True, kw_only=True)
class Open:
    """An invoice that nothing can be expunged of yet."""

    id: UUID
    state: State
    what_to_do: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is to be expunged."""

    company_id: UUID
    ids: tuple[UUID, ...]
    open: tuple[Open, ...]
    """Those that are not finished; while there is one, nothing is removed."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How many rows of a table something was removed of, and the SHA-256 of what that was."""

    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Expunged:
    """What was removed, and under which number that is noted."""

    removal: int
    invoices: int
    tables: Mapping[str, Proof]
    shared_documents: int
    """Documents that stayed, because invoices of others have the same bytes."""


def find_to_expunge(
    session: Session, company_id: UUID, *, customer: str | None = None, ids: Sequence[UUID] = ()
) -> Found:
    """Return the invoices of a customer, or those named, with what was resent of them; they are held until the end.

    The customer's name is compared as it was read from the documents. Raises: InvalidInputError, UnknownInvoiceError.
    """
    connection = session.connection()
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    first = _named(connection, company_id, ids) if customer is None else _of(connection, company_id, customer)
    chain = list(connection.execute(CHAINS, {"ids": first}).scalars())
    rows = connection.execute(HOLD, {"ids": chain}).all()
    unfinished = tuple(
        Open(id=row.id, state=State(row.state), what_to_do=_what_to_do(State(row.state)))
        for row in rows
        if not row.shelf
    )
    return Found(company_id=company_id, ids=tuple(row.id for row in rows), open=unfinished)


def expunge(session: Session, found: Found, *, now: datetime, by: str) -> Expunged:
    """Remove the data for good and note it; an event of each invoice says so.

    Raises: InvalidInputError when one is open, ServiceUnavailableError when something else is being removed.
    """
    if found.open:
        raise InvalidInputError(f"invoice {found.open[0].id} is not finished: {found.open[0].what_to_do}")
    connection = session.connection()
    take_removal_lock(connection)
    connection.execute(text("SET LOCAL postiljon.expunging = 'on'"))
    ids = list(found.ids)
    cases = list(connection.execute(CASES, {"ids": ids}).scalars())
    parameters = {"ids": ids, "cases": cases, "word": WORD}
    parameters["orders"] = list(connection.execute(ORDERS, parameters).scalars())
    # What is removed is hashed before anything changes: one step reads what another one clears.
    tables = {step.table: _prove(connection, step, parameters) for step in STEPS}
    for step in STEPS:
        connection.execute(text(step.remove), parameters)
    shared = connection.execute(SHARED_DOCUMENTS, parameters).scalar_one()
    removed = {"invoices": len(ids), "tables": {table: vars(proof) for table, proof in tables.items()}}
    number = note_removal(session, kind=KIND, removed=removed, now=now, by=by, company_id=found.company_id)
    cause = f"its document, names, numbers and texts were removed for good by {by}: removal {number}"
    connection.execute(NOTE, {"ids": ids, "now": now, "cause": cause})
    return Expunged(removal=number, invoices=len(ids), tables=tables, shared_documents=shared)


def _of(connection: Connection, company_id: UUID, customer: str) -> list[UUID]:
    ids = list(connection.execute(OF_CUSTOMER, {"company": company_id, "customer": customer}).scalars())
    if not ids:
        raise InvalidInputError(
            "no invoice of this company is to a customer of that name; it is compared letter by letter: postiljon list"
        )
    return ids


def _named(connection: Connection, company_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    found = list(connection.execute(OF_IDS, {"company": company_id, "ids": list(ids)}).scalars())
    if missing := sorted(set(ids) - set(found)):
        used = set(connection.execute(USED, {"ids": missing}).scalars())
        why = "its record is gone already, or it is another company's" if missing[0] in used else "it was never here"
        raise UnknownInvoiceError(f"no invoice {missing[0]} of this company: {why}; nothing was removed")
    return found


def _prove(connection: Connection, step: Step, parameters: Mapping[str, object]) -> Proof:
    digest, rows = hashlib.sha256(), 0
    for (line,) in connection.execute(text(step.lines), parameters, execution_options={"yield_per": 1000}):
        digest.update(line.encode() + b"\n")
        rows += 1
    return Proof(rows=rows, sha256=digest.hexdigest())


def _what_to_do(state: State) -> str:
    if state is State.HELD:
        return "it is held: postiljon release sends it, postiljon cancel takes it back if it never left"
    if state in {State.QUEUED, State.SENDING, State.WAITING, State.IN_DOUBT}:
        return "it is being sent: wait, or postiljon cancel takes it back if it never left"
    if state is State.ACCEPTED:
        return "the operator is delivering it: wait until it is delivered or failed"
    if state is State.DELIVERED:
        return "a delivery is watched for POSTILJON_DELIVERED_DAYS days, then put away within minutes: wait for that"
    if state in {State.FAILED, State.REFUSED}:
        return "somebody may still resend it: close its case (postiljon cases close); an hour later it is put away"
    return "it has just ended: it is put away an hour later"

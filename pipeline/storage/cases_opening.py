"""Which failures nobody has seen to yet, and the case that each becomes or comes back to. Judges nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.routing_verdicts import Failure, Verdict
from pipeline.domain.state import State
from pipeline.domain.way import Way

# What a held company's invoices failed of cannot be read; what was refused we know ourselves.
TAKE = text("""
    WITH due AS (
        SELECT i.id, company.name AS company_name, i.route_at AS planned_at
        FROM invoice_open AS i JOIN company ON company.id = i.company_id
        WHERE i.route_at <= :now AND (i.state = 'refused' OR (i.state = 'failed' AND company.hold_reason IS NULL
            AND NOT i.company_id = ANY(CAST(:but AS uuid[]))))
        ORDER BY i.route_at LIMIT :limit FOR NO KEY UPDATE OF i SKIP LOCKED
    ), taken AS (
        UPDATE invoice_open AS invoice SET route_at = :until FROM due WHERE invoice.id = due.id
        RETURNING invoice.*, due.company_name, due.planned_at
    )
    SELECT taken.id, company_id, company_name, state, changed_at, accepted_at, reason, channel, refusal.message,
        refusal.code
    FROM taken LEFT JOIN LATERAL (
        SELECT message, coalesce(error_code, CAST(http_status AS text)) AS code FROM attempt
        WHERE invoice_id = taken.id AND kind = 'upload' AND outcome = 'refused'
            AND started_at >= taken.submitted_at - interval '1 day'
        ORDER BY number DESC LIMIT 1
    ) AS refusal ON taken.state = 'refused'
    ORDER BY taken.planned_at, taken.id
""")
PUT_OFF = text("""
    WITH before AS (
        SELECT id, reason, state FROM invoice_open WHERE id = :id AND state = :state AND route_at = :until
        FOR NO KEY UPDATE
    ), later AS (
        UPDATE invoice_open AS invoice SET route_at = :again, reason = :reason FROM before WHERE invoice.id = before.id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'failure_unread', state, state, :reason FROM before WHERE reason IS DISTINCT FROM :reason
""")
TAKE_LATER = text("UPDATE invoice_open SET route_at = :again WHERE id = :id AND state = :state AND route_at = :until")
SEEN_TO = text("""
    UPDATE invoice_open AS invoice
    SET route_at = NULL, reason = :reason WHERE id = :id AND state = :state AND route_at = :until
    RETURNING id
""")
OPEN = text("""
    INSERT INTO route_case AS c (company_id, invoice_id, status, round, cause, owner, verdict, verdict_version, words,
        advice, ways, failed_at, decide_at, opened_at, changed_at)
    VALUES (:company, :invoice, 'open', 1, :cause, :owner, :verdict, :version, :words, :advice, :ways, :failed_at,
        :now, :now, :now)
    ON CONFLICT (invoice_id) DO UPDATE SET status = 'open', round = c.round + 1, cause = excluded.cause,
        owner = excluded.owner, verdict = excluded.verdict, verdict_version = excluded.verdict_version,
        words = excluded.words, advice = excluded.advice, ways = excluded.ways, failed_at = excluded.failed_at,
        decide_at = excluded.decide_at, plan = NULL, changed_at = excluded.changed_at, closed_reason = NULL
    RETURNING id, round
""")
KEEP_FAILURE = text("""
    INSERT INTO failure (case_id, invoice_id, at, refused, told, key, channel, code, cause, owner, verdict,
        verdict_version)
    VALUES (:case, :invoice, :failed_at, :refused, :told, :key, :channel, :code, :cause, :owner, :verdict, :version)
""")
SEEN_BEFORE = text("""
    SELECT EXISTS (
        SELECT 1 FROM operator_action AS a JOIN way_out AS w ON w.invoice_id = a.invoice_id
        WHERE a.invoice_id = :id AND a.type = :type AND a.happened_at IS NOT DISTINCT FROM :happened_at
            AND a.key IS NOT DISTINCT FROM :key AND a.message IS NOT DISTINCT FROM :message
            AND w.status = 'done' AND w.kind IN ('einvoice', 'email', 'print') AND w.finished_at >= a.read_at
    )
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:invoice, :now, :kind, :state, :state, :told)
""")


@dataclass(frozen=True, kw_only=True)
class Unrouted:
    """A failed or refused invoice whose turn it is, ours until an instant."""

    id: UUID
    company_id: UUID
    company_name: str
    state: State
    since: datetime
    """When we learned of the failure."""
    accepted_at: datetime | None
    channel: str | None
    refusal: str | None
    """What the operator said to the last upload, with its code."""
    refusal_code: str | None
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A failure as it was told and judged."""

    unrouted: Unrouted
    failure: Failure
    failed_at: datetime
    verdict: Verdict
    version: str


def take_unrouted(
    session: Session, *, now: datetime, until: datetime, limit: int, but: Collection[UUID] = ()
) -> list[Unrouted]:
    """Take failures that no case holds; those of which nothing is recorded come again at `until`.

    `but`: companies about which nobody is to be asked now. What was refused needs nobody's word, and is taken.
    """
    rows = session.connection().execute(TAKE, {"now": now, "until": until, "limit": limit, "but": list(but)})
    return [
        Unrouted(
            id=row.id,
            company_id=row.company_id,
            company_name=row.company_name,
            state=State(row.state),
            since=row.changed_at,
            accepted_at=row.accepted_at,
            channel=row.channel,
            refusal=row.message or (row.reason if row.state == "refused" else None),
            refusal_code=row.code,
            until=until,
        )
        for row in rows
    ]


def take_later(session: Session, unrouted: Unrouted, *, again: datetime) -> None:
    """Have the router come back to a failure about which nobody was asked. Nothing of that is told."""
    parameters = {"id": unrouted.id, "state": unrouted.state.value, "until": unrouted.until}
    session.connection().execute(TAKE_LATER, {**parameters, "again": again})


def put_off_routing(session: Session, unrouted: Unrouted, *, again: datetime, why: str, now: datetime) -> None:
    """Have the router come back to a failure that could not be read; the event is written when the cause is new."""
    parameters = {"id": unrouted.id, "state": unrouted.state.value, "until": unrouted.until}
    session.connection().execute(PUT_OFF, {**parameters, "again": again, "reason": why, "now": now})


def is_older_than_reroute(session: Session, invoice_id: UUID, error: OperatorAction) -> bool:
    """Tell whether the operator had noted this very error before a reroute of ours that it carried out."""
    parameters = {"id": invoice_id, "type": error.type, "key": error.key, "message": error.message}
    told: bool = (
        session.connection().execute(SEEN_BEFORE, {**parameters, "happened_at": error.happened_at}).scalar_one()
    )
    return told


def open_case(session: Session, opening: Opening, *, now: datetime) -> int | None:
    """Open the case of a failure, or again with its history; return the round, None when somebody else saw to it."""
    connection, parameters = session.connection(), _parameters(opening, now=now)
    if connection.execute(SEEN_TO, parameters).one_or_none() is None:
        return None
    case = connection.execute(OPEN, parameters).one()
    connection.execute(KEEP_FAILURE, {**parameters, "case": case.id})
    verdict = opening.verdict
    told = f"{verdict.cause.replace('_', ' ')}, for the {verdict.owner}: {verdict.words} {verdict.advice}"
    kind = "case_opened" if case.round == 1 else "case_reopened"
    again = "" if case.round == 1 else f"failure {case.round} of case {case.id}; "
    connection.execute(NOTE, {**parameters, "kind": kind, "told": again + told})
    return int(case.round)


def _parameters(opening: Opening, *, now: datetime) -> dict[str, object]:
    unrouted, failure, verdict = opening.unrouted, opening.failure, opening.verdict
    says = "the operator refused it" if failure.refused else "the operator says FAILED"
    return {
        "id": unrouted.id,
        "invoice": unrouted.id,
        "company": unrouted.company_id,
        "state": unrouted.state.value,
        "until": unrouted.until,
        "reason": f"{says}: {failure.text}" if failure.text else says,
        "cause": verdict.cause.value,
        "owner": verdict.owner.value,
        "verdict": verdict.row,
        "version": opening.version,
        "words": verdict.words,
        "advice": verdict.advice,
        "ways": _ordered(verdict.ways),
        "failed_at": opening.failed_at,
        "refused": failure.refused,
        "told": failure.text,
        "key": failure.key,
        "channel": failure.channel,
        "code": failure.code,
        "now": now,
    }


def _ordered(ways: frozenset[Way]) -> Sequence[str]:
    # As they stand in the enumeration, so that the same ones always read the same.
    return [way.value for way in Way if way in ways]

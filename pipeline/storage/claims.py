"""Who may work on an invoice: claiming, heartbeats, recording and the sweep, each a compare-and-set.

Every statement that moves an invoice names the epoch it was given; a late writer with an older epoch changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.consequence import Consequence
from pipeline.domain.decision import Standing
from pipeline.domain.outcome import Outcome
from pipeline.domain.state import State
from pipeline.storage.claim_statements import CLAIM_PROBES, CLAIM_UPLOADS, LOCK_DOUBTS, SET_ASIDE

HEARTBEAT = text("""
    UPDATE invoice_open SET lease_until = :until,
        due_at = CASE WHEN state = 'in_doubt' THEN CAST(:until AS timestamptz) ELSE due_at END
    WHERE id = ANY(:ids) AND epoch = :epoch AND lease_until IS NOT NULL
    RETURNING id
""")
RECORD = text("""
    UPDATE invoice_open SET state = :target, reason = :reason, held_for = :held_for, lease_until = NULL,
        due_at = :due_at, tries = :tries, refusal = :refusal, give_up_at = :give_up_at,
        operator_status = coalesce(:status, operator_status),
        accepted_at = CASE WHEN :target = 'accepted' THEN coalesce(accepted_at, :now) ELSE accepted_at END,
        last_upload_at = CASE WHEN :source <> 'sending' THEN last_upload_at
            WHEN :left_nothing THEN CAST(:earlier_upload_at AS timestamptz) ELSE :now END,
        attempts = attempts - CASE WHEN :never_begun THEN 1 ELSE 0 END,
        uploads = uploads - CASE WHEN :source = 'sending' AND :left_nothing THEN 1 ELSE 0 END,
        unfinished = CASE WHEN :source = 'sending' AND NOT :never_begun THEN 0 ELSE greatest(unfinished - 1, 0) END,
        look_at = :look_at, changed_at = :now,
        route_at = CASE WHEN :target = 'refused' THEN CAST(:now AS timestamptz) ELSE route_at END
    WHERE id = :id AND epoch = :epoch AND state = :source AND lease_until IS NOT NULL
    RETURNING id
""")
FINISH_ATTEMPT = text("""
    UPDATE attempt SET finished_at = :now, outcome = :outcome, http_status = :http_status, error_code = :error_code,
        message = :message
    WHERE invoice_id = :id AND id = :attempt_id AND started_at = :started_at
""")
NOTE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    VALUES (:id, :now, :kind, :source, :target, :cause)
""")
# What was never begun leaves no attempt, and one event however often it is held back for the same cause.
FORGET_ATTEMPTS = text("""
    DELETE FROM attempt WHERE invoice_id = ANY(:ids) AND id = ANY(:attempts) AND started_at = ANY(:begun)
""")
FORGET_EVENTS = text("DELETE FROM event WHERE invoice_id = ANY(:ids) AND id = ANY(:events) AND at = ANY(:begun)")
NOTE_ONCE = text("""
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT :id, :now, :kind, :source, :target, :cause WHERE NOT EXISTS (
        SELECT 1 FROM (SELECT kind, cause FROM event WHERE invoice_id = :id ORDER BY id DESC LIMIT 1) AS newest
        WHERE newest.kind = :kind AND newest.cause = :cause)
""")
SWEEP = text("""
    WITH expired AS (
        SELECT id FROM invoice_open WHERE state = 'sending' AND lease_until <= :now
        ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), swept AS (
        UPDATE invoice_open AS invoice
        SET state = 'in_doubt', lease_until = NULL, due_at = :now, epoch = nextval('epoch'),
            reason = :cause, changed_at = :now
        FROM expired WHERE invoice.id = expired.id RETURNING invoice.id
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'lease_expired', 'sending', 'in_doubt', :cause FROM swept RETURNING invoice_id
""")
SWEEP_CAUSE = "the worker fell silent while it was sending; asking the operator whether it arrived"


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """An invoice a worker holds under an epoch, its attempt row already committed."""

    id: UUID
    attempt_id: int
    event_id: int
    """The event that tells of its beginning."""
    begun_at: datetime
    """When its attempt and that event were written: by it their month is known."""
    came_from: State
    """Where it was before the claim."""
    source: State
    earlier_upload_at: datetime | None
    """When the upload before this one was begun or answered."""
    standing: Standing
    number: str | None


@dataclass(frozen=True, kw_only=True)
class ClaimedUpload(Claimed):
    """With what is to be uploaded."""

    content: bytes = field(repr=False)
    is_zip: bool
    filename: str
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Move:
    """What an attempt proved and where it takes the invoice."""

    claimed: Claimed
    outcome: Outcome
    consequence: Consequence


def claim_uploads(
    session: Session, ids: Sequence[UUID], *, epoch: int, now: datetime, lease: timedelta, give_up_at: datetime
) -> list[ClaimedUpload]:
    """Move what is still ours under the epoch to sending, with an attempt row each, and return it with its bytes."""
    parameters = {"ids": list(ids), "epoch": epoch, "now": now, "until": now + lease, "give_up_at": give_up_at}
    rows = session.connection().execute(CLAIM_UPLOADS, parameters)
    return [
        ClaimedUpload(
            id=row.id,
            **_claim_of(row, now=now),
            source=State.SENDING,
            standing=_standing(row, probing=False, now=now),
            content=bytes(row.content),
            is_zip=row.document_kind == "ZIP",
            filename=row.filename,
            options=row.options,
        )
        for row in rows
    ]


def claim_probes(
    session: Session,
    ids: Sequence[UUID],
    *,
    epoch: int,
    now: datetime,
    lease: timedelta,
    give_up_at: datetime,
    poison_deaths: int | None = None,
) -> list[Claimed]:
    """Take what is still in doubt under the epoch, with an attempt row each; a message seen twice takes nothing.

    With `poison_deaths`, what so many probes in a row did not live to ask about is held for a person instead.
    """
    parameters = {"ids": list(ids), "epoch": epoch, "now": now, "until": now + lease, "give_up_at": give_up_at}
    # Locked by a statement of its own: only the next one sees the attempts of a claimer that we had to wait for.
    session.connection().execute(LOCK_DOUBTS, {"ids": list(ids)})
    if poison_deaths is not None:
        session.connection().execute(SET_ASIDE, {"ids": list(ids), "epoch": epoch, "now": now, "deaths": poison_deaths})
    rows = session.connection().execute(CLAIM_PROBES, parameters)
    return [
        Claimed(
            id=row.id,
            **_claim_of(row, now=now),
            source=State.IN_DOUBT,
            standing=_standing(row, probing=True, now=now),
        )
        for row in rows
    ]


def heartbeat(session: Session, ids: Sequence[UUID], *, epoch: int, until: datetime) -> list[UUID]:
    """Keep the lease of invoices whose exchange is still under way; return those that are still ours."""
    rows = session.connection().execute(HEARTBEAT, {"ids": list(ids), "epoch": epoch, "until": until})
    return list(rows.scalars())


def record(session: Session, moves: Sequence[Move], *, epoch: int, now: datetime) -> set[UUID]:
    """Write outcomes, states and events; return the invoices that moved. The others have a newer epoch: we are late.

    The outcome of a late attempt is kept in its attempt row all the same.
    """
    connection = session.connection()
    moved: list[Move] = []
    for move in sorted(moves, key=lambda each: each.claimed.id):
        row = connection.execute(RECORD, _record_parameters(move, epoch=epoch, now=now)).one_or_none()
        if row is not None:
            moved.append(move)
    begun = [move for move in moved if not move.consequence.never_begun]
    never_begun = [move for move in moved if move.consequence.never_begun]
    told = [move for move in moves if move not in never_begun]
    if told:
        connection.execute(FINISH_ATTEMPT, [_attempt_parameters(move, now=now) for move in told])
    if begun:
        connection.execute(NOTE, [_event_parameters(move, now=now) for move in begun])
    if never_begun:
        _forget(session, never_begun, now=now)
    return {move.claimed.id for move in moved}


def sweep(session: Session, *, now: datetime) -> list[UUID]:
    """Turn uploads whose lease is over into doubts to be probed; never into a resend."""
    return [row.invoice_id for row in session.connection().execute(SWEEP, {"now": now, "cause": SWEEP_CAUSE})]


def _forget(session: Session, moves: Sequence[Move], *, now: datetime) -> None:
    connection = session.connection()
    whose = {"ids": [move.claimed.id for move in moves], "begun": list({move.claimed.begun_at for move in moves})}
    connection.execute(FORGET_ATTEMPTS, whose | {"attempts": [move.claimed.attempt_id for move in moves]})
    connection.execute(FORGET_EVENTS, whose | {"events": [move.claimed.event_id for move in moves]})
    changes = {"kind": "held_back"}
    notes = [_event_parameters(move, now=now) | changes | {"source": move.claimed.came_from.value} for move in moves]
    connection.execute(NOTE_ONCE, notes)


def _claim_of(row: Any, *, now: datetime) -> dict[str, Any]:
    return {
        "attempt_id": row.attempt_id,
        "event_id": row.event_id,
        "begun_at": now,
        "came_from": State(row.source),
        "earlier_upload_at": row.earlier_upload_at,
        "number": row.number,
    }


def _standing(row: Any, *, probing: bool, now: datetime) -> Standing:
    return Standing(
        uploads=row.uploads,
        tries=row.tries,
        give_up_at=row.give_up_at,
        last_upload_at=row.last_upload_at,
        probing=probing,
        refusal=row.refusal,
        number=row.number,
        total=row.total,
        seller=row.seller_name,
        buyer=row.buyer_name,
        begun_at=now,
        unfinished=row.unfinished - 1,
        promised_at=row.promised_at if probing else None,
        document=f"{row.format}, {row.size:,} bytes",
    )


def _record_parameters(move: Move, *, epoch: int, now: datetime) -> dict[str, Any]:
    consequence = move.consequence
    return {
        "id": move.claimed.id,
        "epoch": epoch,
        "source": move.claimed.source.value,
        "target": consequence.target.value,
        "reason": consequence.reason,
        "held_for": consequence.held_for,
        "due_at": consequence.due_at,
        "tries": consequence.tries,
        "refusal": consequence.refusal,
        "give_up_at": consequence.give_up_at,
        "status": move.outcome.operator_status,
        "look_at": consequence.look_at,
        "left_nothing": move.outcome.left_nothing,
        "never_begun": consequence.never_begun,
        "earlier_upload_at": move.claimed.earlier_upload_at,
        "now": now,
    }


def _attempt_parameters(move: Move, *, now: datetime) -> dict[str, Any]:
    outcome = move.outcome
    return {
        "id": move.claimed.id,
        "attempt_id": move.claimed.attempt_id,
        "started_at": move.claimed.begun_at,
        "now": now,
        "outcome": outcome.kind.value,
        "http_status": outcome.http_status,
        "error_code": outcome.error_code,
        "message": outcome.message,
    }


def _event_parameters(move: Move, *, now: datetime) -> dict[str, Any]:
    kind = "upload_answered" if move.claimed.source is State.SENDING else "probe_answered"
    return {
        "id": move.claimed.id,
        "now": now,
        "kind": kind,
        "source": move.claimed.source.value,
        "target": move.consequence.target.value,
        "cause": move.consequence.reason,
    }

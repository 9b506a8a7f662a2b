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
from pipeline.storage.claim_statements import CLAIM_PROBES, CLAIM_UPLOADS, LOCK_DOUBTS, RECORD, RECORDED, SET_ASIDE

HEARTBEAT = text("""
    UPDATE invoice_open SET lease_until = :until,
        due_at = CASE WHEN state = 'in_doubt' THEN CAST(:until AS timestamptz) ELSE due_at END
    WHERE id = ANY(:ids) AND epoch = :epoch AND lease_until IS NOT NULL
    RETURNING id
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
SLICE = text("""
    SELECT substring(content FROM :start FOR :length) FROM document WHERE sha256 = :key AND created_at = :at
""")
DOCUMENTS = text("""
    SELECT sha256, content FROM document WHERE sha256 = ANY(:keys) AND created_at = ANY(CAST(:at AS timestamptz[]))
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
    """With what is to be uploaded, but for the document itself: it is read once the claim is committed."""

    document_sha256: bytes = field(repr=False)
    document_at: datetime
    size: int
    is_zip: bool
    is_missing: bool = False
    """Whether it is not kept any more."""
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
    """Move what is still ours under the epoch to sending, with an attempt row each, and return it."""
    parameters = {"ids": list(ids), "epoch": epoch, "now": now, "until": now + lease, "give_up_at": give_up_at}
    rows = session.connection().execute(CLAIM_UPLOADS, parameters)
    return [
        ClaimedUpload(
            id=row.id,
            **_claim_of(row, now=now),
            source=State.SENDING,
            standing=_standing(row, probing=False, now=now),
            document_sha256=row.document_sha256,
            document_at=row.document_at,
            size=row.size,
            is_zip=row.document_kind == "ZIP",
            is_missing=row.document_kind is None,
            filename=row.filename,
            options=row.options,
        )
        for row in rows
    ]


def read_documents(session: Session, claimed: Sequence[ClaimedUpload]) -> dict[UUID, bytes]:
    """Return the bytes of claimed uploads, by the invoice; what is not there is left out.

    For small ones: the driver's buffer grows to the largest row it ever met and stays so while its connection lives.
    """
    keys, at = [each.document_sha256 for each in claimed], {each.document_at for each in claimed}
    rows = session.connection().execute(DOCUMENTS, {"keys": keys, "at": list(at)})
    contents = {bytes(row.sha256): row.content for row in rows}
    return {each.id: contents[key] for each in claimed if (key := bytes(each.document_sha256)) in contents}


def read_slice(session: Session, claimed: ClaimedUpload, *, start: int, length: int) -> bytes | None:
    """Return up to `length` bytes of a claimed document from a place on, counted from 0; None if there are none."""
    place = {"key": claimed.document_sha256, "at": claimed.document_at, "start": start + 1, "length": length}
    return session.connection().execute(SLICE, place).scalar_one_or_none()


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
    # In the order of their UUIDs, as claims lock them.
    ordered = sorted(moves, key=lambda each: each.claimed.id)
    rows = [_record_row(move) for move in ordered]
    columns = {name: [row[name] for row in rows] for name in RECORDED}
    moved = set(session.connection().execute(RECORD, {**columns, "epoch": epoch, "now": now}).scalars())
    never_begun = [move for move in ordered if move.consequence.never_begun and move.claimed.id in moved]
    if never_begun:
        _forget(session, never_begun, now=now)
    return moved


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


def _record_row(move: Move) -> dict[str, Any]:
    outcome, consequence, claimed = move.outcome, move.consequence, move.claimed
    return {
        "ids": claimed.id,
        "attempts": claimed.attempt_id,
        "begun": claimed.begun_at,
        "sources": claimed.source.value,
        "earlier_uploads": claimed.earlier_upload_at,
        "kinds": "upload_answered" if claimed.source is State.SENDING else "probe_answered",
        "outcomes": outcome.kind.value,
        "http_statuses": outcome.http_status,
        "error_codes": outcome.error_code,
        "messages": outcome.message,
        "operator_statuses": outcome.operator_status,
        "left_nothing": outcome.left_nothing,
        "targets": consequence.target.value,
        "reasons": consequence.reason,
        "held_for": consequence.held_for,
        "due_at": consequence.due_at,
        "tries": consequence.tries,
        "refusals": consequence.refusal,
        "give_up_at": consequence.give_up_at,
        "look_at": consequence.look_at,
        "never_begun": consequence.never_begun,
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

"""What the operator noted about invoices, kept verbatim and once. Decides nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.operator_action import OperatorAction

MESSAGE_BYTES = 1800
WORD_BYTES = 200
"""With three words and an instant together less than the 2704 bytes that a row of the unique index may have: one
action too long for it would keep all that was learned in the same call from being written."""

STORE = text("""
    INSERT INTO operator_action (invoice_id, happened_at, type, channel, key, message, read_at)
    SELECT told.*, CAST(:now AS timestamptz) FROM unnest(CAST(:ids AS uuid[]), CAST(:instants AS timestamptz[]),
        CAST(:types AS text[]), CAST(:channels AS text[]), CAST(:keys AS text[]), CAST(:messages AS text[])) AS told
    ON CONFLICT DO NOTHING
""")


def store_actions(session: Session, actions: Mapping[UUID, Sequence[OperatorAction]], *, now: datetime) -> None:
    """Store the actions of invoices; what is stored already stays as it is."""
    # In one order everywhere: two that store the same actions wait for each other, and never in a circle.
    pairs = [(uuid, action) for uuid in sorted(actions) for action in actions[uuid]]
    if not pairs:
        return
    parameters = {
        "ids": [uuid for uuid, _ in pairs],
        "instants": [action.happened_at for _, action in pairs],
        "types": [_cut(action.type, WORD_BYTES) for _, action in pairs],
        "channels": [_cut(action.channel, WORD_BYTES) for _, action in pairs],
        "keys": [_cut(action.key, WORD_BYTES) for _, action in pairs],
        "messages": [_cut(action.message, MESSAGE_BYTES) for _, action in pairs],
        "now": now,
    }
    session.connection().execute(STORE, parameters)


def _cut(words: str | None, size: int) -> str | None:
    return words.encode()[:size].decode(errors="ignore") if words is not None else None

"""What the operator noted about invoices, kept verbatim and once. Decides nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.operator_action import OperatorAction

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
        "types": [action.type for _, action in pairs],
        "channels": [action.channel for _, action in pairs],
        "keys": [action.key for _, action in pairs],
        "messages": [action.message for _, action in pairs],
        "now": now,
    }
    session.connection().execute(STORE, parameters)

"""The operator's finer states, read from REST status and action keys. They are kept beside ours and change none."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.state import OperatorState

BY_STATUS: Final[Mapping[str, OperatorState]] = MappingProxyType(
    {"PENDING": OperatorState.PENDING, "DELIVERED": OperatorState.SENT, "FAILED": OperatorState.ERROR}
)
"""Source: Maventa "Invoice sending via API": REST FAILED is ERROR, DELIVERED is all that is neither it nor pending."""

BY_KEY: Final[Mapping[str, OperatorState]] = MappingProxyType(
    {
        "action_declined": OperatorState.DECLINED,
        "action_accepted": OperatorState.ACCEPTED,
        "action_paid": OperatorState.PAID,
        "action_seen": OperatorState.VIEWED,
        "action_disputed": OperatorState.DISPUTED,
    }
)
WORDS: Final[Mapping[OperatorState, str]] = MappingProxyType(
    {
        OperatorState.PENDING: "awaiting delivery",
        OperatorState.SENT: "sent on",
        OperatorState.DECLINED: "declined by the recipient",
        OperatorState.ACCEPTED: "accepted by the recipient",
        OperatorState.PAID: "marked as paid",
        OperatorState.VIEWED: "viewed by the recipient",
        OperatorState.DISPUTED: "disputed by the recipient",
        OperatorState.ERROR: "not delivered",
    }
)
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def operator_state(
    status: str | None, actions: Sequence[OperatorAction] | None, *, known: OperatorState | None = None
) -> OperatorState | None:
    """Return the state that status and actions add up to; None for a status nobody knows.

    `known` is what was known before: what the recipient did then still holds where actions are not shown (None).
    """
    plain = BY_STATUS.get(status or "")
    if plain is not OperatorState.SENT:
        return plain
    told = [action for action in actions or () if action.key in BY_KEY]
    if told:
        # Of those of the same instant the last one, so from the end.
        latest = max(reversed(told), key=lambda action: action.happened_at or _LONG_AGO)
        return BY_KEY[latest.key or ""]
    return known if actions is None and known is not None and known.is_information else plain


def describe(state: OperatorState) -> str:
    """Put a state into one line for a person, with the operator's number and name."""
    line = f"the operator notes: {WORDS[state]} ({state.value} {state.name})"
    return f"{line}, information only" if state.is_information else line


def last_error(actions: Sequence[OperatorAction] | None) -> OperatorAction | None:
    """Return the latest failure among the actions, oldest first; its message says why."""
    errors = [action for action in actions or () if action.type == "ERROR"]
    return errors[-1] if errors else None

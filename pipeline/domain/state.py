"""The states of an invoice and the one table of moves between them. Knows nothing of who makes the moves."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from pipeline.domain.errors import IllegalTransitionError


class State(StrEnum):
    """Where an invoice stands with us. `sent` is missing on purpose: it could mean written, accepted or delivered."""

    QUEUED = "queued"
    """In: submit, resend as new; release of a hold before any upload. Out: a worker's claim, hold, cancel;
    in_doubt when the installation is armed anew.
    Dies here: nothing has left; the next dispatch takes it again when its lease is over."""

    SENDING = "sending"
    """In: a worker's claim, committed before the first byte leaves. Out: the outcome of the upload.
    Dies here: bytes may have left, so the sweep moves it to in_doubt when the lease is over, never to a resend."""

    WAITING = "waiting"
    """In: an outcome that proves nothing was created. Out: a claim when due, hold, cancel, in_doubt like
    queued.
    Dies here: like queued."""

    IN_DOUBT = "in_doubt"
    """In: timeout, reset, unclear answer, a refusal not yet checked, an expired lease; an accepted invoice that the
    operator does not know; a person's retry of a refusal; an arming, as another one may have sent it.
    Out: a probe's answer only.
    Dies here: a probe only reads; the next one asks again."""

    ACCEPTED = "accepted"
    """In: the operator's 201, or a probe that found it; later a reroute. Out: delivered, failed; in_doubt or
    held when the operator does not know it any more.
    Dies here: the operator holds it; the follow-up asks again."""

    DELIVERED = "delivered"
    """In: the operator's DELIVERED. Out: failed, even days later.
    Dies here: nothing in the air."""

    FAILED = "failed"
    """In: the operator's FAILED. Out: accepted (rerouted), superseded (resent as new).
    Dies here: nothing in the air."""

    REFUSED = "refused"
    """In: the operator said no and a probe found nothing created. Out: superseded; in_doubt (a person's retry).
    Dies here: nothing in the air."""

    HELD = "held"
    """In: company, credentials or a person must act. Out: release (queued if never uploaded, else in_doubt), cancel.
    Dies here: nothing in the air."""

    SUPERSEDED = "superseded"
    """In: a new invoice with a new UUID took its place. Out: nowhere."""

    CANCELLED = "cancelled"
    """In: a person, before anything was sent, or where its one upload was refused and the operator holds another
    invoice under the UUID. Out: nowhere."""


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.QUEUED: frozenset({State.SENDING, State.IN_DOUBT, State.HELD, State.CANCELLED}),
        State.SENDING: frozenset({State.ACCEPTED, State.WAITING, State.IN_DOUBT, State.HELD}),
        State.WAITING: frozenset({State.SENDING, State.IN_DOUBT, State.HELD, State.CANCELLED}),
        State.IN_DOUBT: frozenset({State.ACCEPTED, State.WAITING, State.REFUSED, State.HELD}),
        State.ACCEPTED: frozenset({State.DELIVERED, State.FAILED, State.IN_DOUBT, State.HELD}),
        State.DELIVERED: frozenset({State.FAILED}),
        State.FAILED: frozenset({State.ACCEPTED, State.SUPERSEDED}),
        State.REFUSED: frozenset({State.SUPERSEDED, State.IN_DOUBT}),
        State.HELD: frozenset({State.QUEUED, State.IN_DOUBT, State.CANCELLED}),
        State.SUPERSEDED: frozenset(),
        State.CANCELLED: frozenset(),
    }
)
"""The only table of legal moves; the database repeats it (the migrations) and a test holds the two together."""

DUE_STATES: Final = frozenset({State.QUEUED, State.WAITING, State.IN_DOUBT})
"""States from which a worker may claim an invoice when its time has come."""

OPEN_STATES: Final = DUE_STATES | {State.SENDING, State.ACCEPTED}
"""States in which we still expect to learn more without a person."""


class OperatorState(IntEnum):
    """The operator's own states, with the numbers its documents use. All but 0, 1 and 99 are information only.

    Source: shared contract section 3; Maventa "Invoice sending via API", invoice statuses.
    """

    PENDING = 0
    SENT = 1
    DECLINED = 2
    ACCEPTED = 3
    PAID = 6
    VIEWED = 7
    DISPUTED = 92
    ERROR = 99

    @property
    def is_information(self) -> bool:
        """Whether it only informs: what the recipient did, never where the invoice stands."""
        return self not in {OperatorState.PENDING, OperatorState.SENT, OperatorState.ERROR}


def is_final(state: State) -> bool:
    """Tell whether no move leads out of the state."""
    return not TRANSITIONS[state]


def check_transition(source: State, target: State) -> None:
    """Refuse a move that the table does not hold.

    Raises: IllegalTransitionError naming both states.
    """
    if target not in TRANSITIONS[source]:
        raise IllegalTransitionError(f"no move leads from {source.value} to {target.value}; this is a bug, report it")

"""What happens next to an invoice, in words for a person. Knows nothing of where they are shown."""

from datetime import datetime

from pipeline.domain.state import State

NEXT_STEPS: dict[State, str] = {
    State.QUEUED: "it is sent as soon as a worker is free",
    State.SENDING: "a worker is sending it now",
    State.WAITING: "it is sent again under the same UUID",
    State.IN_DOUBT: "the operator is asked whether it arrived; nothing is sent before the answer",
    State.ACCEPTED: "the operator holds it; its status is asked for until it is delivered",
    State.DELIVERED: "nothing to do; it is looked at for some days more, a delivery can still fail",
    State.FAILED: "a person decides: reroute it at the operator, or send a corrected document as a new invoice",
    State.REFUSED: "mend the document and submit it anew with a new UUID or reference; nothing was created",
    State.HELD: "it waits until the cause is mended: a company goes on by itself, else postiljon release UUID",
    State.SUPERSEDED: "nothing: a new invoice took its place",
    State.CANCELLED: "nothing: it was cancelled before it was sent",
}


def next_step(state: State, *, due_at: datetime | None) -> str:
    """Say what happens next, and when if a time is set."""
    words = NEXT_STEPS[state]
    return f"{words} (at {due_at:%Y-%m-%d %H:%M:%S} UTC)" if due_at is not None else words

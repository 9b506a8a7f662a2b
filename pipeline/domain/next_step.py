"""What happens next to an invoice, in words for a person. Knows nothing of where they are shown."""

from dataclasses import dataclass
from datetime import datetime

from pipeline.domain.cause import Owner
from pipeline.domain.state import DUE_STATES, State

NEXT_STEPS: dict[State, str] = {
    State.QUEUED: "it is sent as soon as a worker is free",
    State.SENDING: "a worker is sending it now",
    State.WAITING: "it is sent again under the same UUID",
    State.IN_DOUBT: "the operator is asked whether it arrived; nothing is sent before the answer",
    State.ACCEPTED: "the operator holds it; its status is asked for until it is delivered",
    State.DELIVERED: "nothing to do; it is looked at for some days more, a delivery can still fail",
    State.FAILED: "a person decides: reroute it at the operator, or send a corrected document as a new invoice",
    State.REFUSED: "mend the document and submit it anew with a new UUID or reference; nothing was created",
    State.HELD: "it waits for its cause to end: a company goes on by itself, else postiljon release (or cancel) UUID",
    State.SUPERSEDED: "nothing: a new invoice took its place",
    State.CANCELLED: "nothing: it was cancelled before it was sent",
}
STUCK = frozenset({State.FAILED, State.REFUSED})
"""States that a case leads out of."""
FOLLOWED = frozenset({State.ACCEPTED, State.DELIVERED})
"""States in which the operator is asked about it."""


@dataclass(frozen=True, kw_only=True)
class CompanyHold:
    """Why a company is held, and when it is asked about again."""

    cause: str
    advice: str | None
    check_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class CaseStanding:
    """Where the case of a failed invoice stands."""

    owner: Owner
    plan: str | None
    """What is going to happen, or why a person is asked."""
    decide_at: datetime | None
    """When the rules are asked; None when a person is."""
    way: str | None = None
    """The way out that is under way, in words."""
    way_at: datetime | None = None
    """Not before then."""
    closed_reason: str | None = None


def next_step(
    state: State,
    *,
    due_at: datetime | None,
    look_at: datetime | None = None,
    route_at: datetime | None = None,
    hold: CompanyHold | None = None,
    case: CaseStanding | None = None,
    disarmed: str | None = None,
) -> str:
    """Say what happens next, and when if a time is set.

    `hold` is given only for what waits for its company, `case` only where there is one, `disarmed` only where nothing
    is sent from here.
    """
    if disarmed is not None and state in DUE_STATES:
        return f"it waits: {disarmed}"
    if state is State.HELD and hold is not None:
        return _held(hold)
    if state in STUCK and case is not None:
        return _routed(case)
    if state in STUCK and route_at is not None:
        return f"why it failed is read and judged (at {_clock(route_at)})"
    if state in FOLLOWED and look_at is not None:
        return f"{NEXT_STEPS[state]} (next at {_clock(look_at)})"
    words = NEXT_STEPS[state]
    return f"{words} (at {_clock(due_at)})" if due_at is not None else words


def _held(hold: CompanyHold) -> str:
    when = f" (next at {_clock(hold.check_at)})" if hold.check_at else ""
    todo = f"; {hold.advice}" if hold.advice else ""
    return f"it waits for its company, which is asked about again and goes on by itself{when}: {hold.cause}{todo}"


def _routed(case: CaseStanding) -> str:
    if case.closed_reason is not None:
        return f"nothing: its case was closed: {case.closed_reason}"
    if case.way is not None:
        return f"{case.way}" + (f" (not before {_clock(case.way_at)})" if case.way_at else "")
    if case.decide_at is not None:
        return f"the rules decide (at {_clock(case.decide_at)})" + (f": {case.plan}" if case.plan else "")
    return f"the {case.owner} decides" + (f": {case.plan}" if case.plan else "")


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

"""What a decision changes about the invoice it concerns: the whole way from an outcome to the new standing, as values.

Knows nothing of rows, clocks or chance; who applies it makes the change with compare-and-set.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.domain.decision import Finish, Hold, Probe, RetryAt, Standing, decide, explain
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.retry import RetrySchedule, with_jitter
from pipeline.domain.state import State

COMPANY = "company"
PERSON = "person"


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """Where an attempt leaves its invoice. All instants are aware UTC."""

    target: State
    reason: str
    due_at: datetime | None = None
    """When the invoice is to be worked on again; None when nobody is to."""
    held_for: str | None = None
    """COMPANY or PERSON: who must act before it goes on."""
    tries: int = 0
    refusal: str | None = None
    """As with Standing."""
    give_up_at: datetime | None = None
    """None when the retry budget begins anew with the next upload or probe, if there is one."""
    look_at: datetime | None = None
    """When to ask the operator what became of it."""
    never_begun: bool = False
    """Nothing was tried: all that the claim counted is taken back, and the attempt is forgotten."""


def conclude(
    outcome: Outcome, standing: Standing, *, now: datetime, schedule: RetrySchedule, chance: float
) -> Consequence:
    """Say where an attempt leaves its invoice; `chance` is drawn from [0, 1) and spreads the waits."""
    if outcome.held_back_seconds is not None:
        wanted_at = now + timedelta(seconds=outcome.held_back_seconds)
        return _hold_back(outcome, standing, due_at=with_jitter(wanted_at, now=now, chance=chance), now=now)
    if outcome.lacks_document:
        return _set_aside(standing)
    decision = decide(outcome, standing, now=now, schedule=schedule)
    match decision:
        case Finish(state=state):
            first_look = now + timedelta(seconds=schedule.first_look_seconds)
            look_at = first_look if state is State.ACCEPTED else None
            return Consequence(target=state, reason=decision.reason, look_at=look_at)
        case Hold(company=company):
            # The refusal stays: after the release a probe settles it, rather than another upload.
            return Consequence(
                target=State.HELD,
                reason=decision.reason,
                held_for=COMPANY if company else PERSON,
                refusal=_refusal(outcome, standing),
            )
        case Probe() | RetryAt():
            return _wait(outcome, standing, decision, now=now, chance=chance)


def _wait(
    outcome: Outcome, standing: Standing, decision: Probe | RetryAt, *, now: datetime, chance: float
) -> Consequence:
    due_at = with_jitter(decision.at, now=now, chance=chance)
    return Consequence(
        target=State.IN_DOUBT if isinstance(decision, Probe) else State.WAITING,
        reason=decision.reason,
        due_at=due_at,
        # What we cut short ourselves says nothing of the operator, so the next wait is no longer for it.
        tries=standing.tries if outcome.cut_short else standing.tries + 1,
        refusal=_refusal(outcome, standing),
        # Jitter is given back too: over a weekend it adds up to hours.
        give_up_at=standing.give_up_at + (due_at - now if decision.free else timedelta()),
    )


def _hold_back(outcome: Outcome, standing: Standing, *, due_at: datetime, now: datetime) -> Consequence:
    return Consequence(
        target=State.IN_DOUBT if standing.probing else State.WAITING,
        reason=explain(outcome, "held back, not begun"),
        due_at=due_at,
        tries=standing.tries,
        refusal=standing.refusal,
        give_up_at=standing.give_up_at + (due_at - (standing.begun_at or now)),
        never_begun=True,
    )


def _set_aside(standing: Standing) -> Consequence:
    # The upload that could not begin is counted in: with an earlier one it may not be cancelled any more.
    otherwise = ", or `postiljon cancel` it and submit it as a new invoice" if standing.uploads == 1 else ""
    return Consequence(
        target=State.HELD,
        reason="its document is not in the database any more, so there is nothing to send: put it back from a backup "
        f"and `postiljon release` it{otherwise}",
        held_for=PERSON,
        refusal=standing.refusal,
        never_begun=True,
    )


def _refusal(outcome: Outcome, standing: Standing) -> str | None:
    if outcome.kind is OutcomeKind.REFUSED and not standing.probing:
        return explain(outcome, "the operator refused it")
    return standing.refusal if standing.probing else None

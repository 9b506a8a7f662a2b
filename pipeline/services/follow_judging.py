"""What one look at one invoice means: the operator's word against ours, as a pure function. Knows no SQL and no HTTP.

A list that shows no actions tells nothing of what the recipient did; those finer states are then learned only when
somebody reads the actions for another reason. They inform and change nothing, so no call is spent on them.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from pipeline.domain.look_curve import next_look
from pipeline.domain.operator_state import describe, last_error, operator_state
from pipeline.domain.state import State
from pipeline.services.ports import Sighting
from pipeline.settings import Settings
from pipeline.storage.following import Look
from pipeline.storage.following_learned import REROUTED_OUTSIDE, Finding, Learned

LOST_LIMIT = 3
"""As often as this the operator may not know what it accepted; then a person is asked instead of another upload."""
LOST = "the operator does not know it although it had accepted it; asking with a proven token, then sending it again"
LOST_TOO_OFTEN = (
    f"the operator did not know it {LOST_LIMIT} times although it had accepted it; ask the operator's support about"
    " this UUID, then postiljon release UUID"
)
UNKNOWN = "the operator does not show it any more; it is looked at further and never sent again"
REROUTED = f"the operator is sending it again: {REROUTED_OUTSIDE}"


def judge(look: Look, sighting: Sighting | None, *, vouched: bool, settings: Settings, now: datetime) -> Learned:
    """Say what a look changes. `sighting` is None when the operator's list did not show the invoice.

    `vouched`: whether the operator says of the token that it may read this company's invoices; an absence counts
    only then, since an empty list also means "no access".
    """
    if sighting is None:
        return _absent(look, vouched=vouched, settings=settings, now=now)
    match look.state, sighting.status:
        case (State.ACCEPTED, "FAILED") if _is_stale(look, sighting, settings=settings, now=now):
            return _not_yet(look, settings=settings, now=now)
        case (State.ACCEPTED | State.DELIVERED, "FAILED"):
            error = last_error(sighting.actions)
            words = f": {error.message}" if error and error.message else ""
            return _move(look, sighting, State.FAILED, f"the operator says FAILED{words}", settings=settings, now=now)
        case (State.ACCEPTED, "DELIVERED"):
            return _move(look, sighting, State.DELIVERED, "the operator says DELIVERED", settings=settings, now=now)
        case (State.FAILED, "PENDING" | "DELIVERED"):
            return _sent_again(look, sighting, settings=settings, now=now)
        case _:
            return _stay(look, sighting, settings=settings, now=now)


def is_lost(look: Look, *, settings: Settings, now: datetime) -> bool:
    """Tell whether its absence from the operator's list is an incident: accepted, and not just now (lists may lag)."""
    return look.state is State.ACCEPTED and now >= _shows_at(look, settings)


def _absent(look: Look, *, vouched: bool, settings: Settings, now: datetime) -> Learned:
    unseen = Learned(
        look=look, target=look.state, seen=False, look_at=_next_look(look, look.state, settings=settings, now=now)
    )
    if look.state is not State.ACCEPTED:
        return replace(unseen, findings=(Finding(kind="unknown", cause=UNKNOWN, once=True),))
    if not is_lost(look, settings=settings, now=now):
        at = _shows_at(look, settings)
        return replace(unseen, look_at=min(at, unseen.look_at or at))
    if not vouched:
        return replace(unseen, look_at=_soon(settings, now=now))
    if look.lost + 1 >= LOST_LIMIT:
        return replace(unseen, target=State.HELD, reason=LOST_TOO_OFTEN, is_lost=True)
    return replace(unseen, target=State.IN_DOUBT, reason=LOST, is_lost=True)


def _is_stale(look: Look, sighting: Sighting, *, settings: Settings, now: datetime) -> bool:
    # Right after a reroute the operator may still show the old failure; only a newer error is a new one.
    if look.rerouted_at is None or now >= look.rerouted_at + timedelta(seconds=settings.reroute_settle_seconds):
        return False
    error = last_error(sighting.actions)
    return error is None or error.happened_at is None or error.happened_at <= look.rerouted_at


def _not_yet(look: Look, *, settings: Settings, now: datetime) -> Learned:
    settled_at = (look.rerouted_at or now) + timedelta(seconds=settings.reroute_settle_seconds)
    at = _next_look(look, look.state, settings=settings, now=now)
    return Learned(look=look, target=look.state, look_at=min(settled_at, at or settled_at))


def _sent_again(look: Look, sighting: Sighting, *, settings: Settings, now: datetime) -> Learned:
    if look.rerouting:
        return replace(_stay(look, sighting, settings=settings, now=now), look_at=_soon(settings, now=now))
    moved = _move(look, sighting, State.ACCEPTED, REROUTED, settings=settings, now=now)
    return replace(moved, look_at=now + timedelta(seconds=settings.look_waits_seconds[0]))


def _stay(look: Look, sighting: Sighting, *, settings: Settings, now: datetime) -> Learned:
    stayed = _move(look, sighting, look.state, None, settings=settings, now=now)
    if look.state is not State.ACCEPTED or sighting.status != "PENDING":
        return stayed
    return replace(stayed, findings=(*stayed.findings, *_still_pending(look, settings=settings, now=now)))


def _move(
    look: Look, sighting: Sighting, target: State, reason: str | None, *, settings: Settings, now: datetime
) -> Learned:
    finer = operator_state(sighting.status, sighting.actions, known=look.operator_state)
    learned = Learned(
        look=look,
        target=target,
        reason=reason,
        look_at=_next_look(look, target, settings=settings, now=now),
        operator_status=sighting.status or None,
        operator_state=finer,
        channel=sighting.channel,
        actions=sighting.actions,
    )
    if finer is None or finer is look.operator_state:
        return learned
    # PENDING, SENT and ERROR are told by the move they make; on their own they are news only if they replace another.
    if not finer.is_information and (learned.moves or look.operator_state is None):
        return learned
    return replace(learned, findings=(Finding(kind="operator_state", cause=describe(finer)),))


def _still_pending(look: Look, *, settings: Settings, now: datetime) -> tuple[Finding, ...]:
    """Once in each span of the daily pass, say that nothing new was learned."""
    span = timedelta(seconds=settings.backup_look_seconds)
    last = max(look.seen_at or look.since, look.since)
    if (now - look.since) // span == (last - look.since) // span:
        return ()
    days = (now - look.since) / timedelta(days=1)
    answered = f"last answered at {look.seen_at:%Y-%m-%d %H:%M:%S} UTC" if look.seen_at else "never answered before"
    return (Finding(kind="look", cause=f"still PENDING after {days:.3g} days; {answered}"),)


def _shows_at(look: Look, settings: Settings) -> datetime:
    return look.since + timedelta(seconds=settings.absence_settle_seconds)


def _soon(settings: Settings, *, now: datetime) -> datetime:
    return now + timedelta(seconds=settings.follow_interval_seconds)


def _next_look(look: Look, target: State, *, settings: Settings, now: datetime) -> datetime | None:
    if target is State.ACCEPTED:
        # A look that filled up a call counts as the one that was planned.
        return next_look(look.since, max(now, look.planned_at), settings.look_waits_seconds)
    over = look.since + timedelta(days=settings.delivered_days)
    return now + timedelta(seconds=settings.delivered_looks_seconds) if now < over else None

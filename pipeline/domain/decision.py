"""What to do next after an attempt: a pure function of outcome, standing and time. Knows nothing of storage or HTTP."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from pipeline.domain.comparison import Marks, compare
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.retry import RetrySchedule
from pipeline.domain.state import State


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The question of this attempt is settled: move to the state."""

    state: State
    reason: str


@dataclass(frozen=True, kw_only=True)
class RetryAt:
    """Nothing was created: upload the same UUID and bytes at the time."""

    at: datetime
    reason: str
    free: bool
    """Whether the wait is the operator's doing and so is given back to the retry budget."""


ANOTHER = "the operator holds another invoice under this UUID"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Nobody knows: ask the operator by UUID at the time, before anything else."""

    at: datetime
    reason: str
    free: bool = False
    """As with RetryAt."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Only a person or the company's own set-up can help."""

    reason: str
    company: bool
    """Whether the whole company is held, not just this invoice."""


Decision = Finish | RetryAt | Probe | Hold


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of an invoice when an attempt ends. All instants are aware UTC."""

    uploads: int
    """How many uploads were begun, this one included."""
    tries: int
    """Attempts in a row, of any kind, that settled nothing; this one not included."""
    give_up_at: datetime
    """When the retry budget is used up and a person is asked."""
    last_upload_at: datetime | None
    """When the last upload was answered, or begun if it never was."""
    probing: bool
    """Whether the attempt was a probe, so that an earlier upload is still unsettled whatever went wrong now."""
    refusal: str | None
    """What the operator said when it refused the last upload, until a probe has settled it."""
    number: str | None = None
    total: Decimal | None = None
    """Gross. As read from the document, to recognise it at the operator."""
    seller: str | None = None
    buyer: str | None = None
    begun_at: datetime | None = None
    """When this attempt was claimed."""
    unfinished: int = 0
    """How often its processing ended its worker so far; this attempt not included."""
    promised_at: datetime | None = None
    """When an upload was accepted whose worker had lost the invoice by then: not proof of where it stands now."""
    document: str = ""
    """Format and size, for a person who is to look at it."""


def decide(outcome: Outcome, standing: Standing, *, now: datetime, schedule: RetrySchedule) -> Decision:
    """Say what to do next. Never answers with a resend while it is unknown whether the invoice exists."""
    match outcome.kind:
        case OutcomeKind.ACCEPTED:
            return Finish(state=State.ACCEPTED, reason="the operator accepted it")
        case OutcomeKind.ALREADY_THERE:
            return _found(outcome, standing)
        case OutcomeKind.UNAUTHORIZED:
            return Hold(reason=explain(outcome, "the operator does not let this company in"), company=True)
        case OutcomeKind.REFUSED if not standing.probing:
            return Probe(at=now, reason=explain(outcome, "the operator refused it; asking whether it exists anyway"))
        case OutcomeKind.ABSENT:
            return _absent(outcome, standing, now=now, schedule=schedule)
        case _:
            return _try_later(outcome, standing, now=now, schedule=schedule)


def _found(outcome: Outcome, standing: Standing) -> Decision:
    ours_arrived = Finish(state=State.ACCEPTED, reason="the operator already holds it: an earlier upload had arrived")
    if standing.uploads > 1 or (standing.uploads == 1 and standing.refusal is None):
        return ours_arrived
    # Nothing of ours can have arrived, or our one upload was refused: what the operator holds under the UUID came from
    # elsewhere: an earlier installation, a restored database, another sender. Only this very invoice is ours to adopt.
    comparison = compare(
        ours=Marks(number=standing.number, total=standing.total, seller=standing.seller, buyer=standing.buyer),
        theirs=Marks(
            number=outcome.operator_number,
            total=outcome.operator_total,
            seller=outcome.operator_seller,
            buyer=outcome.operator_buyer,
        ),
    )
    if comparison.is_other or (standing.refusal is not None and not comparison.is_same):
        # By these words a person may cancel it (storage/cancelling.py), so they are said of what is proven alone.
        which = ANOTHER if comparison.is_other else "the operator holds an invoice under this UUID that may be ours"
        return Hold(reason=f"{which} ({comparison.sides}); nothing was sent", company=False)
    if not comparison.is_same:
        return ours_arrived
    return Finish(state=State.ACCEPTED, reason="the operator held this invoice before our first upload; adopted")


def _absent(outcome: Outcome, standing: Standing, *, now: datetime, schedule: RetrySchedule) -> Decision:
    if standing.refusal is not None:
        return _settle_refusal(standing.refusal, standing, now=now, schedule=schedule)
    settled_at = standing.promised_at and standing.promised_at + timedelta(seconds=schedule.absence_settle_seconds)
    if settled_at is not None and now < settled_at:
        # A worker came too late with a clear yes: reads lag, so this absence proves nothing yet.
        return Probe(at=settled_at, reason="accepted a moment ago and not found yet; looking once more")
    if standing.unfinished >= schedule.poison_deaths:
        return _set_aside(standing)
    return _try_later(outcome, standing, now=now, schedule=schedule)


def _set_aside(standing: Standing) -> Hold:
    reason = (
        f"its processing ended the worker {standing.unfinished} times and the operator does not hold it; set aside so "
        f"that the rest goes on; look at the document ({standing.document}), then `postiljon release`"
    )
    return Hold(reason=reason, company=False)


def _settle_refusal(refusal: str, standing: Standing, *, now: datetime, schedule: RetrySchedule) -> Decision:
    # A first upload that was refused cannot have an older twin, so one look is proof. After a retry the refusal may
    # be about the twin ("already exists"), and a list may lag behind: look again once the operator has had time.
    settled_at = (standing.last_upload_at or now) + timedelta(seconds=schedule.absence_settle_seconds)
    if standing.uploads > 1 and now < settled_at:
        return Probe(at=settled_at, reason="not found yet; looking once more before the refusal counts")
    return Finish(state=State.REFUSED, reason=refusal)


def _try_later(outcome: Outcome, standing: Standing, *, now: datetime, schedule: RetrySchedule) -> Decision:
    if outcome.cut_short:
        return Probe(at=now, reason=explain(outcome, "asking whether it arrived"), free=True)
    free = outcome.kind in (OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE)
    if not free and now >= standing.give_up_at:
        return Hold(reason=explain(outcome, "the retry budget is used up and it is still unsettled"), company=False)
    # Somebody who is closed is never asked again at once; an unclear answer may be asked about at once.
    tries = standing.tries + 1 if free else standing.tries
    at = schedule.next_at(now=now, tries=tries, retry_after_seconds=outcome.retry_after_seconds)
    if outcome.kind is OutcomeKind.ABSENT:
        return RetryAt(at=at, reason="the operator does not have it; sending the same UUID again", free=False)
    if standing.probing:
        return Probe(at=at, reason=explain(outcome, "could not ask whether it arrived; asking again"), free=free)
    if not free or _may_have_lied(outcome):
        return Probe(at=at, reason=explain(outcome, "no clear answer; asking whether it arrived"), free=free)
    return RetryAt(at=at, reason=explain(outcome, "the operator cannot take it now"), free=True)


def _may_have_lied(outcome: Outcome) -> bool:
    # An answer of 503 may come from a gateway that had passed the upload on; a connection that never came about cannot.
    return outcome.kind is OutcomeKind.UNAVAILABLE and outcome.http_status is not None


def explain(outcome: Outcome, ours: str) -> str:
    """Put our words and what the operator said into one line for a person."""
    told = outcome.message or outcome.error_code
    status = f"HTTP {outcome.http_status}" if outcome.http_status else None
    detail = ", ".join(part for part in (status, told) if part)
    return f"{ours} ({detail})" if detail else ours

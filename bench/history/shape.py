"""What a history is made of: who sends how much, what becomes of an invoice, and what each way leaves behind.

The ways are those a run of the line leaves (a test compares them with one); knows nothing of tables or SQL.
"""

from dataclasses import dataclass
from typing import Final

from pipeline.domain.state import State

COMPANIES: Final = 200
MONTHS: Final = 36
QUIET_DAYS: Final = 60
"""The history ends so long ago that nothing of it is open or still looked at: it is history alone."""
NIGHT_SHARE: Final = 0.7
"""Of a month's invoices, those that go out in three hours of the night of the first, in batches."""
SUBMITTED, BEGUN, ANSWERED, ENDED, CLOSED = range(1, 6)
"""The instants of an invoice; a step happens at one of them."""

REFUSED_TOLD: Final = "uuid or document is not valid"
FAILED_TOLD: Final = "Not enough recipient information"
ABSENT_TOLD: Final = "Requested resource not found or you don't have access to it"


@dataclass(frozen=True)
class Event:
    """One event; `{file}` in the cause is the file's name."""

    kind: str
    source: State | None
    target: State
    cause: str
    at: int


@dataclass(frozen=True)
class Attempt:
    """One exchange."""

    kind: str
    outcome: str
    http_status: int | None
    error_code: str | None
    message: str


@dataclass(frozen=True)
class Action:
    """What the operator noted."""

    type: str
    key: str
    channel: str | None
    message: str | None
    at: int


@dataclass(frozen=True, kw_only=True)
class Way:
    """What becomes of an invoice, and everything that it leaves."""

    name: str
    per_ten_thousand: int
    state: State
    reason: str | None
    events: tuple[Event, ...]
    attempts: tuple[Attempt, ...]
    actions: tuple[Action, ...] = ()
    uploads: int = 1
    tries: int = 0

    @property
    def was_accepted(self) -> bool:
        """Whether the operator ever took it."""
        return self.state not in (State.REFUSED, State.CANCELLED)

    @property
    def has_case(self) -> bool:
        """Whether it went through the hands of somebody."""
        return self.state in (State.FAILED, State.REFUSED)


_SUBMITTED = Event("submitted", None, State.QUEUED, "submitted as {file}", SUBMITTED)
_BEGUN = Event("upload_begun", State.QUEUED, State.SENDING, "upload 1 begins", BEGUN)
_AGAIN = Event("upload_begun", State.WAITING, State.SENDING, "upload 2 begins", ANSWERED)
_TAKEN = Event("upload_answered", State.SENDING, State.ACCEPTED, "the operator accepted it", ANSWERED)
_DELIVERED = Event("operator_status", State.ACCEPTED, State.DELIVERED, "the operator says DELIVERED", ENDED)
_FAILED = Event("operator_status", State.ACCEPTED, State.FAILED, "the operator says FAILED", ENDED)
_PROBING = Event(
    "probe_begun", State.IN_DOUBT, State.IN_DOUBT, "asking the operator whether it holds the UUID", ANSWERED
)
_OPENED = "recipient address, for the accountant: The invoice says too little about the recipient to be sent anywhere."

_UPLOADED = Attempt("upload", "accepted", 201, None, "created")
_ABSENT = Attempt("probe", "absent", 404, "not_found", ABSENT_TOLD)

_CREATED = Action("CREATED", "action_created", None, None, ANSWERED)
_SENT = Action("SENT", "action_trx_ok", "EINVOICE", None, ANSWERED)
_ARRIVED = Action("DELIVERED", "action_delivered", "EINVOICE", None, ENDED)
_ERROR = Action("ERROR", "action_route_failed", "EINVOICE", FAILED_TOLD, ENDED)
_WELL = (_CREATED, _SENT, _ARRIVED)


def _doubt(cause: str) -> Event:
    return Event("upload_answered", State.SENDING, State.IN_DOUBT, cause, ANSWERED)


def _case_opened(state: State) -> Event:
    return Event("case_opened", state, state, _OPENED, ENDED)


def _case_closed(state: State) -> Event:
    return Event("case_closed", state, state, "closed by a person: sent by hand", CLOSED)


def _delivered(
    name: str, share: int, *, between: tuple[Event, ...], attempts: tuple[Attempt, ...], uploads: int
) -> Way:
    return Way(
        name=name,
        per_ten_thousand=share,
        state=State.DELIVERED,
        reason="the operator says DELIVERED",
        events=(_SUBMITTED, _BEGUN, *between, _DELIVERED),
        attempts=attempts,
        actions=_WELL,
        uploads=uploads,
    )


_REJECTED = (_SUBMITTED, _BEGUN, _TAKEN, _FAILED, _case_opened(State.FAILED))
PLAIN: Final = _delivered("delivered", 9250, between=(_TAKEN,), attempts=(_UPLOADED,), uploads=1)
SUPERSEDED: Final = Way(
    name="superseded",
    per_ten_thousand=0,
    state=State.SUPERSEDED,
    reason="sent anew as another invoice",
    events=(
        *_REJECTED,
        Event("superseded", State.FAILED, State.SUPERSEDED, "sent anew as another invoice", CLOSED),
    ),
    attempts=(_UPLOADED,),
    actions=(_CREATED, _ERROR),
)
"""Every PAIR_EVERY-th is one, and the next is sent in its place."""
PAIR_EVERY: Final = 200
PAIR_PLACE: Final = 7
WAYS: Final = (
    PLAIN,
    _delivered(
        "timeout",
        200,
        between=(
            _doubt("the operator did not answer in time: it may have arrived"),
            _PROBING,
            Event("probe_answered", State.IN_DOUBT, State.ACCEPTED, "the operator holds it", ANSWERED),
        ),
        attempts=(
            Attempt("upload", "in_doubt", None, "read_timeout", "the operator did not answer in time"),
            Attempt("probe", "already_there", 200, None, "the operator holds it"),
        ),
        uploads=1,
    ),
    _delivered(
        "throttled",
        180,
        between=(
            Event("upload_answered", State.SENDING, State.WAITING, "the operator asks to wait: 429", BEGUN),
            _AGAIN,
            _TAKEN,
        ),
        attempts=(Attempt("upload", "throttled", 429, "too_many_requests", "Too Many Requests"), _UPLOADED),
        uploads=2,
    ),
    _delivered(
        "unavailable",
        120,
        between=(
            _doubt("the operator was not available: 503"),
            _PROBING,
            Event("probe_answered", State.IN_DOUBT, State.WAITING, "the operator does not hold it", ANSWERED),
            _AGAIN,
            _TAKEN,
        ),
        attempts=(
            Attempt("upload", "unavailable", 503, "service_unavailable", "Service Unavailable"),
            _ABSENT,
            _UPLOADED,
        ),
        uploads=2,
    ),
    Way(
        name="failed",
        per_ten_thousand=150,
        state=State.FAILED,
        reason=f"the operator says FAILED: {FAILED_TOLD}",
        events=(*_REJECTED, _case_closed(State.FAILED)),
        attempts=(_UPLOADED,),
        actions=(_CREATED, _SENT, _ERROR),
    ),
    Way(
        name="refused",
        per_ten_thousand=80,
        state=State.REFUSED,
        reason=f"the operator refused it: {REFUSED_TOLD}",
        events=(
            _SUBMITTED,
            _BEGUN,
            _doubt("the operator refused it; asking whether it holds the UUID all the same"),
            _PROBING,
            Event("probe_answered", State.IN_DOUBT, State.REFUSED, f"the operator refused it: {REFUSED_TOLD}", ENDED),
            _case_opened(State.REFUSED),
            _case_closed(State.REFUSED),
        ),
        attempts=(Attempt("upload", "refused", 422, "invalid", REFUSED_TOLD), _ABSENT),
        tries=1,
    ),
    Way(
        name="cancelled",
        per_ten_thousand=20,
        state=State.CANCELLED,
        reason="cancelled by a person",
        events=(_SUBMITTED, Event("cancelled", State.QUEUED, State.CANCELLED, "cancelled by a person", BEGUN)),
        attempts=(),
        uploads=0,
    ),
)
EVERY_WAY: Final = (*WAYS, SUPERSEDED)


def cumulated_shares(companies: int = COMPANIES) -> list[float]:
    """Return the upper bound of each company's share of all invoices but the last: few send much, many send little."""
    weights = [1 / rank for rank in range(1, companies + 1)]
    total, run, bounds = sum(weights), 0.0, []
    for weight in weights[:-1]:
        run += weight
        bounds.append(run / total)
    return bounds


def cumulated_ways() -> list[int]:
    """Return the lower bound of each of WAYS within ten thousand."""
    bounds = [0]
    for way in WAYS[:-1]:
        bounds.append(bounds[-1] + way.per_ten_thousand)
    return bounds

"""What a person orders for failed invoices: looked at first, then carried out for one, or for many behind a canary.

Asks nothing of the operator and waits for nobody: the router carries out what is planned here.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.document import Document, read_recipient
from pipeline.domain.errors import InvalidInputError
from pipeline.domain.recipient import Recipient
from pipeline.domain.state import State
from pipeline.domain.way import REROUTES, Way, missing_fields, reroute_fields
from pipeline.services.submit import stored_name
from pipeline.storage.cases import CaseView
from pipeline.storage.orders import add_order, keep_document, read_invoice_content, set_canary
from pipeline.storage.ways_out import close_case, plan_way_out

NO_CURRENCY = "?"
"""Under which the totals stand whose currency the document does not tell."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person wants done."""

    way: Way
    chosen_by: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """As given, under the operator's names; they win over what the document says."""
    reason: str | None = None
    document: Document | None = None
    """The corrected document of a resend."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How an order for many cases goes."""

    per_minute: int
    undo_window: timedelta
    canary_wait: timedelta


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A case for which the wish can be carried out."""

    case: CaseView
    fields: Mapping[str, str]
    """All fields of the reroute; none for the other ways."""


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A case that is passed over, and why."""

    case_id: int
    invoice_id: UUID
    why: str


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a wish would come to, before anything is done."""

    ready: tuple[Ready, ...]
    skipped: tuple[Passed, ...]

    @property
    def sums(self) -> dict[str, Decimal]:
        """The total of what is ready, by currency; unknown totals add nothing."""
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for each in self.ready:
            if each.case.total is not None:
                sums[each.case.currency or NO_CURRENCY] += each.case.total
        return dict(sums)

    @property
    def unknown_totals(self) -> int:
        """How many are ready whose total is not known."""
        return sum(each.case.total is None for each in self.ready)

    @property
    def reasons(self) -> Counter[str]:
        """How many are passed over for which reason."""
        return Counter(each.why for each in self.skipped)


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """What was written down."""

    planned: tuple[int, ...]
    """Cases, in the order of their turn; closed ones where the wish was to close."""
    skipped: tuple[Passed, ...]
    """All that was passed over, also what changed since the preview."""
    order_id: int | None = None
    canary: int | None = None
    undo_until: datetime | None = None
    ends_at: datetime | None = None
    """When the last one's turn comes if the canary does well by the end of the undo window."""


def preview(session: Session, cases: Iterable[CaseView], wish: Wish) -> Preview:
    """Look what a wish would come to; each case once, in the order of their numbers."""
    ready: list[Ready] = []
    skipped: list[Passed] = []
    chosen = sorted({case.id: case for case in cases}.values(), key=lambda case: case.id)
    for case in chosen:
        looked = _look(session, case, wish)
        if isinstance(looked, str):
            skipped.append(Passed(case_id=case.id, invoice_id=case.invoice_id, why=looked))
        else:
            ready.append(Ready(case=case, fields=looked))
    return Preview(ready=tuple(ready), skipped=tuple(skipped))


def carry_out(
    session: Session, previewed: Preview, wish: Wish, *, pace: Pace, chosen: Mapping[str, object], now: datetime
) -> Ordered:
    """Write down what was previewed: one case is due at once, many become an order behind a canary.

    `chosen` is plain JSON: what the person gave, to be shown. What changed since the preview is skipped with its
    reason. Closing needs no canary: nothing leaves.
    """
    if wish.way is Way.CLOSE:
        return _close_all(session, previewed, wish, now=now)
    if len(previewed.ready) > 1:
        return _order(session, previewed, wish, pace=pace, chosen=chosen, now=now)
    planned: list[int] = []
    skipped = list(previewed.skipped)
    for each in previewed.ready:
        _plan(session, each, wish, not_before=now, now=now, order_id=None, planned=planned, skipped=skipped)
    return Ordered(planned=tuple(planned), skipped=tuple(skipped))


def forecast_end(count: int, *, pace: Pace, now: datetime) -> datetime:
    """Return when the last of many would have its turn, if the canary does well within the undo window."""
    return now + pace.undo_window + turn(max(count - 2, 0), pace)


def turn(place: int, pace: Pace) -> timedelta:
    """Return how long after the first of the rest the one at a place, from 0, has its turn."""
    return timedelta(minutes=place / pace.per_minute)


def check_wish(wish: Wish, *, cases: int) -> None:
    """Refuse a wish that makes no sense for any case. Raises: InvalidInputError saying what to give instead."""
    if wish.fields:
        # With the rest filled in, only what was given can be wrong; what is missing is told case by case.
        known = {name: value for name, value in _EXAMPLE[wish.way].items() if name not in wish.fields}
        reroute_fields(wish.way, Recipient(), {**known, **wish.fields})
    if wish.document is not None and cases != 1:
        raise InvalidInputError(f"a corrected document is for one case, but {cases} were chosen; name one case")


_EXAMPLE: Mapping[Way, Mapping[str, str]] = {
    Way.EINVOICE: {"recipient_eia": "x", "recipient_operator": "x"},
    Way.EMAIL: {"recipient_email": "x@example.com"},
    Way.PRINT: {
        "recipient_name": "x",
        "recipient_address1": "x",
        "recipient_post_code": "x",
        "recipient_post_office": "x",
        "recipient_country": "FI",
    },
    Way.RESEND: {},
    Way.RETRY: {},
    Way.CLOSE: {},
}


def _look(session: Session, case: CaseView, wish: Wish) -> Mapping[str, str] | str:
    """Return the fields when the wish can be carried out for a case, else why not."""
    if why_not := _why_not(case, wish.way):
        return why_not
    if wish.document is not None and read_invoice_content(session, case.invoice_id) == wish.document.content:
        return "the document given is the one that failed; leave it out to resend the same"
    if wish.way not in REROUTES:
        return {}
    try:
        return reroute_fields(wish.way, _recipient(session, case, wish), wish.fields)
    except InvalidInputError as exc:
        return str(exc)


def _why_not(case: CaseView, way: Way) -> str | None:
    if case.status != "open":
        return _standing(case)
    if way is Way.CLOSE:
        return None
    if way.value not in case.ways:
        return f"{way.value} cannot end this failure ({case.verdict}); {', '.join(case.ways)} can"
    if case.state not in {State.FAILED, State.REFUSED}:
        return f"not failed: its invoice is {case.state.value}"
    return None


def _standing(case: CaseView) -> str:
    if case.status == "closed":
        return f"closed: {case.closed_reason}"
    if case.status == "resolved":
        return f"resolved: its invoice is {case.state.value}"
    return f"already under way: {case.plan}"


def _recipient(session: Session, case: CaseView, wish: Wish) -> Recipient:
    if wish.way is not Way.PRINT and not set(missing_fields(wish.way, Recipient())) - set(wish.fields):
        return Recipient()
    return read_recipient(read_invoice_content(session, case.invoice_id))


def _close_all(session: Session, previewed: Preview, wish: Wish, *, now: datetime) -> Ordered:
    reason = f"{wish.reason} ({wish.chosen_by})"
    closed: list[int] = []
    skipped = list(previewed.skipped)
    for each in previewed.ready:
        if close_case(session, each.case.id, reason=reason, now=now):
            closed.append(each.case.id)
        else:
            skipped.append(_passed(each, "it changed meanwhile: closed, resolved or under way"))
    return Ordered(planned=tuple(closed), skipped=tuple(skipped))


def _order(
    session: Session, previewed: Preview, wish: Wish, *, pace: Pace, chosen: Mapping[str, object], now: datetime
) -> Ordered:
    order_id = add_order(
        session,
        kind=wish.way.value,
        chosen=chosen,
        per_minute=pace.per_minute,
        undo_window=pace.undo_window,
        canary_wait=pace.canary_wait,
        now=now,
    )
    undo_until = now + pace.undo_window
    planned: list[int] = []
    skipped = list(previewed.skipped)
    for each in previewed.ready:
        # Without a canary yet, this one is tried as one: it goes at once.
        at = undo_until + turn(len(planned) - 1, pace) if planned else now
        way_id = _plan(session, each, wish, not_before=at, now=now, order_id=order_id, planned=planned, skipped=skipped)
        if way_id is not None and len(planned) == 1:
            set_canary(session, order_id, way_id)
    return Ordered(
        planned=tuple(planned),
        skipped=tuple(skipped),
        order_id=order_id if planned else None,
        canary=planned[0] if planned else None,
        undo_until=undo_until,
        ends_at=forecast_end(len(planned), pace=pace, now=now),
    )


def _plan(
    session: Session,
    ready: Ready,
    wish: Wish,
    *,
    not_before: datetime,
    now: datetime,
    order_id: int | None,
    planned: list[int],
    skipped: list[Passed],
) -> int | None:
    document = wish.document
    if document is not None:
        keep_document(session, document, now=now)
    result = plan_way_out(
        session,
        ready.case.id,
        way=wish.way,
        fields=dict(ready.fields),
        chosen_by=wish.chosen_by,
        reason=wish.reason,
        not_before=not_before,
        now=now,
        order_id=order_id,
        document_sha256=document.sha256 if document else None,
        document_filename=stored_name(document.filename) if document else None,
    )
    if isinstance(result, str):
        skipped.append(_passed(ready, result))
        return None
    planned.append(ready.case.id)
    return result


def _passed(ready: Ready, why: str) -> Passed:
    return Passed(case_id=ready.case.id, invoice_id=ready.case.invoice_id, why=why)

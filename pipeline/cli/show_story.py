"""An invoice's story put together: one timeline of all that happened, the chain, and the forms that scripts read.

Reads nothing itself and prints nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from uuid import UUID

from pipeline.cli.cases_words import plain, way_words
from pipeline.domain.cause import Owner
from pipeline.domain.next_step import CaseStanding, CompanyHold, next_step
from pipeline.domain.state import OperatorState, State
from pipeline.domain.way import REROUTES
from pipeline.storage.case_tables import FailureRow, OperatorActionRow, WayOutRow
from pipeline.storage.reading import Link, Story
from pipeline.storage.tables import AttemptRow, EventRow, InvoiceRow

TELLING = frozenset({OperatorState.PENDING, OperatorState.SENT, OperatorState.ERROR})
"""The operator's states that are more than information. Source: design section 2."""
LIVE_WAYS = frozenset({"planned", "begun", "unclear"})


class Who(StrEnum):
    """Where an entry of the timeline comes from."""

    US = "us"
    OPERATOR = "operator"
    CASE = "case"
    """The case: failures as judged, ways out as planned and carried out."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One entry of the timeline."""

    at: datetime
    who: Who
    kind: str
    what: str
    uuid: UUID
    """The invoice it is about; of a resent one the earlier and later invoices' failures are told too."""


def timeline(story: Story) -> list[Moment]:
    """Return everything that happened, in order of time; what happened at once stays in the order of its causes."""
    moments = [
        *(_attempt(each) for each in story.attempts),
        *(_event(each) for each in story.events),
        *(_action(each) for each in story.actions),
        *(_failure(each, number) for number, each in enumerate(story.failures, start=1)),
        *(moment for each in story.ways_out for moment in _way(each)),
        *_links(story),
    ]
    return sorted(moments, key=lambda moment: moment.at)


def whose(story: Story, moment: Moment) -> str:
    """Say whether an entry is about an earlier or a later invoice of the chain; blank when about this one."""
    if moment.uuid == story.invoice.id:
        return ""
    order = [link.invoice_id for link in story.chain]
    if moment.uuid not in order:
        return str(moment.uuid)
    return "earlier invoice" if order.index(moment.uuid) < order.index(story.invoice.id) else "later invoice"


def what_next(story: Story, *, disarmed: str | None = None) -> str:
    """Say what happens next to the invoice, and when."""
    invoice, company = story.invoice, story.company
    hold = None
    if invoice.held_for == "company" and company.hold_reason:
        hold = CompanyHold(cause=company.hold_reason, advice=company.hold_advice, check_at=company.check_at)
    return next_step(
        State(invoice.state),
        due_at=invoice.due_at,
        look_at=invoice.look_at,
        route_at=invoice.route_at,
        hold=hold,
        case=_standing(story),
        disarmed=disarmed,
    )


def operator_state(invoice: InvoiceRow) -> dict[str, object] | None:
    """Return the operator's finer state with its number and whether it is information only; None when unknown."""
    if invoice.operator_state is None:
        return None
    state = OperatorState(invoice.operator_state)
    return {"number": state.value, "name": state.name, "information_only": state not in TELLING}


def additions_as_json(story: Story) -> dict[str, object]:
    """Return what a story has beyond the invoice's own fields, attempts and events."""
    place = next(at for at, link in enumerate(story.chain) if link.invoice_id == story.invoice.id)
    later = story.chain[place + 1].invoice_id if place + 1 < len(story.chain) else None
    return {
        "case": _case_as_json(story),
        "failures": [failure_as_json(each) for each in story.failures],
        "ways_out": [way_as_json(each) for each in story.ways_out],
        "operator_actions": [
            {
                "at": each.happened_at,
                "type": each.type,
                "key": each.key,
                "channel": each.channel,
                "message": each.message,
                "read_at": each.read_at,
            }
            for each in story.actions
        ],
        "superseded_by": later,
        "chain": [link_as_json(each) for each in story.chain],
        "timeline": [
            {"at": each.at, "who": each.who, "kind": each.kind, "uuid": each.uuid, "what": each.what}
            for each in timeline(story)
        ],
    }


def failure_as_json(failure: FailureRow) -> dict[str, object]:
    """Return a failure as scripts read it."""
    return {
        "at": failure.at,
        "uuid": failure.invoice_id,
        "refused": failure.refused,
        "told": failure.told,
        "key": failure.key,
        "channel": failure.channel,
        "code": failure.code,
        "cause": failure.cause,
        "owner": failure.owner,
        "verdict": failure.verdict,
        "verdict_version": failure.verdict_version,
    }


def way_as_json(way: WayOutRow) -> dict[str, object]:
    """Return a way out as scripts read it."""
    return {
        "uuid": way.invoice_id,
        "way": way.kind,
        "status": way.status,
        "fields": way.fields,
        "chosen_by": way.chosen_by,
        "reason": way.reason,
        "order": way.order_id,
        "document_sha256": way.document_sha256,
        "successor": way.successor_id,
        "planned_at": way.planned_at,
        "not_before": way.not_before,
        "asked": way.asked,
        "asked_at": way.asked_at,
        "finished_at": way.finished_at,
        "outcome": way.outcome,
    }


def link_as_json(link: Link) -> dict[str, object]:
    """Return an invoice of a chain as scripts read it."""
    return {"uuid": link.invoice_id, "number": link.number, "state": link.state, "submitted_at": link.submitted_at}


def describe_case(story: Story) -> str | None:
    """Return where the case stands, in one line; None when there is none."""
    case = story.case
    if case is None:
        return None
    rounds = "failed once" if case.round == 1 else f"failed {case.round} times"
    return f"{case.id}, {plain(case.status)}, with the {case.owner}: {plain(case.cause)}, {rounds}"


def _standing(story: Story) -> CaseStanding | None:
    case = story.case
    if case is None:
        return None
    live = next((way for way in story.ways_out if way.status in LIVE_WAYS), None)
    return CaseStanding(
        owner=Owner(case.owner),
        plan=case.plan,
        decide_at=case.decide_at,
        way=_under_way(live) if live else None,
        way_at=live.not_before if live and live.status == "planned" else None,
        closed_reason=case.closed_reason if case.status == "closed" else None,
    )


def _under_way(way: WayOutRow) -> str:
    words = way_words(way.kind, way.fields)
    if way.status == "unclear":
        return f"{words}: the answer was unclear, so what the operator noted is read before anything else"
    if way.status == "begun":
        return f"{words}: being done now"
    # A way of an order begins only when its canary has shown that it works.
    return words if way.order_id is None else f"{words}, with order-{way.order_id}"


def _case_as_json(story: Story) -> dict[str, object] | None:
    case = story.case
    if case is None:
        return None
    return {
        "case": case.id,
        "uuid": case.invoice_id,
        "status": case.status,
        "owner": case.owner,
        "cause": case.cause,
        "verdict": case.verdict,
        "verdict_version": case.verdict_version,
        "words": case.words,
        "advice": case.advice,
        "ways": case.ways,
        "plan": case.plan,
        "decide_at": case.decide_at,
        "round": case.round,
        "failed_at": case.failed_at,
        "opened_at": case.opened_at,
        "changed_at": case.changed_at,
        "closed_reason": case.closed_reason,
    }


def _attempt(attempt: AttemptRow) -> Moment:
    took = f" in {(attempt.finished_at - attempt.started_at).total_seconds():.2f} s" if attempt.finished_at else ""
    said = " ".join(str(part) for part in (attempt.http_status, attempt.error_code, attempt.message) if part)
    outcome = plain(attempt.outcome) if attempt.outcome else "nobody lived to tell"
    what = f"{attempt.kind} no. {attempt.number}: {outcome}{took}" + (f", answer {said}" if said else "")
    return Moment(at=attempt.started_at, who=Who.US, kind="attempt", what=what, uuid=attempt.invoice_id)


def _event(event: EventRow) -> Moment:
    moved = "" if event.source in {None, event.target} else f"{event.source} → {event.target}: "
    return Moment(at=event.at, who=Who.US, kind=event.kind, what=f"{moved}{event.cause}", uuid=event.invoice_id)


def _action(action: OperatorActionRow) -> Moment:
    named = " ".join(part for part in (action.type, action.key) if part)
    by = f" by {action.channel}" if action.channel else ""
    what = f"{named}{by}" + (f": {action.message}" if action.message else "")
    at = action.happened_at or action.read_at
    return Moment(at=at, who=Who.OPERATOR, kind=action.type, what=what, uuid=action.invoice_id)


def _failure(failure: FailureRow, number: int) -> Moment:
    what = f"failure no. {number}, judged as {plain(failure.cause)} ({failure.verdict}), for the {failure.owner}"
    return Moment(at=failure.at, who=Who.CASE, kind="failure", what=what, uuid=failure.invoice_id)


def _way(way: WayOutRow) -> Iterator[Moment]:
    words = way_words(way.kind, way.fields)
    later = f", not before {way.not_before:%m-%d %H:%M:%S}" if way.not_before > way.planned_at else ""
    why = f": {way.reason}" if way.reason else ""
    yield _of(way, way.planned_at, "planned", f"planned by {way.chosen_by}: {words}{later}{why}")
    if way.asked_at is not None:
        times = f", {way.asked} times by now" if way.asked > 1 else ""
        begun = "asked of the operator" if way.kind in REROUTES else "begun"
        yield _of(way, way.asked_at, "asked", f"{begun}{times}: {way_words(way.kind)}")
    if way.finished_at is not None:
        told = f": {way.outcome}" if way.outcome else ""
        yield _of(way, way.finished_at, way.status, f"{way_words(way.kind)} {way.status}{told}")


def _of(way: WayOutRow, at: datetime, kind: str, what: str) -> Moment:
    return Moment(at=at, who=Who.CASE, kind=kind, what=what, uuid=way.invoice_id)


def _links(story: Story) -> Iterator[Moment]:
    """Tell on each side of a resend that it happened."""
    for earlier, later in pairwise(story.chain):
        what = None
        if later.invoice_id == story.invoice.id:
            what = f"takes the place of {earlier.invoice_id}"
        elif earlier.invoice_id == story.invoice.id:
            what = f"{later.invoice_id} takes its place"
        if what is not None:
            yield Moment(at=later.submitted_at, who=Who.US, kind="superseded", what=what, uuid=story.invoice.id)

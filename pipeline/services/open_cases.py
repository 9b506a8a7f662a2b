"""Failed and refused invoices become cases: reads why, has the table judge it, and writes all of it at once.

A failure that cannot be read waits and is never judged by a guess. Knows nothing of Celery, SQL or HTTP.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import Session

from pipeline.domain.cause import Cause, Owner
from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.routing import Routing
from pipeline.domain.routing_verdicts import UNKNOWN_ROW, Failure
from pipeline.domain.state import State
from pipeline.services.route_means import Means, say_failure, wait_longer
from pipeline.services.standing import read_standing
from pipeline.services.together import finish_all
from pipeline.storage import cases_opening
from pipeline.storage.cases_opening import Opening, Unrouted
from pipeline.storage.following_actions import store_actions

CASES_PER_ROUND = 40
QUESTIONS_AT_ONCE = 10
LEASE_SECONDS = 300.0
"""Longer than a round of questions that all time out; then an unrecorded failure is taken again."""
UNREAD_WAIT_SECONDS = 30.0
SAID_NO_FOR = timedelta(days=1)
"""So long the operator may answer this one question with no, or in a way nobody can read; then a person has it."""
SERVER_ERRORS = 500
UNCHANGED_WORDS = "The operator took the reroute, and yet shows the failure of before it and no other."
UNCHANGED_ADVICE = "Look at the invoice in the operator's own console: it may still be on its way by the other channel."


async def open_cases(means: Means, routing: Routing) -> tuple[int, Counter[str]]:
    """Open the cases of one round of failures; return how many were looked at, and counts of what came of it."""
    taken = await means.write(lambda session: _take(means, session))
    done = await finish_all((_see_to(means, routing, each) for each in taken), at_once=QUESTIONS_AT_ONCE)
    return len(taken), Counter(done)


def _take(means: Means, session: Session) -> list[Unrouted]:
    now = means.clock()
    until = now + timedelta(seconds=LEASE_SECONDS)
    standing = read_standing(session, means.settings, now=now)
    limit = standing.most(CASES_PER_ROUND)
    return cases_opening.take_unrouted(session, now=now, until=until, limit=limit, but=standing.left_alone)


async def _see_to(means: Means, routing: Routing, unrouted: Unrouted) -> str:
    actions: Sequence[OperatorAction] = ()
    if unrouted.state is State.FAILED:
        credentials = await means.credentials(unrouted.company_id)
        answer = await means.operator.actions(credentials, unrouted.id)
        if isinstance(answer, Outcome) and not _is_hopeless(means, unrouted, answer):
            failure = answer
            await means.write(lambda session: _put_off(session, means, unrouted, failure))
            return "unread"
        actions = () if isinstance(answer, Outcome) else answer
    return await means.write(lambda session: _open(session, means, routing, unrouted, actions))


def _is_hopeless(means: Means, unrouted: Unrouted, failure: Outcome) -> bool:
    """Tell whether nobody should wait any longer: the case is opened with an unknown cause then, for a person."""
    waited = means.clock() - unrouted.since
    if failure.kind is OutcomeKind.UNAUTHORIZED or failure.held_back_seconds is not None:
        return False
    status = failure.http_status
    is_no = (
        failure.kind in {OutcomeKind.IN_DOUBT, OutcomeKind.REFUSED} and status is not None and status < SERVER_ERRORS
    )
    return waited >= (SAID_NO_FOR if is_no else timedelta(seconds=means.settings.retry_budget_seconds))


def _put_off(session: Session, means: Means, unrouted: Unrouted, failure: Outcome) -> None:
    now = means.clock()
    if failure.held_back_seconds is not None:
        again = now + timedelta(seconds=failure.held_back_seconds)
        cases_opening.take_later(session, unrouted, again=again)
        return
    again = wait_longer(unrouted.since, now=now, least=UNREAD_WAIT_SECONDS, failure=failure)
    why = f"it failed, and why cannot be read yet: {say_failure(failure)}"
    cases_opening.put_off_routing(session, unrouted, again=again, why=why, now=now)
    means.hold_if_stopped(session, unrouted.company_id, failure, now=now)


def _open(
    session: Session, means: Means, routing: Routing, unrouted: Unrouted, actions: Sequence[OperatorAction]
) -> str:
    now = means.clock()
    error = next((action for action in reversed(actions) if action.type == "ERROR"), None)
    failure = _failure(unrouted, error)
    told_at = error.happened_at if error else None
    company = routing.for_company(unrouted.company_id, unrouted.company_name)
    verdict = company.judge(failure)
    if error is not None and cases_opening.is_older_than_reroute(session, unrouted.id, error):
        # It may still be on its way by the new channel: another way out taken by a rule could deliver it twice.
        verdict = dataclasses.replace(
            verdict,
            row=UNKNOWN_ROW,
            cause=Cause.UNKNOWN,
            owner=Owner.ENGINEER,
            words=UNCHANGED_WORDS,
            advice=UNCHANGED_ADVICE,
        )
    opening = Opening(
        unrouted=unrouted,
        failure=failure,
        # The operator's clock may be ahead of ours, and nothing fails before it was accepted: rules wait from here on.
        failed_at=min(max(told_at or unrouted.since, unrouted.accepted_at or unrouted.since), now),
        verdict=verdict,
        version=company.version,
    )
    round_ = cases_opening.open_case(session, opening, now=now)
    if round_ is None:
        return "late"
    store_actions(session, {unrouted.id: actions}, now=now)
    return "opened" if round_ == 1 else "reopened"


def _failure(unrouted: Unrouted, error: OperatorAction | None) -> Failure:
    if unrouted.state is State.REFUSED:
        return Failure(refused=True, text=unrouted.refusal, code=unrouted.refusal_code)
    if error is None:
        return Failure(refused=False, channel=unrouted.channel)
    return Failure(refused=False, text=error.message, key=error.key, channel=error.channel or unrouted.channel)

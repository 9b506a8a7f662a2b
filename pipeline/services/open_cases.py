"""Failed and refused invoices become cases: reads why, has the table judge it, and writes all of it at once.

A failure that cannot be read waits and is never judged by a guess. Knows nothing of Celery, SQL or HTTP.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import Session

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome
from pipeline.domain.routing import Routing
from pipeline.domain.routing_verdicts import Failure
from pipeline.domain.state import State
from pipeline.services.route_means import Means, say_failure, wait_longer
from pipeline.services.together import finish_all
from pipeline.storage import cases_opening
from pipeline.storage.cases_opening import Opening, Unrouted
from pipeline.storage.following_actions import store_actions

CASES_PER_ROUND = 100
QUESTIONS_AT_ONCE = 10
LEASE_SECONDS = 300.0
"""Longer than a round of questions that all time out; then an unrecorded failure is taken again."""
UNREAD_WAIT_SECONDS = 30.0


async def open_cases(means: Means, routing: Routing) -> tuple[int, Counter[str]]:
    """Open the cases of one round of failures; return how many were looked at, and counts of what came of it."""
    now = means.clock()
    until = now + timedelta(seconds=LEASE_SECONDS)
    taken = await means.write(
        lambda session: cases_opening.take_unrouted(session, now=now, until=until, limit=CASES_PER_ROUND)
    )
    done = await finish_all((_see_to(means, routing, each) for each in taken), at_once=QUESTIONS_AT_ONCE)
    return len(taken), Counter(done)


async def _see_to(means: Means, routing: Routing, unrouted: Unrouted) -> str:
    actions: Sequence[OperatorAction] = ()
    if unrouted.state is State.FAILED:
        credentials = await means.credentials(unrouted.company_id)
        answer = await means.operator.actions(credentials, unrouted.id)
        if isinstance(answer, Outcome):
            failure = answer
            await means.write(lambda session: _put_off(session, means, unrouted, failure))
            return "unread"
        actions = answer
    return await means.write(lambda session: _open(session, means, routing, unrouted, actions))


def _put_off(session: Session, means: Means, unrouted: Unrouted, failure: Outcome) -> None:
    now = means.clock()
    again = wait_longer(unrouted.since, now=now, least=UNREAD_WAIT_SECONDS, failure=failure)
    why = f"it failed, and why cannot be read yet: {say_failure(failure)}"
    cases_opening.put_off_routing(session, unrouted, again=again, why=why, now=now)
    means.hold_if_stopped(session, unrouted.company_id, failure, now=now)


def _open(
    session: Session, means: Means, routing: Routing, unrouted: Unrouted, actions: Sequence[OperatorAction]
) -> str:
    now = means.clock()
    errors = [action for action in actions if action.type == "ERROR"]
    failure = _failure(unrouted, errors[-1] if errors else None)
    told_at = errors[-1].happened_at if errors else None
    company = routing.for_company(unrouted.company_id, unrouted.company_name)
    opening = Opening(
        unrouted=unrouted,
        failure=failure,
        # The operator's clock may be ahead of ours; nothing has failed before it failed.
        failed_at=min(told_at or unrouted.since, now),
        verdict=company.judge(failure),
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

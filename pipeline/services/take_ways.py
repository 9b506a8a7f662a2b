"""Carries out the ways out whose time has come. Reroutes have their own module; resends and retries are here.

Knows nothing of Celery, SQL or HTTP.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from sqlmodel import Session

from pipeline.domain.document import inspect
from pipeline.domain.errors import DocumentError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.domain.way import REROUTES, Way
from pipeline.services.arming import why_disarmed
from pipeline.services.route_means import Means
from pipeline.services.standing import read_standing
from pipeline.services.take_reroutes import FAILED, Taking
from pipeline.services.together import finish_all
from pipeline.storage import cases_deciding, ways_ending, ways_taking
from pipeline.storage.ways_ending import NewHeader
from pipeline.storage.ways_taking import ClaimedWay

WAYS_PER_ROUND = 50
WAYS_AT_ONCE = 10
CLAIM_LEASE = timedelta(seconds=60)
"""A way out whose worker died is taken again after this; asking the operator makes it longer."""
STATES: Mapping[Way, frozenset[State]] = {
    **dict.fromkeys(REROUTES, frozenset({State.FAILED})),
    Way.RESEND: frozenset({State.FAILED, State.REFUSED}),
    Way.RETRY: frozenset({State.REFUSED}),
}
TAKEN = "the invoice moved on, or another one took its place already"


async def take_ways(means: Means) -> tuple[int, Counter[str]]:
    """Carry out one round of ways out; return how many were taken, and counts of how they ended."""
    claimed = await means.write(lambda session: _claim(means, session))
    done = await finish_all((_take(means, each) for each in claimed), at_once=WAYS_AT_ONCE)
    return len(claimed), Counter(done)


def _claim(means: Means, session: Session) -> list[ClaimedWay]:
    if why_disarmed(session, means.settings) is not None:
        return []
    now = means.clock()
    standing = read_standing(session, means.settings, now=now)
    return ways_taking.claim_ways(
        session, now=now, lease=CLAIM_LEASE, limit=standing.most(WAYS_PER_ROUND), but=standing.left_alone
    )


async def _take(means: Means, claimed: ClaimedWay) -> str:
    taking = Taking(means=means, claimed=claimed)
    if claimed.asked == 0 and claimed.state not in STATES.get(claimed.way, frozenset()):
        return await taking.skip(f"the invoice is {claimed.state} by now: nothing to do")
    if claimed.asked == 0 and claimed.order_ended is not None:
        return await taking.refuse(f"its order ended before anything was asked: {claimed.order_ended}")
    if claimed.way in REROUTES:
        return await taking.reroute()
    return await (_resend(taking) if claimed.way is Way.RESEND else _retry(taking))


async def _retry(taking: Taking) -> str:
    now = taking.means.clock()
    return await taking.end(lambda session: ways_ending.end_retried(session, taking.claimed, now=now), "retried")


async def _resend(taking: Taking) -> str:
    """Put a successor in the invoice's place, but only while the old one provably is not on its way."""
    is_failed = taking.claimed.state is State.FAILED
    obstacle = await (_why_not_failed(taking) if is_failed else _why_not_absent(taking))
    if isinstance(obstacle, Outcome):
        return await taking.put_off(obstacle)
    if obstacle is not None:
        return await taking.skip(obstacle)
    try:
        header = await _read_header(taking)
    except DocumentError as exc:
        return await taking.refuse(f"the corrected document cannot be sent: {exc}")
    return await taking.means.write(lambda session: _succeed(session, taking, header))


async def _why_not_failed(taking: Taking) -> str | Outcome | None:
    status = await taking.read_status()
    if isinstance(status, Outcome):
        return status
    return None if status == FAILED else f"the operator says {status} already: nothing to resend"


async def _why_not_absent(taking: Taking) -> str | Outcome | None:
    claimed = taking.claimed
    credentials = await taking.means.credentials(claimed.company_id)
    found = (await taking.means.operator.probe(credentials, [claimed.invoice_id]))[claimed.invoice_id]
    if found.kind is OutcomeKind.ABSENT:
        return None
    return "the operator holds it after all: nothing to resend" if found.kind is OutcomeKind.ALREADY_THERE else found


async def _read_header(taking: Taking) -> NewHeader | None:
    sha256, filename = taking.claimed.document_sha256, taking.claimed.document_filename
    if sha256 is None:
        return None
    content = await taking.means.write(lambda session: cases_deciding.read_content(session, sha256))
    header = (await asyncio.to_thread(inspect, content, filename=filename or "")).header
    return NewHeader(
        number=header.number,
        format=header.format.value,
        issue_date=header.issue_date,
        total=header.total,
        currency=header.currency,
        seller_name=header.seller_name,
        buyer_name=header.buyer_name,
    )


def _succeed(session: Session, taking: Taking, header: NewHeader | None) -> str:
    now = taking.means.clock()
    if ways_ending.end_resent(session, taking.claimed, header=header, now=now):
        return "resent"
    return "refused" if ways_ending.end_refused(session, taking.claimed, words=TAKEN, now=now) else "late"

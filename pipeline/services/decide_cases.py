"""Asks the rules about open cases: take a way out now, later unless a person is faster, or leave it to a person."""

import asyncio
from collections import Counter
from datetime import timedelta

from sqlmodel import Session

from pipeline.domain.document import read_recipient
from pipeline.domain.recipient import Recipient
from pipeline.domain.routing import Ask, Choice, CompanyRouting, Routing, Situation
from pipeline.services.arming import why_disarmed
from pipeline.services.route_means import Means
from pipeline.services.together import finish_all
from pipeline.storage import cases_deciding
from pipeline.storage.cases_deciding import Undecided
from pipeline.storage.ways_out import plan_way_out
from pipeline.storage.ways_words import say_instant, say_way

CASES_PER_ROUND = 200
DOCUMENTS_AT_ONCE = 2
"""Documents can be large, and reading them is work for the processor."""
LEASE_SECONDS = 300.0


async def decide_cases(means: Means, routing: Routing) -> tuple[int, Counter[str]]:
    """Ask the rules about one round of cases; return how many, and counts of what they said."""
    taken = await means.write(lambda session: _take(means, session))
    done = await finish_all((_decide(means, routing, each) for each in taken), at_once=DOCUMENTS_AT_ONCE)
    return len(taken), Counter(done)


def _take(means: Means, session: Session) -> list[Undecided]:
    # A resend planned by a copy would have another UUID than the living installation's: two invoices for one.
    if why_disarmed(session, means.settings) is not None:
        return []
    now = means.clock()
    until = now + timedelta(seconds=LEASE_SECONDS)
    return cases_deciding.take_undecided(session, now=now, until=until, limit=CASES_PER_ROUND)


async def _decide(means: Means, routing: Routing, case: Undecided) -> str:
    company = routing.for_company(case.company_id, case.company_name)
    recipient = await _recipient(means, company, case)
    return await means.write(lambda session: _say(session, means, company, case, recipient))


async def _recipient(means: Means, company: CompanyRouting, case: Undecided) -> Recipient:
    if not company.rules:
        return Recipient()
    content = await means.write(lambda session: cases_deciding.read_content(session, case.document_sha256))
    return await asyncio.to_thread(read_recipient, content)


def _say(session: Session, means: Means, company: CompanyRouting, case: Undecided, recipient: Recipient) -> str:
    now = means.clock()
    situation = Situation(
        verdict=case.verdict,
        channel=case.channel,
        failed_at=case.failed_at,
        now=now,
        total=case.total,
        recipient=recipient,
        tried=case.tried,
    )
    if not cases_deciding.hold_undecided(session, case):
        return "late"
    said = company.choose(situation)
    if isinstance(said, Choice) and said.at > now:
        plan = f"rule {said.rule!r}: {say_way(said.way, said.fields)} at {say_instant(said.at)} unless a person decides"
        cases_deciding.leave_open(session, case, plan=f"{plan} first", ask_again_at=said.at, now=now)
        return "waiting"
    why = said.why if isinstance(said, Ask) else _plan(session, means, case, said)
    if why is None:
        return "planned"
    cases_deciding.leave_open(session, case, plan=why, ask_again_at=None, now=now)
    return "asked"


def _plan(session: Session, means: Means, case: Undecided, choice: Choice) -> str | None:
    now = means.clock()
    planned = plan_way_out(
        session,
        case.id,
        way=choice.way,
        fields=choice.fields,
        chosen_by=f"rule: {choice.rule}",
        reason=None,
        not_before=now,
        now=now,
    )
    return f"rule {choice.rule!r} cannot go ahead: {planned}" if isinstance(planned, str) else None

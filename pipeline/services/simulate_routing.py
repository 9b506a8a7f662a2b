"""Replaying rules on failures of the past: what they would have done, beside what was done. Touches nothing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.document import read_recipient
from pipeline.domain.recipient import Recipient
from pipeline.domain.routing import Ask, Choice, CompanyRouting, Routing, Situation
from pipeline.domain.routing_verdicts import Failure, Verdict
from pipeline.domain.way import REROUTES, Way
from pipeline.storage.database import Database
from pipeline.storage.failure_history import (
    PastFailure,
    promise_to_read_only,
    read_content,
    read_past_failures,
)

PAGE_FAILURES = 500
SHOWN_DIFFERENCES = 100
"""More are counted, not listed: a person reads these to mend the rules and runs it again."""
SHOWN_REASONS = 50
LATER = "later"
PERSON = "person"
BY_PERSON = "a person"
"""How `chosen_by` begins when a person chose."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A failure about which the rules would have done something else than was done."""

    case_id: int
    invoice_id: UUID
    at: datetime
    would: str
    """A way, or `person`."""
    why: str
    """The rule's name, or why a person would be asked."""
    really: str
    by: str
    delivered: bool
    """Whether what was done led to a delivery."""


@dataclass(kw_only=True)
class Simulation:
    """What the rules would have done with everything in the time looked at."""

    cases: int = 0
    failures: int = 0
    would: Counter[str] = field(default_factory=Counter)
    """By way; `later`: the rule waits, and something else happened first; `person`. Adds up to the failures."""
    changed_verdict: int = 0
    agreed_with_people: int = 0
    decided_by_people: int = 0
    differences: int = 0
    differs: list[Difference] = field(default_factory=list)
    """The first ones."""
    persons_why: Counter[str] = field(default_factory=Counter)


def simulate_routing(
    database: Database, routing: Routing, *, since: datetime, now: datetime, company_id: UUID | None = None
) -> Simulation:
    """Replay a table of rules on the failures since an instant, in transactions that can change nothing."""
    simulation, routings = Simulation(), dict[UUID, CompanyRouting]()
    for session, past in _pages(database, since=since, company_id=company_id):
        own = routings.setdefault(past.company_id, routing.for_company(past.company_id, past.company_name))
        verdict = own.judge(_failure(past))
        decision = own.choose(_situation(session, past, own, verdict))
        _count(simulation, past, verdict, decision, now=now)
    return simulation


def _pages(database: Database, *, since: datetime, company_id: UUID | None) -> Iterator[tuple[Session, PastFailure]]:
    after = (since, 0)
    while True:
        # A transaction a page: one over the whole history would keep the database from tidying up.
        with database.transaction() as session:
            promise_to_read_only(session)
            page = read_past_failures(session, since=since, company_id=company_id, after=after, limit=PAGE_FAILURES)
            for past in page:
                yield session, past
        if len(page) < PAGE_FAILURES:
            return
        after = (page[-1].at, page[-1].id)


def _failure(past: PastFailure) -> Failure:
    return Failure(refused=past.refused, text=past.told, key=past.key, channel=past.channel, code=past.code)


def _situation(session: Session, past: PastFailure, routing: CompanyRouting, verdict: Verdict) -> Situation:
    # Documents are read only where their recipient can matter: it is nearly all of the work.
    matters = bool(routing.automatic & verdict.ways & REROUTES)
    return Situation(
        verdict=verdict,
        channel=past.channel,
        failed_at=past.at,
        now=past.at,
        total=past.total,
        recipient=read_recipient(read_content(session, past.document_sha256)) if matters else Recipient(),
        tried=tuple(Way(kind) for kind in past.tried),
    )


def _count(
    simulation: Simulation, past: PastFailure, verdict: Verdict, decision: Choice | Ask, *, now: datetime
) -> None:
    would = _would(past, decision, now=now)
    simulation.cases += past.is_first
    simulation.failures += 1
    simulation.would[would] += 1
    simulation.changed_verdict += verdict.row != past.verdict
    if isinstance(decision, Ask) and (decision.why in simulation.persons_why or _has_room(simulation)):
        simulation.persons_why[decision.why] += 1
    really, by = _really(past)
    by_person = by.startswith(BY_PERSON)
    simulation.decided_by_people += by_person
    simulation.agreed_with_people += by_person and would == really
    if really is not None and _differs(would, really, by_person=by_person):
        simulation.differences += 1
        if len(simulation.differs) < SHOWN_DIFFERENCES:
            simulation.differs.append(_difference(past, decision, would=would, really=really, by=by))


def _has_room(simulation: Simulation) -> bool:
    return len(simulation.persons_why) < SHOWN_REASONS


def _would(past: PastFailure, decision: Choice | Ask, *, now: datetime) -> str:
    if isinstance(decision, Ask):
        return PERSON
    ended_at = past.took_at or past.failed_again_at or past.closed_at or now
    return decision.way.value if decision.at <= ended_at else LATER


def _really(past: PastFailure) -> tuple[str | None, str]:
    if past.took is not None:
        return past.took, past.chosen_by or ""
    return (Way.CLOSE.value, BY_PERSON) if past.closed_at is not None else (None, "")


def _differs(would: str, really: str, *, by_person: bool) -> bool:
    # A person who decides again may decide the same; a rule that waits was overtaken, not contradicted.
    return would not in {really, LATER} and not (would == PERSON and by_person)


def _difference(past: PastFailure, decision: Choice | Ask, *, would: str, really: str, by: str) -> Difference:
    return Difference(
        case_id=past.case_id,
        invoice_id=past.invoice_id,
        at=past.at,
        would=would,
        why=decision.why if isinstance(decision, Ask) else f"rule {decision.rule}",
        really=really,
        by=by,
        delivered=past.delivered,
    )

"""The minimal follow-up: reads the status of what the operator holds, 100 invoices a call, and marks the end.

Taken looks are due again by themselves when nobody records them, so it is harmless when rung twice or killed.
Knows nothing of Celery, SQL or HTTP.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.services.ports import IDS_PER_CALL, Clock, Operator, Sighting
from pipeline.services.together import finish_all
from pipeline.settings import Settings
from pipeline.storage import companies, following
from pipeline.storage.database import Database
from pipeline.storage.following import Learned, Look
from pipeline.storage.vault import Vault

LOOKS_PER_RUN = 2000
CALLS_AT_ONCE = 20
"""As many as a full run of one company has; companies with one invoice each must not open thousands."""
LOOK_LEASE_SECONDS = 120.0
STATES = {"DELIVERED": State.DELIVERED, "FAILED": State.FAILED}

UNKNOWN = "the operator does not show it although it accepted it; asking again"
QUESTIONS_AT_ONCE = 10

log = logging.getLogger(__name__)


class Follower:
    """Looks at accepted and delivered invoices when their turn comes."""

    def __init__(
        self, *, database: Database, vault: Vault, operator: Operator, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock

    async def run(self) -> Counter[str]:
        """Ask about what is due; return the counts of answers by kind. What fails for one company ends no other's."""
        looks = await asyncio.to_thread(self._take)
        by_company: dict[UUID, list[Look]] = {}
        for look in looks:
            by_company.setdefault(look.company_id, []).append(look)
        asked = [
            self._ask(company_id, owned[start : start + IDS_PER_CALL])
            for company_id, owned in by_company.items()
            for start in range(0, len(owned), IDS_PER_CALL)
        ]
        return sum(await finish_all(asked, at_once=CALLS_AT_ONCE), Counter())

    def _take(self) -> list[Look]:
        now = self._clock()
        with self._database.transaction() as session:
            until = now + timedelta(seconds=LOOK_LEASE_SECONDS)
            return following.take_looks(session, now=now, until=until, limit=LOOKS_PER_RUN)

    async def _ask(self, company_id: UUID, looks: Sequence[Look]) -> Counter[str]:
        credentials = await asyncio.to_thread(self._credentials, company_id)
        answer = await self._operator.statuses(credentials, [look.id for look in looks])
        causes = {} if isinstance(answer, Outcome) else await self._ask_why(credentials, answer)
        return await asyncio.to_thread(self._record, company_id, looks, answer, causes)

    async def _ask_why(self, credentials: CompanyCredentials, seen: Mapping[UUID, Sighting]) -> dict[UUID, str | None]:
        # Actions are read only where they say something new: a failed invoice is looked at no more.
        failed = [uuid for uuid, sighting in seen.items() if sighting.status == "FAILED"]
        room = asyncio.Semaphore(QUESTIONS_AT_ONCE)

        async def ask(uuid: UUID) -> str | None:
            async with room:
                return await self._operator.why_failed(credentials, uuid)

        return dict(zip(failed, await asyncio.gather(*map(ask, failed)), strict=True))

    def _credentials(self, company_id: UUID) -> CompanyCredentials:
        with self._database.transaction() as session:
            return companies.read_credentials(session, company_id, vault=self._vault)

    def _record(
        self,
        company_id: UUID,
        looks: Sequence[Look],
        answer: Mapping[UUID, Sighting] | Outcome,
        causes: Mapping[UUID, str | None],
    ) -> Counter[str]:
        now = self._clock()
        if isinstance(answer, Outcome):
            return self._put_off(company_id, looks, answer, now=now)
        learned = [self._learn(look, answer.get(look.id), causes.get(look.id), now=now) for look in looks]
        with self._database.transaction() as session:
            following.record_learned(session, learned, now=now)
        return Counter(each.target.value for each in learned)

    def _put_off(self, company_id: UUID, looks: Sequence[Look], failure: Outcome, *, now: datetime) -> Counter[str]:
        # The question failed, so nothing was learned of any invoice; a company that is not let in is held.
        again = now + timedelta(seconds=max(failure.retry_after_seconds or 0.0, self._settings.follow_interval_seconds))
        learned = [
            Learned(look=look, target=look.state, operator_status=None, reason=None, look_at=again) for look in looks
        ]
        with self._database.transaction() as session:
            following.record_learned(session, learned, now=now)
            if failure.kind is OutcomeKind.UNAUTHORIZED:
                companies.hold_company(session, company_id, reason=failure.message or "not let in", now=now)
        log.info("look failed", extra={"event": "look_failed", "company": str(company_id), "kind": failure.kind.value})
        return Counter({failure.kind.value: len(looks)})

    def _learn(self, look: Look, sighting: Sighting | None, cause: str | None, *, now: datetime) -> Learned:
        status = sighting.status if sighting else None
        target = STATES.get(status or "", look.state)
        if look.state is State.DELIVERED and target is not State.FAILED:
            target = State.DELIVERED
        said = f"the operator says {status}"
        reason = (f"{said}: {cause}" if cause else said) if target is not look.state else None
        if sighting is None:
            reason = UNKNOWN
            log.error("operator does not know it", extra={"event": "accepted_unknown", "invoice": str(look.id)})
        return Learned(
            look=look,
            target=target,
            operator_status=status,
            reason=reason,
            look_at=self._next_look(look, target, now=now),
        )

    def _next_look(self, look: Look, target: State, *, now: datetime) -> datetime | None:
        if target is State.FAILED:
            return None
        if target is State.DELIVERED:
            over = look.accepted_at + timedelta(days=self._settings.delivered_days)
            return now + timedelta(seconds=self._settings.delivered_looks_seconds) if now < over else None
        waits = self._settings.look_waits_seconds
        return now + timedelta(seconds=waits[min(look.looks, len(waits) - 1)])

"""The follow-up: asks what became of what the operator holds, 100 invoices of one company a call, one sweep at a time.

Taken looks are due again by themselves when nobody records them, so it is harmless when rung twice, late or killed.
What an answer means: follow_judging.py. Never asks about a single invoice. Knows nothing of Celery, SQL or HTTP.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.services.alone import Alone
from pipeline.services.follow_backup import BackupPass
from pipeline.services.follow_judging import is_lost, judge
from pipeline.services.hold import hold_stopped
from pipeline.services.ports import IDS_PER_CALL, Clock, Operator, Sighting
from pipeline.services.standing import Standing, read_standing, scopes_of
from pipeline.services.together import finish_all
from pipeline.settings import Settings
from pipeline.storage import companies, following
from pipeline.storage.database import Database
from pipeline.storage.following import Look
from pipeline.storage.following_learned import record_learned
from pipeline.storage.vault import Vault

LEASE_NAME = "follow"
CALLS_PER_ROUND = 40
"""A round of slow answers stays below the leases; each company gets the same share, at least one call."""
CALLS_AT_ONCE = 20
LOOK_LEASE_SECONDS = 120.0
FILL_SECONDS = 60.0
"""How much too early a look may be to fill up a call that is made anyway."""

NO_ACCESS = Outcome(
    kind=OutcomeKind.IN_DOUBT, message="an accepted invoice was not shown, and the token is not vouched for"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The looks of one company that are asked about together, and until when they are ours."""

    company_id: UUID
    looks: Sequence[Look]
    until: datetime


class Follower:
    """Looks at accepted, delivered and failed invoices when their turn comes."""

    def __init__(
        self, *, database: Database, vault: Vault, operator: Operator, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock
        self._silent: dict[UUID, Outcome] = {}

    async def run(self, holder: UUID) -> Counter[str]:
        """Ask until nothing is due; return the counts of answers by kind. Nothing beside another holder.

        A company that does not answer is left alone until the next run; others notice nothing.
        Raises: whatever asking for one company raised, when the others are done; its looks come back by their lease.
        """
        counts: Counter[str] = Counter()
        self._silent.clear()

        async def one_round() -> int:
            told = await self._round()
            counts.update(told)
            return told.total()

        await Alone(database=self._database, clock=self._clock, name=LEASE_NAME).run(holder, one_round)
        return counts

    async def backup(self, holder: UUID) -> int:
        """Make due what is open and was not shown for a day; return how many. See BackupPass."""
        return await BackupPass(database=self._database, settings=self._settings, clock=self._clock).run(holder)

    async def _round(self) -> Counter[str]:
        calls = await asyncio.to_thread(self._take)
        room = asyncio.Semaphore(CALLS_AT_ONCE)
        by_company = [(company_id, list(own)) for company_id, own in groupby(calls, key=lambda call: call.company_id)]
        work = [self._follow(company_id, own, room) for company_id, own in by_company]
        return sum(await finish_all(work, at_once=CALLS_PER_ROUND), Counter())

    def _take(self) -> list[Call]:
        now = self._clock()
        soon, until = now + timedelta(seconds=FILL_SECONDS), now + timedelta(seconds=LOOK_LEASE_SECONDS)
        with self._database.transaction() as session:
            standing = read_standing(session, self._settings, now=now)
            if standing.calls == 0:
                return []
            due = following.count_due(session, now=now, at_most=CALLS_PER_ROUND * IDS_PER_CALL)
            wanted = share_calls([each for each in due if each[0] not in self._silent], standing=standing)
            amounts = [(company_id, calls * IDS_PER_CALL) for company_id, calls in wanted]
            looks = following.take_looks(session, amounts, now=now, soon=soon, until=until)
        owned = [list(own) for _, own in groupby(looks, key=lambda look: look.company_id)]
        return [
            Call(company_id=own[0].company_id, looks=own[start : start + IDS_PER_CALL], until=until)
            for own in owned
            for start in range(0, len(own), IDS_PER_CALL)
        ]

    async def _follow(self, company_id: UUID, calls: Sequence[Call], room: asyncio.Semaphore) -> Counter[str]:
        answered, restrained = False, False

        async def ask(call: Call) -> Counter[str]:
            nonlocal answered, restrained
            async with room:
                answer, vouched = await self._ask(credentials, call)
            if vouched:
                answered = True
            else:
                silence = self._silent.setdefault(company_id, answer if isinstance(answer, Outcome) else NO_ACCESS)
                restrained = silence.held_back_seconds is not None
            return await asyncio.to_thread(self._record, call, answer, vouched=vouched)

        try:
            credentials = await asyncio.to_thread(self._credentials, company_id)
            return sum(await finish_all([ask(call) for call in calls], at_once=CALLS_AT_ONCE), Counter())
        finally:
            if answered or not restrained:
                await asyncio.to_thread(self._note_company, company_id, answered=answered)

    async def _ask(self, credentials: CompanyCredentials, call: Call) -> tuple[Mapping[UUID, Sighting] | Outcome, bool]:
        if call.company_id in self._silent:
            return self._silent[call.company_id], False
        answer = await self._operator.statuses(credentials, [look.id for look in call.looks])
        if isinstance(answer, Outcome):
            return answer, False
        now = self._clock()
        absent = [look for look in call.looks if look.id not in answer]
        if not any(is_lost(look, settings=self._settings, now=now) for look in absent):
            return answer, True
        # An empty list also means "no access": nothing is lost on the word of a token that nobody vouches for.
        return answer, await self._operator.why_closed(credentials) is None

    def _credentials(self, company_id: UUID) -> CompanyCredentials:
        with self._database.transaction() as session:
            return companies.read_credentials(session, company_id, vault=self._vault)

    def _note_company(self, company_id: UUID, *, answered: bool) -> None:
        with self._database.transaction() as session:
            if answered:
                following.note_answered(session, company_id, now=self._clock())
                return
            scopes = scopes_of(self._settings, company_id)
            following.note_not_answered(session, company_id, scopes=scopes, now=self._clock())

    def _record(self, call: Call, answer: Mapping[UUID, Sighting] | Outcome, *, vouched: bool) -> Counter[str]:
        now = self._clock()
        if now >= call.until:
            # Somebody else may have asked since and know better.
            log.warning("look came too late", extra={"event": "late_look", "company": str(call.company_id)})
            return Counter({"late": len(call.looks)})
        if isinstance(answer, Outcome):
            return self._put_off(call, answer, now=now)
        learned = [
            judge(look, answer.get(look.id), vouched=vouched, settings=self._settings, now=now) for look in call.looks
        ]
        with self._database.transaction() as session:
            written = record_learned(session, learned, until=call.until, now=now)
        for each in learned:
            if each.is_lost and each.look.id in written:
                extra = {"event": "accepted_unknown", "invoice": str(each.look.id), "lost": each.look.lost + 1}
                log.error("operator does not know it", extra=extra)
        moved_meanwhile = Counter({"moved_meanwhile": len(learned) - len(written)})
        return Counter(each.target.value for each in learned if each.look.id in written) + moved_meanwhile

    def _put_off(self, call: Call, failure: Outcome, *, now: datetime) -> Counter[str]:
        # The question failed, so nothing was learned of any invoice; a company that is not let in is held.
        if failure.held_back_seconds is not None:
            return self._hold_back(call, seconds=failure.held_back_seconds, now=now)
        wait = max(failure.retry_after_seconds or 0.0, self._settings.follow_interval_seconds)
        again = now + timedelta(seconds=wait)
        if wait > self._settings.follow_interval_seconds:
            with self._database.transaction() as session:
                following.put_off_company(session, call.company_id, again=again)
        with self._database.transaction() as session:
            following.put_off(session, [look.id for look in call.looks], until=call.until, again=again)
            if failure.kind is OutcomeKind.UNAUTHORIZED:
                hold_stopped(session, call.company_id, failure, settings=self._settings, now=now)
        extra = {"event": "look_failed", "company": str(call.company_id), "kind": failure.kind.value}
        log.info("look failed", extra=extra)
        return Counter({failure.kind.value: len(call.looks)})

    def _hold_back(self, call: Call, *, seconds: float, now: datetime) -> Counter[str]:
        # Nobody was asked, so nothing failed.
        with self._database.transaction() as session:
            again = now + timedelta(seconds=seconds)
            following.put_off(session, [look.id for look in call.looks], until=call.until, again=again)
        return Counter({"held_back": len(call.looks)})


def share_calls(due: Sequence[tuple[UUID, int]], *, standing: Standing) -> list[tuple[UUID, int]]:
    """Divide the calls of a round among companies by their due looks: equal shares, the longest waiting first.

    None of those left alone; where a canary is due, one call is all.
    """
    left, shared = standing.most_in_all(CALLS_PER_ROUND), []
    share = max(1, CALLS_PER_ROUND // max(1, len(due)))
    for company_id, n in due:
        calls = min(standing.most_of(company_id, share), left, -(-n // IDS_PER_CALL))
        if calls:
            shared.append((company_id, calls))
            left -= calls
    return shared

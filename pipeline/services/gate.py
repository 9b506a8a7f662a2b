"""The gate every exchange with the operator passes: turns in order, pauses the operator asked for, open circuits.

Knows neither HTTP nor what is asked of the operator. Where nothing is limited, blocked or open, it costs no SQL but the
outlook that all exchanges of a quarter of a second share.
"""

import asyncio
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from pipeline.domain.circuit import room
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.pace import NotYet, Pace, Turns, hold_back
from pipeline.domain.turnstile import Lane
from pipeline.maventa.environment import OperatorHosts
from pipeline.services.canaries import Canaries
from pipeline.services.evidence_keeper import EvidenceKeeper
from pipeline.services.outlook import Outlook
from pipeline.services.ports import Chance, Clock
from pipeline.services.turn_queue import AGAIN_SECONDS, Dismissed, SleepUntil, TurnQueue
from pipeline.settings import Settings
from pipeline.storage.database import Database
from pipeline.storage.pacing import Key, reserve, seat

THREADS = 4
"""Of the gate's own, so that turns never queue behind what workers write."""
CROWDED_SECONDS = 0.5
"""A slow start lets twice as many in each second; who found no room comes again after this."""
JITTER_SHARE = 0.1
LONGEST_JITTER_SECONDS = 5.0
CLOCKS_SECONDS = 0.02
"""What the clocks of two processes may differ: nobody is to be early by it."""
TOO_OFTEN = 3
"""Turns lost in a row because a pause or an open circuit came in between."""

log = logging.getLogger(__name__)


class Gate:
    """See Turnstile. One for each process and loop; processes meet in the database."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        clock: Clock,
        chance: Chance,
        sleep_until: SleepUntil | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._chance = chance
        self._sleep_until = sleep_until or self._sleep
        self._host = host_scope(settings)
        self._executor: ThreadPoolExecutor | None = None
        self._outlook = Outlook(
            database=database, settings=settings, host=self._host, clock=clock, executor=self._threads
        )
        self._keeper = EvidenceKeeper(
            database=database,
            settings=settings,
            host=self._host,
            clock=clock,
            outlook=self._outlook,
            sleep_until=self._sleep_until,
            executor=self._threads,
        )
        self._canaries = Canaries(
            database=database, settings=settings, clock=clock, outlook=self._outlook, executor=self._threads
        )
        self._queues: dict[tuple[UUID | None, Lane], TurnQueue] = {}
        self._under_way: Counter[str] = Counter()
        self._seated: set[Key] = set()

    async def enter(self, company_id: UUID | None, lane: Lane) -> Outcome | None:
        """See Turnstile.enter."""
        is_in = False
        try:
            refusal = await self._admit(company_id, lane)
            is_in = refusal is None
        except ServiceUnavailableError as exc:
            log.warning("held back without a database: %s", exc, extra={"event": "gate_unavailable"})
            refusal = hold_back(AGAIN_SECONDS, why="the database cannot tell whose turn it is")
        finally:
            if not is_in:
                self._canaries.give_back()
        if is_in:
            self._under_way.update(self._scopes(company_id))
        return refusal

    def leave(self, company_id: UUID | None, lane: Lane, outcome: Outcome | None) -> None:
        """See Turnstile.leave."""
        self._under_way.subtract(self._scopes(company_id))
        try:
            self._keep_pause(company_id, outcome)
            self._canaries.leave(outcome, lane)
            self._keeper.add(str(company_id) if company_id else None, lane, outcome)
        except ServiceUnavailableError as exc:
            log.warning("evidence lost: %s", exc, extra={"event": "evidence_lost"})

    async def close(self) -> None:
        """Write what was learned and not yet written. May be called twice."""
        await self._canaries.close()
        await self._keeper.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    async def _admit(self, company_id: UUID | None, lane: Lane) -> Outcome | None:
        await self._outlook.refresh()
        refusal = await self._canaries.pass_circuits(self._scopes(company_id))
        if refusal is not None:
            return refusal
        return self._crowded(company_id) or await self._await_turn(company_id, lane)

    def _scopes(self, company_id: UUID | None) -> tuple[str, ...]:
        return (self._host,) if company_id is None else (self._host, str(company_id))

    def _paces(self, company_id: UUID | None, lane: Lane) -> list[Pace]:
        return [self._outlook.pace(scope, lane) for scope in self._scopes(company_id)]

    def _crowded(self, company_id: UUID | None) -> Outcome | None:
        if self._canaries.is_one:
            return None
        now = self._clock()
        for scope in self._scopes(company_id):
            bound = room(self._outlook.circuit(scope), now)
            if bound is not None and self._under_way[scope] >= bound:
                return hold_back(CROWDED_SECONDS, why=f"{scope} is being taken up again slowly")
        return None

    async def _await_turn(self, company_id: UUID | None, lane: Lane) -> Outcome | None:
        for _ in range(TOO_OFTEN):
            if not any(each.is_binding(self._clock()) for each in self._paces(company_id, lane)):
                return None
            dismissed = await self._queue(company_id, lane).wait()
            if dismissed is not None:
                return hold_back(dismissed.seconds, why=_why(dismissed))
            # What this process heard while we waited counts too; a turn lost to it is lost.
            if not self._blocked(company_id, lane):
                return None
        return hold_back(AGAIN_SECONDS, why="the operator asks for pauses")

    def _blocked(self, company_id: UUID | None, lane: Lane) -> bool:
        now = self._clock()
        ends = [each.blocked_until for each in self._paces(company_id, lane)]
        return any(end is not None and end > now for end in ends) or any(
            room(self._outlook.circuit(scope), now) == 0 and not self._canaries.is_one
            for scope in self._scopes(company_id)
        )

    def _queue(self, company_id: UUID | None, lane: Lane) -> TurnQueue:
        if (company_id, lane) not in self._queues:
            self._queues[company_id, lane] = TurnQueue(
                reserve=lambda wanted: self._reserve(company_id, lane, wanted),
                clock=self._clock,
                sleep_until=self._sleep_until,
            )
        return self._queues[company_id, lane]

    async def _reserve(self, company_id: UUID | None, lane: Lane, wanted: int) -> Turns | NotYet:
        await self._outlook.refresh()
        paces = self._paces(company_id, lane)
        now = self._clock()
        blocked = max((each.blocked_until for each in paces if each.blocked_until is not None), default=now)
        if blocked > now:
            return NotYet(until=blocked, spacing=timedelta(0), is_blocked=True)
        if all(each.limit is None for each in paces):
            return Turns(at=(now,) * wanted, host_next_at=None, company_next_at=None)
        return await asyncio.get_running_loop().run_in_executor(self._threads(), self._take, paces, wanted)

    def _take(self, paces: list[Pace], wanted: int) -> Turns | NotYet:
        keys = {(each.scope, each.lane) for each in paces}
        host, company = paces[0], paces[1] if len(paces) > 1 else None
        for _ in range(2):
            if not keys <= self._seated:
                with self._database.transaction() as session:
                    seat(session, keys)
                self._seated |= keys
            with self._database.transaction() as session:
                plan = reserve(session, host=host, company=company, wanted=wanted, clock=self._clock)
            if plan is not None:
                return plan
            self._seated -= keys
        raise ServiceUnavailableError("the rows of the pace vanish; nothing was lost, try again")

    def _keep_pause(self, company_id: UUID | None, outcome: Outcome | None) -> None:
        if outcome is None or not outcome.retry_after_seconds or outcome.held_back_seconds is not None:
            return
        closed = outcome.kind is OutcomeKind.UNAVAILABLE and outcome.http_status is not None
        if outcome.kind is not OutcomeKind.THROTTLED and not closed:
            return
        scope = self._host if closed or company_id is None else str(company_id)
        asked = outcome.retry_after_seconds
        later = min(asked * JITTER_SHARE, LONGEST_JITTER_SECONDS) * self._chance() + CLOCKS_SECONDS
        self._keeper.block(scope, self._clock() + timedelta(seconds=asked + later))

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="gate")
        return self._executor

    async def _sleep(self, until: datetime) -> None:
        await asyncio.sleep(max((until - self._clock()).total_seconds(), 0.0))


def host_scope(settings: Settings) -> str:
    """Return the scope of the operator itself: its host's name. Raises: ConfigurationError for a wrong operator URL."""
    hosts = OperatorHosts.of(settings.installation, override_url=settings.operator_url)
    return urlsplit(hosts.ax).hostname or hosts.ax


def _why(dismissed: Dismissed) -> str:
    if dismissed.is_blocked:
        return "the operator asked for a pause"
    return "the operator's limit leaves no turn soon"

"""The one exchange that tries an operator which was left alone: who is it, and how it ended. Knows nothing of pace."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from pipeline.domain.circuit import Circuit, CircuitState, Evidence, canary_until, is_canary_due, room
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.outcome import Outcome
from pipeline.domain.pace import hold_back
from pipeline.domain.turnstile import Lane
from pipeline.services.exchange_evidence import prove
from pipeline.services.outlook import Outlook
from pipeline.services.ports import Clock
from pipeline.settings import Settings
from pipeline.storage.circuits import end_canary, try_canary
from pipeline.storage.database import Database

AGAIN_SECONDS = 1.0
"""Somebody else is the canary: its answer, or its end, is worth a look this soon."""
OK = {Evidence.ANSWERED: True, Evidence.FAILED: False, Evidence.NEUTRAL: None}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Canary:
    """One exchange that was let through alone."""

    scope: str
    until: datetime
    """When it counts as dead; its name too."""


class Canaries:
    """Those of one process. An exchange is known by its asyncio task, from `pass_circuits` until `leave`."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        clock: Clock,
        outlook: Outlook,
        executor: Callable[[], Executor],
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._outlook = outlook
        self._executor = executor
        self._mine: WeakKeyDictionary[asyncio.Task[Any], list[Canary]] = WeakKeyDictionary()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def is_one(self) -> bool:
        """Tell whether the current exchange is a canary."""
        return bool(self._of_task())

    async def pass_circuits(self, scopes: Sequence[str]) -> Outcome | None:
        """Return None where every circuit lets the exchange pass, perhaps as a canary; else why it is held back.

        Raises: ServiceUnavailableError when the database cannot say who the canary is.
        """
        for scope in scopes:
            circuit, now = self._outlook.circuit(scope), self._clock()
            if circuit is None or room(circuit, now) is None:
                continue
            if is_canary_due(circuit, now):
                if not await self._become(circuit, now):
                    return hold_back(AGAIN_SECONDS, why=f"{scope} does not answer, one asks", code="circuit_open")
            elif room(circuit, now) == 0:
                return self._refuse(circuit, now)
        return None

    def give_back(self) -> None:
        """Let another exchange be the canary: this one is not begun."""
        self._end(None, None)

    def leave(self, outcome: Outcome | None, lane: Lane) -> None:
        """Tell how the current exchange ended, if it was a canary."""
        self._end(OK[prove(outcome, lane)], outcome)

    async def close(self) -> None:
        """Wait until every end is told."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=AGAIN_SECONDS)

    def _refuse(self, circuit: Circuit, now: datetime) -> Outcome:
        at = circuit.retry_at if circuit.state is CircuitState.OPEN else circuit.canary_until
        # A canary under way is expected to end long before it counts as dead.
        seconds = max((at - now).total_seconds(), 0.0) if at and circuit.state is CircuitState.OPEN else AGAIN_SECONDS
        why = f"{circuit.scope} is left alone, {circuit.evidence or 'it does not answer'}"
        return hold_back(max(seconds, AGAIN_SECONDS), why=why, code="circuit_open")

    async def _become(self, circuit: Circuit, now: datetime) -> bool:
        canary = Canary(scope=circuit.scope, until=canary_until(now, timeouts_seconds=self._longest_seconds()))
        won = asyncio.get_running_loop().run_in_executor(self._executor(), self._try, canary, now)
        try:
            is_it = await asyncio.shield(won)
        except asyncio.CancelledError:
            # Won or not, nothing is begun: whoever ends at this moment must not hold the others up until it is dead.
            self._end_later(self._forgo(canary, won))
            raise
        if not is_it:
            self._outlook.outdate()
            return False
        half_open = replace(circuit, state=CircuitState.HALF_OPEN, canary_until=canary.until)
        self._outlook.put(circuit.scope, half_open)
        task = asyncio.current_task()
        if task is not None:
            self._mine.setdefault(task, []).append(canary)
        return True

    def _try(self, canary: Canary, now: datetime) -> bool:
        with self._database.transaction() as session:
            return try_canary(session, canary.scope, until=canary.until, now=now)

    def _of_task(self) -> list[Canary]:
        task = asyncio.current_task()
        return self._mine.get(task, []) if task is not None else []

    def _end(self, ok: bool | None, outcome: Outcome | None) -> None:  # noqa: FBT001 - as end_canary
        canaries = list(self._of_task())
        self._of_task().clear()
        for canary in canaries:
            self._end_later(self._tell(canary, ok, outcome))

    def _end_later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _forgo(self, canary: Canary, won: asyncio.Future[bool]) -> None:
        with suppress(ServiceUnavailableError):
            if await won:
                await self._tell(canary, None, None)

    async def _tell(self, canary: Canary, ok: bool | None, outcome: Outcome | None) -> None:  # noqa: FBT001
        try:
            loop = asyncio.get_running_loop()
            circuit = await loop.run_in_executor(self._executor(), self._write, canary, ok, outcome)
        except ServiceUnavailableError as exc:
            log.warning("canary's end not told: %s", exc, extra={"event": "canary_untold", "scope": canary.scope})
        else:
            self._outlook.put(canary.scope, circuit)
        self._outlook.outdate()

    def _write(self, canary: Canary, ok: bool | None, outcome: Outcome | None) -> Circuit | None:  # noqa: FBT001
        with self._database.transaction() as session:
            return end_canary(
                session,
                canary.scope,
                until=canary.until,
                ok=ok,
                now=self._clock(),
                settings=self._settings,
                told=outcome.message if outcome else None,
                retry_after_seconds=outcome.retry_after_seconds if outcome else None,
            )

    def _longest_seconds(self) -> float:
        given = self._settings
        parts = (given.connect_timeout_seconds, given.read_timeout_seconds, given.write_timeout_seconds)
        return timedelta(seconds=sum(parts) + given.pool_timeout_seconds).total_seconds()

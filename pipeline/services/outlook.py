"""What the tables of paces and circuits said a moment ago, with what this process heard since. Decides nothing."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline.domain.circuit import Circuit
from pipeline.domain.errors import ConfigurationError, ServiceUnavailableError
from pipeline.domain.pace import Pace, believe_pause
from pipeline.domain.turnstile import Lane
from pipeline.settings import Settings
from pipeline.storage.circuits import read_circuits
from pipeline.storage.database import Database
from pipeline.storage.pacing import Key, common_pace, read_paces

FRESH = timedelta(seconds=0.25)
"""An exchange begins on what was read no longer ago than this, so this late the fleet obeys what one process heard."""
DEADLINE_SECONDS = 1.0
"""A database that does not answer within this is away: the last look stands."""

log = logging.getLogger(__name__)


class Outlook:
    """One for each process; two small reads in FRESH, however many exchanges begin."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        host: str,
        clock: Callable[[], datetime],
        executor: Callable[[], Executor],
    ) -> None:
        self._database = database
        self._settings = settings
        self._host = host
        self._clock = clock
        self._executor = executor
        self._paces: dict[Key, Pace] = {}
        self._circuits: dict[str, Circuit] = {}
        self._blocks: dict[Key, datetime] = {}
        self._written: dict[Key, datetime] = {}
        """Of the pauses above, those that the table tells of: a later look at it knows better (`postiljon lift`)."""
        self._looked_at: datetime | None = None
        self._look: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Look anew if the last look is too old; one looks, all wait for it, but never long."""
        now = self._clock()
        if self._looked_at is not None and timedelta(0) <= now - self._looked_at < FRESH:
            return
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().create_task(self._read(now))
        await asyncio.wait({self._look}, timeout=DEADLINE_SECONDS)

    def pace(self, scope: str, lane: Lane) -> Pace:
        """Return what binds a scope in a lane."""
        known = self._paces.get((scope, lane))
        if known is None:
            known = common_pace(self._settings, scope, lane, is_host=scope == self._host)
        heard = self._blocks.get((scope, lane))
        if heard is None or (known.blocked_until is not None and known.blocked_until >= heard):
            return known
        return replace(known, blocked_until=heard)

    def circuit(self, scope: str) -> Circuit | None:
        """Return the circuit of a scope unless it is closed."""
        return self._circuits.get(scope)

    def block(self, scope: str, lane: Lane, until: datetime) -> None:
        """Keep to a pause at once, before it is written down; a longer one stands."""
        self._blocks[scope, lane] = max(until, self._blocks.get((scope, lane), until))

    def written(self, blocks: Mapping[Key, datetime]) -> None:
        """Take note that these pauses are in the table now."""
        for key, until in blocks.items():
            self._written[key] = max(until, self._written.get(key, until))

    def put(self, scope: str, circuit: Circuit | None) -> None:
        """Take over what this process just did to a circuit."""
        if circuit is None:
            self._circuits.pop(scope, None)
        else:
            self._circuits[scope] = circuit

    def outdate(self) -> None:
        """Have the next exchange look anew."""
        self._looked_at = None

    async def _read(self, now: datetime) -> None:
        loop = asyncio.get_running_loop()
        known_there = dict(self._written)
        try:
            self._paces, self._circuits = await loop.run_in_executor(self._executor(), self._select, now)
        except (ServiceUnavailableError, ConfigurationError) as exc:
            log.warning("pace goes on without the database: %s", exc, extra={"event": "outlook_stale"})
            known_there = {}
        self._looked_at = now
        self._leave_to_the_table(known_there)
        self._blocks = {key: end for key, end in self._blocks.items() if end > now and believe_pause(end, now)}

    def _leave_to_the_table(self, blocks: Mapping[Key, datetime]) -> None:
        # What was written before this look began, the look has seen; what was heard since is longer and stays.
        for key, until in blocks.items():
            if self._blocks.get(key) == until:
                del self._blocks[key]
            if self._written.get(key) == until:
                del self._written[key]

    def _select(self, now: datetime) -> tuple[dict[Key, Pace], dict[str, Circuit]]:
        with self._database.transaction() as session:
            return read_paces(session, self._settings, now, host=self._host, binding_only=True), read_circuits(session)

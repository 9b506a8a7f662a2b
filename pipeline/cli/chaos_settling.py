"""Waiting until a run of chaos has come to rest, in steps of growing cost: counters, then scans, then both books."""

import time
from collections.abc import Sequence
from uuid import UUID

from pipeline.cli.chaos_run import Scene, read_ledger
from pipeline.cli.demo_report import STATUSES_OF
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import OPEN_STATES, State
from pipeline.storage.settling import count_held_for_company, count_unsettled, read_states
from pipeline.storage.tallies import read_tallies

QUIET_SECONDS = 4.0
"""Everything must have been settled for so long: a delivery may still turn into a failure."""
POLL_SECONDS = 0.5
SHARE_OF_TIME = 0.05
"""Looking may take so much of the time: what is slow to read is read less often, or it would be the load itself."""
LONGEST_POLL_SECONDS = 15.0
SAMPLE = 50
"""Of so many invoices that the two books told apart is asked again before both are read once more."""


class Settling:
    """Looks again and again whether everything of a run is done."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._apart: Sequence[UUID] = ()

    def settle(self, *, deadline: float) -> str | None:
        """Wait until all is submitted, struck and at rest; return why it is not, where the deadline passes first."""
        quiet_since: float | None = None
        while True:
            began = time.monotonic()
            why = self._broken()
            if why:
                return why
            why, now = self._why_not_yet(), time.monotonic()
            quiet_since = None if why else quiet_since or now
            if quiet_since is not None and now - quiet_since >= QUIET_SECONDS:
                return None
            if now > deadline:
                return f"when the time was over, {why or 'it had just come to rest'}"
            time.sleep(min(max(POLL_SECONDS, (now - began) / SHARE_OF_TIME), LONGEST_POLL_SECONDS))

    def _broken(self) -> str | None:
        broken = self._scene.producers.broken or self._scene.striker.struck.broken
        return f"a part of chaos itself ended: {broken}" if broken else None

    def _why_not_yet(self) -> str | None:
        if not self._scene.producers.are_done:
            return "the producers were still submitting"
        if not self._scene.striker.is_over:
            return "strikes were still falling"
        try:
            return self._why_unsettled() or self._why_apart()
        except ServiceUnavailableError as exc:
            return str(exc)

    def _why_unsettled(self) -> str | None:
        with self._scene.database.transaction() as session:
            states = read_tallies(session).states()
            unsettled = sum(states[state] for state in OPEN_STATES) or count_unsettled(session)
            held = count_held_for_company(session) if not unsettled else 0
        if unsettled:
            return f"{unsettled:,} invoices were still open"
        return f"{held:,} invoices still waited for their company" if held else None

    def _why_apart(self) -> str | None:
        if not self._apart or not self._find_apart(self._apart[:SAMPLE]):
            self._apart = self._find_apart(())
        return f"we had not yet learned what became of {len(self._apart):,} invoices" if self._apart else None

    def _find_apart(self, among: Sequence[UUID]) -> Sequence[UUID]:
        ledger = read_ledger(self._scene.simulator, uuids=among)
        with self._scene.database.transaction() as session:
            states = read_states(session, among)
        return [
            uuid
            for uuid, state in states.items()
            if state is not State.HELD
            and (ledger.get(str(uuid)) or {}).get("status") not in STATUSES_OF.get(state, frozenset({None}))
        ]

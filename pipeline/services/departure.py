"""The last moment before an exchange begins: may it still, or is its lease over or its worker asked to end?

Stands behind the gate, so that what waited for its turn is looked at again after the wait. Knows nothing of SQL.
"""

import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from uuid import UUID

from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane, Turnstile

Elapsed = Callable[[], float]
"""Seconds by a clock that never stops nor jumps."""
LAPSED = Outcome(
    kind=OutcomeKind.UNAVAILABLE, held_back_seconds=0.0, message="its lease was over before it could begin"
)
ENDING = Outcome(kind=OutcomeKind.UNAVAILABLE, held_back_seconds=0.0, message="the worker is ending")
NO_DOCUMENT = Outcome(kind=OutcomeKind.UNAVAILABLE, lacks_document=True, message="its document is not kept any more")
CUT_SHORT = Outcome(
    kind=OutcomeKind.IN_DOUBT,
    cut_short=True,
    error_code="worker_ended",
    message="the worker was asked to end while it was in the air",
)


def elapsed_seconds() -> float:
    """Return seconds that go on while the process is stopped or the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Leases:
    """Until when the invoices of one chunk are ours, by the process's own clock; prolonged by heartbeats."""

    def __init__(self, ids: Collection[UUID], *, seconds: float, since: float, elapsed: Elapsed) -> None:
        """`since`: when the claim or heartbeat began, so that ours ends no later than the database's."""
        self._seconds = seconds
        self._elapsed = elapsed
        self._until = dict.fromkeys(ids, since + seconds)

    def prolong(self, ids: Collection[UUID], *, since: float) -> None:
        """Take note of a heartbeat that reached these."""
        self._until.update(dict.fromkeys(ids, since + self._seconds))

    def is_over(self, ids: Collection[UUID]) -> bool:
        """Tell whether any of them may be somebody else's by now."""
        now = self._elapsed()
        return any(self._until[each] <= now for each in ids)


class Departure:
    """One exchange of a chunk, from the wait for room until its answer."""

    def __init__(self, why_not: Callable[[], Outcome | None]) -> None:
        """`why_not`: says, asked at the last moment, why it must not begin."""
        self.why_not = why_not
        self.is_out = False
        """Whether bytes of it may have left; while in doubt, yes."""
        self.has_uploaded = False
        """Whether an upload of it was let out, so that what follows is its second chance."""

    def begin(self) -> Outcome | None:
        """Say why it must not begin; otherwise count it as gone."""
        back = self.why_not()
        self.is_out = back is None
        return back


DEPARTURE: ContextVar[Departure | None] = ContextVar("departure", default=None)
"""The exchange that the present task is about. Reading calls have none."""


class DepartureGate:
    """A turnstile behind another one; once closed it lets nobody out any more. See Turnstile."""

    def __init__(self, inner: Turnstile) -> None:
        self._inner = inner
        self._is_closed = False

    def close(self) -> None:
        """Let nothing begin from now on: the process ends."""
        self._is_closed = True

    async def enter(self, company_id: UUID | None, lane: Lane) -> Outcome | None:
        """See Turnstile.enter."""
        departure = DEPARTURE.get()
        if departure is not None and lane is Lane.UPLOAD and not departure.has_uploaded:
            departure.is_out = False  # it waits; what went out before it was a question for a token
        back = self._why_not(departure) or await self._inner.enter(company_id, lane)
        if back is None and (back := self._why_not(departure)) is not None:
            self._inner.leave(company_id, lane, back)
        if back is None and departure is not None:
            departure.is_out = True
            departure.has_uploaded |= lane is Lane.UPLOAD
        return back

    def leave(self, company_id: UUID | None, lane: Lane, outcome: Outcome | None) -> None:
        """See Turnstile.leave."""
        self._inner.leave(company_id, lane, outcome)

    def _why_not(self, departure: Departure | None) -> Outcome | None:
        if self._is_closed:
            return ENDING
        return departure.why_not() if departure is not None else None

"""The one clock of the fleet: the database's. One machine's leases are judged by another, so clocks must agree."""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.storage.database import Database

SYNC_SECONDS = 5.0
"""How long the monotonic clock is trusted between two looks. It drifts by nothing in that time, but the database's may
jump (a fail-over to a server with another clock): until all have looked, leases of one process are over for another."""
LOOKS = 3
PROMPT_SECONDS = 0.02
"""An answer that took longer (a wait for a connection, a database that was paused) says little about when it was told:
it is asked for again, so that no process is seconds ahead of the others."""

log = logging.getLogger(__name__)


class FleetClock:
    """Tells the database's time without asking it each time. Wall clocks of machines, wrong or jumping, play no part.

    A database that is away is no reason to stop: the clock goes on from its last look.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._base: datetime | None = None
        self._looked_at = 0.0
        self._look_again_at = 0.0

    def __call__(self) -> datetime:
        """Return the present instant, aware UTC. Raises: ServiceUnavailableError if the database never answered."""
        with self._lock:
            if self._base is None or time.monotonic() > self._look_again_at:
                self._look()
            if self._base is None:
                raise ServiceUnavailableError("the database was never reached, so its clock is unknown; try again")
            return self._base + timedelta(seconds=time.monotonic() - self._looked_at)

    def _look(self) -> None:
        try:
            with self._database.transaction() as session:
                self._base, self._looked_at = _look_closely(session)
        except ServiceUnavailableError:
            if self._base is None:
                raise
            # Not at every call: each would wait for a connection that does not come.
            self._look_again_at = time.monotonic() + SYNC_SECONDS
            log.warning("clock goes on without the database", extra={"event": "clock_unsynced"})
            return
        self._look_again_at = time.monotonic() + SYNC_SECONDS


def _look_closely(session: Session) -> tuple[datetime, float]:
    looks: list[tuple[float, datetime, float]] = []
    while len(looks) < LOOKS and not (looks and looks[-1][0] <= PROMPT_SECONDS):
        asked_at = time.monotonic()
        told = read_clock(session)
        answered_at = time.monotonic()
        looks.append((answered_at - asked_at, told, answered_at))
    seconds, told, answered_at = min(looks)
    # The answer took a moment; half of it is the best guess of how old it is.
    return told + timedelta(seconds=seconds / 2), answered_at


def read_clock(session: Session) -> datetime:
    """Return the database's present instant, aware UTC."""
    told: datetime = session.connection().execute(text("SELECT clock_timestamp()")).scalar_one()
    return told.astimezone(UTC)

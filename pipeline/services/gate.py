"""The gate every exchange with the operator passes: turns in order, pauses the operator asked for, open circuits.

Knows neither HTTP nor what is asked of the operator.
"""

from urllib.parse import urlsplit
from uuid import UUID

from pipeline.domain.outcome import Outcome
from pipeline.domain.turnstile import Lane
from pipeline.maventa.environment import OperatorHosts
from pipeline.services.ports import Clock
from pipeline.settings import Settings
from pipeline.storage.database import Database


class Gate:
    """See Turnstile. One for each process and loop; processes meet in the database."""

    def __init__(self, *, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    async def enter(self, company_id: UUID | None, lane: Lane) -> Outcome | None:  # noqa: ARG002 - see Turnstile
        """See Turnstile.enter."""
        return None

    def leave(self, company_id: UUID | None, lane: Lane, outcome: Outcome | None) -> None:
        """See Turnstile.leave."""

    async def close(self) -> None:
        """Write what was learned and not yet written."""


def host_scope(settings: Settings) -> str:
    """Return the scope of the operator itself: its host's name. Raises: ConfigurationError for a wrong operator URL."""
    hosts = OperatorHosts.of(settings.installation, override_url=settings.operator_url)
    return urlsplit(hosts.ax).hostname or hosts.ax

"""What each exchange with the operator passes: a turn before it, a word about it after. Knows neither clock nor SQL."""

from enum import StrEnum
from typing import Protocol
from uuid import UUID

from pipeline.domain.outcome import Outcome


class Lane(StrEnum):
    """Limits are counted apart: a month end of uploads leaves the questions their own pace."""

    UPLOAD = "upload"
    READ = "read"


class Turnstile(Protocol):
    """Paces the fleet and keeps it from an operator that is down. One for each process and loop."""

    async def enter(self, company_id: UUID | None, lane: Lane) -> Outcome | None:
        """Wait for the turn of one exchange; None: begin now.

        An outcome (UNAVAILABLE, `held_back_seconds` set) when it is not to be begun at present: nothing has left us.
        """

    def leave(self, company_id: UUID | None, lane: Lane, outcome: Outcome | None) -> None:
        """Tell how an exchange that was let in ended; None: with an answer of success. Never raises."""


class OpenTurnstile:
    """Lets everybody in at once: for commands and tests without a database."""

    async def enter(self, company_id: UUID | None, lane: Lane) -> Outcome | None:  # noqa: ARG002 - see Turnstile
        """See Turnstile.enter."""
        return None

    def leave(self, company_id: UUID | None, lane: Lane, outcome: Outcome | None) -> None:
        """See Turnstile.leave."""

"""When to try again: a readable list of waits. Knows neither clock nor chance; both come in as arguments."""

from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_WAITS_SECONDS = (0.0, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0)
"""First retry at once (most timeouts are one-off and the probe costs a hundredth of a call), then ever rarer. The
last one repeats: an operator that comes back after a weekend is noticed within the hour."""

JITTER_SHARE = 0.2
"""Waits grow by up to this share, never shrink, so that a fleet does not come back in one second."""


@dataclass(frozen=True, kw_only=True)
class RetrySchedule:
    """The waits between attempts and the budget in time, as the settings give them."""

    waits_seconds: tuple[float, ...] = DEFAULT_WAITS_SECONDS
    budget_seconds: float = 7 * 24 * 3600.0
    absence_settle_seconds: float = 30.0
    """After how long an absent invoice counts as never created although a retry was refused. The lag of the
    operator's list is unknown (contract section 3); the same UUID and bytes are never sent on the strength of it."""
    first_look_seconds: float = 2.0
    """How long after its acceptance the operator is first asked what became of an invoice."""
    poison_deaths: int = 5
    """After so many deaths of its worker an invoice is not sent again by itself."""

    def __post_init__(self) -> None:
        if not self.waits_seconds or any(wait < 0 for wait in self.waits_seconds):
            raise ValueError("the retry schedule needs at least one wait, none of them negative")

    def next_at(self, *, now: datetime, tries: int, retry_after_seconds: float | None = None) -> datetime:
        """Return when to try after `tries` attempts in vain; Retry-After is obeyed, the longer wait wins."""
        wait = self.waits_seconds[min(tries, len(self.waits_seconds) - 1)]
        return now + timedelta(seconds=max(wait, retry_after_seconds or 0.0))


def with_jitter(at: datetime, *, now: datetime, chance: float) -> datetime:
    """Move an instant later by up to JITTER_SHARE of the wait; `chance` is drawn from [0, 1)."""
    return at + (at - now) * JITTER_SHARE * chance

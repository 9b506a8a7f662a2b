"""How long what is finished is kept: months by state, and the shelves that lie behind them. Knows no tables.

A record goes whole months after the month it was put away in. Documents go before records, failures outlive successes.
"""

from dataclasses import dataclass
from datetime import datetime

from pipeline.domain.errors import InvalidInputError

LEAST_MONTHS, MOST_MONTHS = 1, 1200
"""A hundred years is how a company keeps what the installation would drop."""
FOR_EVER = 0
"""The shelf before which nothing lies."""


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Months for which something is kept; None keeps records for ever, and documents as long as their record."""

    delivered: int | None = None
    failed: int | None = None
    """Refused, cancelled and superseded ones too."""
    documents: int | None = None
    """Of what was delivered, cancelled or superseded; the document of a failure stays as long as its record."""

    def within(self, general: "Keep") -> "Keep":
        """Return what counts for a company with months of its own inside an installation."""
        return Keep(
            delivered=general.delivered if self.delivered is None else self.delivered,
            failed=general.failed if self.failed is None else self.failed,
            documents=general.documents if self.documents is None else self.documents,
        )

    def check(self) -> None:
        """Accept what can be kept. Raises: InvalidInputError saying which two contradict each other."""
        for name, months in (("delivered", self.delivered), ("failed", self.failed), ("documents", self.documents)):
            if months is not None and not LEAST_MONTHS <= months <= MOST_MONTHS:
                raise InvalidInputError(
                    f"{name} is a whole number of months from {LEAST_MONTHS} to {MOST_MONTHS}, not {months}"
                )
        if self.failed is not None and (self.delivered is None or self.failed < self.delivered):
            raise InvalidInputError(
                f"failures would be kept {told(self.failed)} and successes {told(self.delivered)}: keep failures at "
                "least as long"
            )
        if self.documents is not None and self.delivered is not None and self.documents > self.delivered:
            raise InvalidInputError(
                f"documents would be kept {told(self.documents)} and their records only {told(self.delivered)}: "
                "documents are dropped before records"
            )


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The first shelf that is kept, as 202611; what stands on an earlier one goes. FOR_EVER drops nothing."""

    delivered: int
    failed: int
    documents: int

    @property
    def latest(self) -> int:
        """The first shelf of which nothing goes."""
        return max(self.delivered, self.failed, self.documents)

    @property
    def of_records(self) -> int:
        """The first shelf of which no record goes."""
        return max(self.delivered, self.failed)


def bounds_of(keep: Keep, *, now: datetime) -> Bounds:
    """Return from which shelf on everything is kept at an instant.

    Months set apart may contradict each other together (the installation's were changed later): then a failure is kept
    as long as a success, and a document goes with its record at the latest.
    """
    delivered, failed = _first_kept(keep.delivered, now), _first_kept(keep.failed, now)
    return Bounds(
        delivered=delivered, failed=min(delivered, failed), documents=max(delivered, _first_kept(keep.documents, now))
    )


def told(months: int | None) -> str:
    """Put a time of keeping in words."""
    if months is None:
        return "for ever"
    return "1 month" if months == 1 else f"{months} months"


def _first_kept(months: int | None, now: datetime) -> int:
    if months is None:
        return FOR_EVER
    year, zero_based = divmod(now.year * 12 + now.month - 1 - months, 12)
    return year * 100 + zero_based + 1

"""Who may be asked at present, for everybody who takes work that asks the operator: open circuits and asked-for pauses.

The gate would hold back each exchange all the same; this keeps work from being taken only for that. Knows no SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.circuit import room
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from pipeline.settings import Settings
from pipeline.storage.circuits import company_of, read_circuits, settle_circuits
from pipeline.storage.pacing import read_paces


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How many questions may be taken at once: 0 none, 1 where a canary is due, more in a slow start."""

    calls: int | None = None
    """In all; None: as many as you like."""
    by_company: Mapping[UUID, int] = field(default_factory=dict)
    """Of companies with a bound of their own."""

    @property
    def left_alone(self) -> list[UUID]:
        """Return the companies of which nothing is to be taken."""
        return [company_id for company_id, calls in self.by_company.items() if calls == 0]

    def most_in_all(self, wanted: int) -> int:
        """Return how many to take in all, where each company's bound is kept besides."""
        return min([wanted, *self._bounds()])

    def most(self, wanted: int) -> int:
        """Return how many to take where companies are not told apart; those left alone are to be left out."""
        return min([wanted, *self._bounds(), *filter(None, self.by_company.values())])

    def most_of(self, company_id: UUID, wanted: int) -> int:
        """Return how many to take of one company."""
        return min([wanted, *self._bounds(), self.by_company.get(company_id, wanted)])

    def _bounds(self) -> list[int]:
        return [] if self.calls is None else [self.calls]


def read_standing(session: Session, settings: Settings, *, now: datetime) -> Standing:
    """Tell who may be asked now. Two small reads; ends slow starts that are over."""
    host = host_scope(settings)
    settle_circuits(session, host=host, now=now)
    bounds = {scope: bound for scope, each in read_circuits(session).items() if (bound := room(each, now)) is not None}
    in_all = bounds.get(host)
    by_company = {company: bound for scope, bound in bounds.items() if (company := company_of(scope)) is not None}
    for (scope, lane), pace in read_paces(session, settings, now, binding_only=True).items():
        if lane is not Lane.READ or pace.blocked_until is None or pace.blocked_until <= now:
            continue
        company = company_of(scope)
        if company is not None:
            by_company[company] = 0
        elif scope == host:
            in_all = 0
    return Standing(calls=in_all, by_company=by_company)


def scopes_of(settings: Settings, company_id: UUID) -> list[str]:
    """Return the scopes whose circuits stand between us and an answer about a company."""
    return [host_scope(settings), str(company_id)]

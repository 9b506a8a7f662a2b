"""How much may go to the operator now: what pace and circuits leave, as the pump needs it before it hands out work.

The gate (services/gate.py) holds each exchange to the exact limits; this keeps it from having to hold back much, so
that no worker is occupied by work that may not begin. Changes nothing.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.circuit import Circuit, is_canary_due, room
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from pipeline.settings import Settings
from pipeline.storage.circuits import company_of, find_failing, read_circuits
from pipeline.storage.dispatching import InFlight, count_in_flight
from pipeline.storage.pacing import common_limit, read_paces

HORIZON = timedelta(seconds=2)
"""What a limited company may have waiting for its turns: twice the pump's tick, so that it never runs dry between two,
and little enough that its chunk is soon off a worker's hands."""
NOTHING = InFlight(whole=0, fresh=0, on_the_way=0)


@dataclass(frozen=True, kw_only=True)
class Allowances:
    """How many more invoices may be handed out now."""

    total: int | None = None
    """By all companies together; None: no bound."""
    by_company: Mapping[UUID, int] = field(default_factory=dict)
    """Companies with a bound of their own, in what is left of it; `left` knows the common one too."""
    closed: frozenset[UUID] = frozenset()
    """Companies that get nothing: the operator asked for a pause, or their circuit is open."""
    canaries: frozenset[UUID] = frozenset()
    """Companies whose circuit waits for a canary: what is in doubt goes first, a probe costs the operator least."""
    is_canary: bool = False
    """The operator's host waits for one."""
    failing: frozenset[UUID] = frozenset()
    """Where it does: companies that failed in this outage. The trouble may be theirs alone, so others try first."""
    reopen_at: datetime | None = None
    """When all may go on, where nothing may at present."""
    common: int | None = None
    """What each company without a limit of its own may have waiting; None: no bound."""
    fresh: Mapping[UUID, int] = field(default_factory=dict)
    """What each has waiting."""

    def left(self, company_id: UUID) -> int | None:
        """Return how many more a company may get, whatever the others get; None: no bound."""
        if company_id in self.closed:
            return 0
        if company_id in self.by_company:
            return self.by_company[company_id]
        return _in_pieces(self.common, self.fresh.get(company_id, 0)) if self.common is not None else None


@dataclass(frozen=True, kw_only=True)
class _Bounds:
    """What binds one scope, and what it has under way."""

    limit: float | None
    turn_at: datetime | None
    blocked_until: datetime | None
    circuit: Circuit | None
    flying: InFlight

    def is_closed(self, now: datetime) -> bool:
        """Tell whether nothing may begin."""
        return self._is_blocked(now) or room(self.circuit, now) == 0

    def is_canary_due(self, now: datetime) -> bool:
        """Tell whether one exchange is wanted, and one only."""
        return not self._is_blocked(now) and self.circuit is not None and is_canary_due(self.circuit, now)

    def left(self, now: datetime) -> int | None:
        """Return how many more may be handed out; None: no bound."""
        if self.is_closed(now):
            return 0
        left = []
        if self.limit is not None:
            # What cannot have its turn soon would come back from its worker at once, again and again.
            is_soon = self.turn_at is None or self.turn_at <= now + HORIZON
            left.append(0 if not is_soon else _in_pieces(_waiting(self.limit), self.flying.fresh))
        if (most := room(self.circuit, now)) is not None:
            # What was in the air when the circuit opened may hang there for a minute; no canary waits for it.
            left.append(most - (self.flying.on_the_way if self.is_canary_due(now) else self.flying.whole))
        return max(min(left), 0) if left else None

    def reopen_at(self, now: datetime) -> datetime | None:
        """Return when it may go on; None where it may, or nobody knows."""
        if not self.is_closed(now):
            return None
        instants = [self.blocked_until]
        if self.circuit is not None:
            instants += [self.circuit.retry_at, self.circuit.canary_until]
        return max((at for at in instants if at is not None and at > now), default=None)

    def _is_blocked(self, now: datetime) -> bool:
        return self.blocked_until is not None and self.blocked_until > now


def read_allowances(
    session: Session, settings: Settings, now: datetime, *, in_flight: Mapping[UUID, InFlight] | None = None
) -> Allowances:
    """Return what pace and circuits leave for handing out. Raises: ConfigurationError for a wrong operator URL.

    `in_flight` saves counting what the caller has counted with `HORIZON` in the same transaction.
    """
    flying = in_flight if in_flight is not None else count_in_flight(session, now=now, horizon=HORIZON)
    host, companies = _read_bounds(session, settings, now, flying)
    common = common_limit(settings, Lane.UPLOAD, is_host=False)
    bounds = {company_id: bound for company_id, each in companies.items() if (bound := each.left(now)) is not None}
    return Allowances(
        total=host.left(now),
        by_company=bounds,
        closed=frozenset(company_id for company_id, each in companies.items() if each.is_closed(now)),
        canaries=frozenset(company_id for company_id, each in companies.items() if each.is_canary_due(now)),
        is_canary=host.is_canary_due(now),
        failing=find_failing(session, host.circuit) if host.circuit and host.is_canary_due(now) else frozenset(),
        reopen_at=host.reopen_at(now),
        common=_waiting(common) if common is not None else None,
        fresh={company_id: each.fresh for company_id, each in flying.items()},
    )


def _read_bounds(
    session: Session, settings: Settings, now: datetime, flying: Mapping[UUID, InFlight]
) -> tuple[_Bounds, dict[UUID, _Bounds]]:
    paces = read_paces(session, settings, now, binding_only=True)
    circuits = read_circuits(session)

    def bounds(scope: str, mine: InFlight, *, is_host: bool) -> _Bounds:
        pace = paces.get((scope, Lane.UPLOAD))
        common = common_limit(settings, Lane.UPLOAD, is_host=is_host)
        return _Bounds(
            limit=pace.limit if pace is not None else common,
            turn_at=pace.next_at if pace is not None else None,
            blocked_until=pace.blocked_until if pace is not None else None,
            circuit=circuits.get(scope),
            flying=mine,
        )

    scopes = {scope for scope, lane in paces if lane is Lane.UPLOAD} | set(circuits)
    companies = {company_id for scope in scopes if (company_id := company_of(scope)) is not None}
    return bounds(host_scope(settings), _sum(flying.values()), is_host=True), {
        company_id: bounds(str(company_id), flying.get(company_id, NOTHING), is_host=False) for company_id in companies
    }


def _waiting(limit: float) -> int:
    return max(math.ceil(limit * HORIZON.total_seconds()), 1)


def _in_pieces(most: int, waiting: int) -> int:
    # Half of it at least: one freed turn at a time would be a message for each invoice.
    free = most - waiting
    return free if 2 * free >= most else 0


def _sum(flying: Iterable[InFlight]) -> InFlight:
    parts = list(flying)
    return InFlight(
        whole=sum(each.whole for each in parts),
        fresh=sum(each.fresh for each in parts),
        on_the_way=sum(each.on_the_way for each in parts),
    )

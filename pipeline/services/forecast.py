"""Gathers what a forecast rests on: backlogs from the counters, paces, circuits, holds. Scans no invoices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from pipeline.domain import forecast as rules
from pipeline.domain.circuit import Circuit, CircuitState
from pipeline.domain.fairness import jain_index
from pipeline.domain.forecast import Backlog, Basis, Forecast, HostPace
from pipeline.domain.pace import Pace
from pipeline.domain.state import DUE_STATES, State
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import host_scope
from pipeline.settings import Settings
from pipeline.storage import circuits, forecasting, pacing
from pipeline.storage.companies import Company
from pipeline.storage.tallies import Tallies

TO_SEND = DUE_STATES | {State.SENDING}
WAITED_FOR = timedelta(seconds=0.1)
"""Turns taken further ahead than this are waited for by somebody."""
PRESSING = timedelta(minutes=1)
"""A pause that is shorter is not worth a word."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """How the sending goes at one instant, and where that leads."""

    host: str
    paces: Mapping[tuple[str, Lane], Pace]
    circuits: Mapping[str, Circuit]
    backlogs: Mapping[str, int]
    """Invoices still to be accepted, by the company's UUID as text; all companies are in it."""
    forecast: Forecast
    fairness: float | None
    """Jain's index over the companies with backlog that are not on hold; None with fewer than two, or in rest."""


def read_flow(
    session: Session, settings: Settings, *, tallies: Tallies, companies: Sequence[Company], now: datetime
) -> Flow:
    """Read how the sending goes; a handful of small statements however many invoices there are."""
    host = host_scope(settings)
    paces = pacing.read_paces(session, settings, now)
    open_circuits = circuits.read_circuits(session)
    last_due = forecasting.read_last_due(session, now=now)
    taken = forecasting.read_taken_turns(session, Lane.UPLOAD)
    counts = {str(each.id): _to_send(tallies, each) for each in companies}
    backlogs = [
        Backlog(
            company=str(each.id),
            invoices=counts[str(each.id)],
            weight=each.weight,
            rate=effective_rate(paces.get((str(each.id), Lane.UPLOAD))),
            not_before=_not_before(paces.get((str(each.id), Lane.UPLOAD)), open_circuits.get(str(each.id))),
            last_due_at=last_due.get(each.id),
            is_held=each.hold_reason is not None,
        )
        for each in companies
    ]
    pace = paces.get((host, Lane.UPLOAD)) or pacing.common_pace(settings, host, Lane.UPLOAD, is_host=True)
    going = [each.company for each in backlogs if each.invoices and not each.is_held]
    is_used = any(at > now + WAITED_FOR for scope, at in taken.items() if scope == host or scope in going)
    circuit = open_circuits.get(host)
    return Flow(
        host=host,
        paces={**paces, (host, Lane.UPLOAD): pace},
        circuits=open_circuits,
        backlogs=counts,
        forecast=rules.forecast(backlogs, _host_pace(pace, circuit, is_limit_used=is_used), at=now),
        fairness=_fairness([each for each in backlogs if each.company in going], paces),
    )


def effective_rate(pace: Pace | None) -> float | None:
    """Return how many exchanges a second a limit leaves, its slack taken off; None without a limit."""
    if pace is None or pace.spacing is None:
        return None
    return 1 / pace.spacing.total_seconds()


def tell(forecast: Forecast) -> str:
    """Put a forecast in words, for one line."""
    left_out = f"; {forecast.left_out:,} of companies on hold are left out" if forecast.left_out else ""
    if not forecast.backlog:
        return (f"nothing to send{left_out}") if left_out else "nothing is waiting to be accepted"
    if forecast.finish_at is None:
        return f"cannot say yet when {forecast.backlog:,} are done: {_why_not(forecast)}{left_out}"
    at = "at the present speed" if forecast.basis is Basis.SPEED else "within the limits"
    done = f"{forecast.backlog:,} done by about {shown(forecast.finish_at, forecast.at)} {at}"
    rate = f" ({forecast.per_second:.3g} a second)"
    after = ""
    if forecast.is_left_alone:
        after = f", if the operator answers at {shown(forecast.starts_at, forecast.at)}"
    elif forecast.starts_at - forecast.at > PRESSING:
        after = f"; nothing goes before {shown(forecast.starts_at, forecast.at)}, as the operator asked"
    return f"{done}{rate}{after}{left_out}"


def shown(at: datetime, now: datetime) -> str:
    """Write an instant of today by its time, with seconds where it is near; another day's with its date."""
    near = timedelta(minutes=10)
    clock = f"{at:%H:%M:%S} UTC" if at - now < near else f"{at:%H:%M} UTC"
    return clock if at.date() == now.date() else f"{at:%Y-%m-%d} {clock}"


def _why_not(forecast: Forecast) -> str:
    if forecast.starts_at > forecast.at:
        return f"the operator is left alone until {shown(forecast.starts_at, forecast.at)}"
    if forecast.basis is Basis.NOTHING:
        return "no limit is known and no speed was measured lately"
    return "it would take more than a year"


def _to_send(tallies: Tallies, company: Company) -> int:
    states = tallies.states(company.id)
    return sum(states[state] for state in TO_SEND)


def _host_pace(pace: Pace, circuit: Circuit | None, *, is_limit_used: bool) -> HostPace:
    is_closing = circuit is not None and circuit.state is CircuitState.CLOSING
    return HostPace(
        rate=effective_rate(pace),
        speed=pace.speed,
        is_limit_used=is_limit_used,
        not_before=_not_before(pace, circuit),
        closing_since=circuit.since if circuit is not None and is_closing else None,
        is_left_alone=circuit is not None and not is_closing,
    )


def _not_before(pace: Pace | None, circuit: Circuit | None) -> datetime | None:
    instants = [pace.blocked_until if pace is not None else None]
    if circuit is not None and circuit.state in {CircuitState.OPEN, CircuitState.HALF_OPEN}:
        instants.append(circuit.retry_at)
    return max((at for at in instants if at is not None), default=None)


def _fairness(going: Sequence[Backlog], paces: Mapping[tuple[str, Lane], Pace]) -> float | None:
    shares = [_speed(paces.get((each.company, Lane.UPLOAD))) / each.weight for each in going]
    return jain_index(shares) if len(shares) > 1 and sum(shares) >= rules.STILL else None


def _speed(pace: Pace | None) -> float:
    return pace.speed if pace is not None else 0.0

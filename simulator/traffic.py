"""How much arrives in each lane, and what is too much. Windows slide: the fullest second is exact wherever it began."""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil, floor

from simulator.errors import Refusal
from simulator.knobs import Knobs

UPLOADS, READS = "uploads", "reads"
LANES = (UPLOADS, READS)
OPERATOR = "operator"
SECONDS_KEPT = 600  # of refusals told second by second; older ones are in the totals alone


@dataclass(slots=True)
class Gauge:
    """One lane of one company or of the operator. Holds the instants of one window, however long it lives."""

    arrived: int = 0
    busiest_second: int = 0
    throttled: int = 0
    _arrivals: deque[float] = field(default_factory=deque)
    _admitted: deque[float] = field(default_factory=deque)

    def arrive(self, at: float) -> None:
        """Note an arrival, whatever becomes of it."""
        self.arrived += 1
        self._arrivals.append(at)
        _forget(self._arrivals, at - 1)
        self.busiest_second = max(self.busiest_second, len(self._arrivals))

    def has_room(self, limit: float, at: float) -> bool:
        """Tell whether one more stays within the limit: whole requests a second, or one in 1/limit seconds below 1."""
        most, span = (floor(limit), 1.0) if limit >= 1 else (1, 1 / limit)
        _forget(self._admitted, at - span)
        return len(self._admitted) < most

    def admit(self, at: float) -> None:
        """Note one that was let in; what was refused uses up nothing."""
        self._admitted.append(at)

    def shown(self) -> dict[str, int]:
        """Write the counts."""
        return {"arrived": self.arrived, "busiest_second": self.busiest_second, "throttled": self.throttled}


class Traffic:
    """All lanes of the operator and of each company. Times are epoch seconds and come in as arguments."""

    def __init__(self) -> None:
        self._gauges: dict[tuple[str, str], Gauge] = {}
        self._throttled: Counter[int] = Counter()

    def arrive(self, lane: str, company_id: str | None, *, knobs: Knobs, at: float) -> Refusal | None:
        """Note an arrival; gives the refusal of one that is above the limit.

        A request without a valid token, and one for a token, is of no company: it counts for the operator alone.
        """
        for who in (OPERATOR, company_id):
            if who is not None:
                self._gauge(who, lane).arrive(at)
        limit = knobs.limit_uploads_per_second if lane == UPLOADS else knobs.limit_reads_per_second
        limited = OPERATOR if knobs.limit_scope == OPERATOR else company_id
        if not limit or limited is None:
            return None
        gauge = self._gauge(limited, lane)
        if gauge.has_room(limit, at):
            gauge.admit(at)
            return None
        self._throttle(lane, company_id, at)
        return Refusal(
            429, "too_many_requests", "Too many requests", retry_after=retry_after(knobs.limit_retry_after, at)
        )

    def shown(self) -> dict[str, object]:
        """Write what arrived, of all and company by company, and the latest seconds in which some were too many."""
        companies = sorted({who for who, _ in self._gauges} - {OPERATOR})
        return {
            OPERATOR: self._shown(OPERATOR),
            "companies": {company_id: self._shown(company_id) for company_id in companies},
            "throttled_by_second": {_second(second): count for second, count in self._throttled.items()},
        }

    def _shown(self, who: str) -> dict[str, dict[str, int]]:
        return {lane: self._gauges.get((who, lane), Gauge()).shown() for lane in LANES}

    def _gauge(self, who: str, lane: str) -> Gauge:
        key = (who, lane)
        if key not in self._gauges:
            self._gauges[key] = Gauge()
        return self._gauges[key]

    def _throttle(self, lane: str, company_id: str | None, at: float) -> None:
        for who in (OPERATOR, company_id):
            if who is not None:
                self._gauge(who, lane).throttled += 1
        self._throttled[floor(at)] += 1
        if len(self._throttled) > SECONDS_KEPT:
            del self._throttled[min(self._throttled)]


def retry_after(form: str, at: float) -> str | None:
    """Write the header as the knob wants it: nothing for `none`, seconds as they stand, or `date:N` as an HTTP date.

    A date has whole seconds and is never earlier than N seconds from now.
    """
    if form == "none":
        return None
    kind, _, seconds = form.rpartition(":")
    if not kind:
        return seconds
    instant = datetime.fromtimestamp(0, UTC) + timedelta(seconds=ceil(at + int(seconds)))
    return format_datetime(instant, usegmt=True)


def _forget(instants: deque[float], until: float) -> None:
    while instants and instants[0] <= until:
        instants.popleft()


def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")

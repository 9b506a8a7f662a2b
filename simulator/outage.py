"""Times during which the operator serves nobody: begun and ended by hand, with a count of who asked meanwhile."""

from collections import Counter, deque
from dataclasses import dataclass, field

from simulator.errors import SettingError
from simulator.invoices import instant

REFUSE, UNAVAILABLE, SILENCE = "refuse", "503", "silence"
KINDS = (REFUSE, UNAVAILABLE, SILENCE)
OUTAGES_KEPT = 20
ARRIVALS_KEPT = 200  # instants told one by one; later ones are in the counts alone
SECONDS_LIMIT = 10_000_000.0  # about 4 months


@dataclass(slots=True)
class Outage:
    """One outage. `refuse` resets the connection, `503` answers so, `silence` never answers."""

    kind: str
    since: float
    until: float | None = None
    retry_after: str | None = None
    arrived: Counter[str] = field(default_factory=Counter)
    arrivals: list[float] = field(default_factory=list)

    def arrive(self, lane: str, at: float) -> None:
        """Note a request that met the outage."""
        self.arrived[lane] += 1
        if len(self.arrivals) < ARRIVALS_KEPT:
            self.arrivals.append(at)

    def shown(self) -> dict[str, object]:
        """Write the outage; `until` is null while nothing ends it by itself."""
        return {
            "kind": self.kind,
            "since": instant(self.since),
            "until": instant(self.until) if self.until is not None else None,
            "arrived": dict(self.arrived),
            "arrivals": [instant(at) for at in self.arrivals],
        }


class Outages:
    """The outage that is, and the latest ones that were."""

    def __init__(self) -> None:
        self._latest: deque[Outage] = deque(maxlen=OUTAGES_KEPT)

    def begin(self, content: dict[str, object], at: float) -> Outage:
        """Begin an outage of a `kind`, for some `seconds` or until it is ended; one under way ends.

        Raises: SettingError naming what is wrong; nothing changes then.
        """
        unknown = sorted(set(content) - {"kind", "seconds", "retry_after"})
        if unknown:
            raise SettingError(f"an outage has no {', '.join(unknown)}; it takes kind, seconds and retry_after")
        kind, seconds, retry_after = content.get("kind"), content.get("seconds"), content.get("retry_after")
        if kind not in KINDS:
            raise SettingError(f"outage kind is one of {', '.join(KINDS)}, not {kind!r}")
        outage = Outage(str(kind), at, None if seconds is None else at + _seconds(seconds))
        outage.retry_after = None if retry_after is None else str(retry_after)
        self.end(at)
        self._latest.append(outage)
        return outage

    def end(self, at: float) -> None:
        """End the outage that is, if one is."""
        outage = self.now(at)
        if outage is not None:
            outage.until = at

    def now(self, at: float) -> Outage | None:
        """Give the outage that is."""
        outage = self._latest[-1] if self._latest else None
        return outage if outage is not None and (outage.until is None or at < outage.until) else None

    def shown(self) -> list[dict[str, object]]:
        """Write the latest outages, oldest first."""
        return [outage.shown() for outage in self._latest]


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= SECONDS_LIMIT:
        raise SettingError(f"outage seconds is a number above 0, not {value!r}")
    return float(value)

"""What exchanges ended with, collected in memory between two writes. Knows no SQL and no clock."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.domain.circuit import Evidence, is_answered, weigh
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.turnstile import Lane
from pipeline.storage.pacing import Key, Noted

ABANDONED = "abandoned"
"""The error code of an exchange that we ourselves cut off (pipeline.maventa.caller)."""
SEVERAL = 2
"""One company that is refused has met its own limit; several at once have met the host's."""


@dataclass(kw_only=True)
class Weighed:
    """What the exchanges of one scope prove about whether the operator is there."""

    answered: int = 0
    failed: int = 0
    told: str | None = None
    """What the last failure said, for people."""

    @property
    def is_answered(self) -> bool:
        """Tell whether somebody is there: enough of the exchanges were answered."""
        return is_answered(answered=self.answered, failed=self.failed)


@dataclass(kw_only=True)
class ExchangeEvidence:
    """Counts by scope and lane; made anew after each write."""

    host: str
    taken: Counter[Key] = field(default_factory=Counter)
    throttled: Counter[Key] = field(default_factory=Counter)
    """By the company that was refused; the host where no company asked."""
    blocks: dict[Key, datetime] = field(default_factory=dict)
    weighed: defaultdict[str, Weighed] = field(default_factory=lambda: defaultdict(Weighed))

    def __bool__(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(self.taken or self.throttled or self.blocks or self.weighed)

    def add(self, company: str | None, lane: Lane, outcome: Outcome | None) -> None:
        """Count one exchange that ended; None: with an answer of success."""
        scopes = (self.host,) if company is None else (self.host, company)
        if outcome is not None and outcome.kind is OutcomeKind.THROTTLED:
            self.throttled[scopes[-1], lane] += 1
        elif outcome is None or outcome.http_status is not None:
            self.taken.update((scope, lane) for scope in scopes)
        verdict = prove(outcome, lane)
        if verdict is Evidence.NEUTRAL:
            return
        for scope in scopes:
            weighed = self.weighed[scope]
            weighed.answered += verdict is Evidence.ANSWERED
            weighed.failed += verdict is Evidence.FAILED
            if outcome is not None and verdict is Evidence.FAILED:
                weighed.told = outcome.message

    def opens(self, *, least_failures: int) -> bool:
        """Tell whether this alone, without what is written already, may open a circuit."""
        return any(each.failed >= least_failures and not each.is_answered for each in self.weighed.values())

    def block(self, key: Key, until: datetime) -> None:
        """Note a pause the operator asked for; a longer one stands."""
        self.blocks[key] = max(until, self.blocks.get(key, until))

    def merge(self, other: "ExchangeEvidence") -> None:
        """Take over what could not be written."""
        self.taken.update(other.taken)
        self.throttled.update(other.throttled)
        for key, until in other.blocks.items():
            self.block(key, until)
        for scope, more in other.weighed.items():
            weighed = self.weighed[scope]
            weighed.answered += more.answered
            weighed.failed += more.failed
            weighed.told = more.told or weighed.told

    def noted(self) -> Mapping[Key, Noted]:
        """Return what the table of paces is to learn."""
        throttled = self.throttled.copy()
        for lane in Lane:
            refused = {scope for scope, of in self.throttled if of is lane and scope != self.host}
            served = {scope for scope, of in self.taken if of is lane and scope != self.host} | refused
            if len(refused) >= SEVERAL and 2 * len(refused) >= len(served):
                throttled[self.host, lane] += sum(self.throttled[scope, lane] for scope in refused)
        return {
            key: Noted(taken=self.taken[key], throttled=throttled[key], blocked_until=self.blocks.get(key))
            for key in {*self.taken, *throttled, *self.blocks}
        }


def prove(outcome: Outcome | None, lane: Lane) -> Evidence:
    """Tell what an exchange proves; one whose answer nobody waited for proves nothing about the operator."""
    if outcome is not None and outcome.error_code == ABANDONED:
        return Evidence.NEUTRAL
    return weigh(outcome, lane)

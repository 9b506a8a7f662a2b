"""What chaos proved: the operator's ledger, our books and what producers were told, side by side. Starts nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pipeline.cli.chaos_producers import Told
from pipeline.cli.chaos_strikes import Struck
from pipeline.cli.demo_report import STATUSES_OF
from pipeline.domain.state import OPEN_STATES, State
from pipeline.storage.settling import Standings

WITH_THE_OPERATOR = frozenset({State.ACCEPTED, State.DELIVERED, State.FAILED})
"""States that say that the operator holds the invoice."""

FATES = frozenset({"pending-long", "failed", "delivered-then-failed"})
"""Faults of the operator that befall an invoice it took, not an exchange."""

Entries = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is wrong, by UUID; one invoice may be wrong in several ways."""

    lost: tuple[str, ...]
    """Told to a producer and not in the database, or said to be with the operator, who does not hold it."""
    doubled: Mapping[str, int]
    """How many too many the operator holds: under the same UUID, of the same document, or of nothing we know."""
    altered: tuple[str, ...]
    """Other bytes than the producer read: with the operator, in the database, or in the answer to the producer."""
    disagreeing: tuple[str, ...]
    """The operator's status is not what our state says; lost ones are not counted again."""

    @property
    def uuids(self) -> tuple[str, ...]:
        """Everything that is wrong, once each."""
        return tuple(dict.fromkeys((*self.lost, *self.doubled, *self.altered, *self.disagreeing)))


def find(told: Mapping[UUID, Told], standings: Standings, ledger: Entries) -> Findings:
    """Compare what producers gave and were told, what we keep, and what the operator holds, UUID by UUID.

    `ledger` is the simulator's: by UUID, `held` (how many), `held_sha256`, `company_id`, `status` and `reroutes`.
    An invoice that a producer offered without ever getting an answer may be nowhere: it will be submitted again.
    """
    held = {uuid: entry for uuid, entry in ledger.items() if entry["held"]}
    lost = tuple(sorted(_lost(told, standings, held)))
    return Findings(
        lost=lost,
        doubled=dict(sorted(_doubled(told, standings, held).items())),
        altered=tuple(sorted(_altered(told, standings, held))),
        disagreeing=tuple(sorted(_disagreeing(standings, ledger) - set(lost))),
    )


def _lost(told: Mapping[UUID, Told], standings: Standings, held: Entries) -> Iterator[str]:
    for uuid, each in told.items():
        if each.answered_sha256 is not None and uuid not in standings.invoices:
            yield str(uuid)
    for uuid, kept in standings.invoices.items():
        if kept.state in WITH_THE_OPERATOR:
            entry, given = held.get(str(uuid)), told.get(uuid)
            if entry is None or (given is not None and entry["company_id"] != str(given.company)):
                yield str(uuid)


def _doubled(told: Mapping[UUID, Told], standings: Standings, held: Entries) -> Counter[str]:
    known = {str(uuid) for uuid in (*told, *standings.invoices)}
    doubled: Counter[str] = Counter()
    first_with: dict[tuple[str, str], str] = {}
    for uuid, entry in held.items():
        doubled[uuid] += entry["held"] - (uuid in known)
        if entry["status"] != "FAILED":  # what failed may rightly go out again, under a new UUID
            first = first_with.setdefault((entry["company_id"], entry["held_sha256"]), uuid)
            doubled[uuid] += first != uuid and uuid in known
    for uuid, meant in ((uuid, standings.done_reroutes[UUID(uuid)]) for uuid in held if uuid in known):
        doubled[uuid] += max(0, len(held[uuid].get("reroutes") or ()) - meant)
    predecessors = Counter(kept.supersedes for kept in standings.invoices.values() if kept.supersedes is not None)
    for predecessor, successors in predecessors.items():
        doubled[str(predecessor)] += successors - 1
    return +doubled


def _altered(told: Mapping[UUID, Told], standings: Standings, held: Entries) -> Iterator[str]:
    for uuid, each in told.items():
        kept, entry = standings.invoices.get(uuid), held.get(str(uuid))
        seen = (each.answered_sha256, kept and kept.sha256, entry and entry["held_sha256"])
        if any(sha256 is not None and sha256 != each.sha256 for sha256 in seen):
            yield str(uuid)
    for uuid, kept in standings.invoices.items():
        entry = held.get(str(uuid))
        if uuid not in told and entry is not None and entry["held_sha256"] != kept.sha256:
            yield str(uuid)


def _disagreeing(standings: Standings, ledger: Entries) -> set[str]:
    return {
        str(uuid)
        for uuid, kept in standings.invoices.items()
        if kept.state in STATUSES_OF and (ledger.get(str(uuid)) or {}).get("status") not in STATUSES_OF[kept.state]
    }


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The end of a run of chaos."""

    offered: int
    submitted: int
    """Invoices of which a producer was told that they are stored."""
    accepted: int
    states: Mapping[State, int]
    findings: Findings
    balanced: bool
    """Whether every batch adds up, by the maintained counters and by a count of its invoices."""
    unsettled: str | None
    """Why the run did not come to rest, if it did not."""
    p95_seconds: float | None
    """From submission to acceptance."""
    seconds: float
    struck: Struck
    faults: Mapping[str, int]
    """What the simulator injected, by name."""
    tried_again: int
    """How often a producer had to submit the same again because it got no answer."""
    stories: tuple[Mapping[str, object], ...] = ()

    @property
    def doubled(self) -> int:
        """How many too many the operator holds."""
        return sum(self.findings.doubled.values())

    @property
    def open(self) -> int:
        """How many invoices are still to change without a person."""
        return sum(self.states.get(state, 0) for state in OPEN_STATES)

    @property
    def is_well(self) -> bool:
        """Whether everything offered was submitted, came to rest, and is where it belongs, once and unchanged."""
        complete = self.submitted == self.offered == sum(self.states.values()) - self._successors and self.offered > 0
        return complete and self.unsettled is None and self.open == 0 and self.balanced and not self.findings.uuids

    @property
    def _successors(self) -> int:
        return self.states.get(State.SUPERSEDED, 0)  # each has one successor; more are found as doubled

    @property
    def all_struck(self) -> dict[str, int]:
        """Everything injected, the operator's faults too."""
        return {**self.struck.kinds, **{f"operator {name}": times for name, times in sorted(self.faults.items())}}

    @property
    def mid_flight(self) -> dict[str, int]:
        """What struck while invoices were being sent; a fault of an exchange strikes the very invoice."""
        faults = {f"operator {name}": times for name, times in sorted(self.faults.items()) if name not in FATES}
        return {name: times for name, times in {**self.struck.mid_flight, **faults}.items() if times}

    def as_json(self) -> dict[str, object]:
        """Return the fields scripts rely on."""
        return {
            "well": self.is_well,
            "submitted": self.submitted,
            "offered": self.offered,
            "accepted": self.accepted,
            "delivered": self.states.get(State.DELIVERED, 0),
            "failed": self.states.get(State.FAILED, 0),
            "refused": self.states.get(State.REFUSED, 0),
            "held": self.states.get(State.HELD, 0),
            "open": self.open,
            "lost": len(self.findings.lost),
            "doubled": self.doubled,
            "altered": len(self.findings.altered),
            "disagreeing": len(self.findings.disagreeing),
            "balanced": self.balanced,
            "unsettled": self.unsettled,
            "p95_seconds": None if self.p95_seconds is None else round(self.p95_seconds, 2),
            "seconds": round(self.seconds, 1),
            "rounds": self.struck.rounds,
            "struck": self.all_struck,
            "mid_flight": self.mid_flight,
            "invoices_in_the_air": dict(self.struck.in_the_air),
            "missed": dict(self.struck.missed),
            "tried_again": self.tried_again,
            "wrong": {
                "lost": self.findings.lost,
                "doubled": self.findings.doubled,
                "altered": self.findings.altered,
                "disagreeing": self.findings.disagreeing,
            },
            "stories": self.stories,
        }

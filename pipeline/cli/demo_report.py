"""What a demo proved: our counts beside the operator's ledger, in words for a back office. Starts nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from rich.table import Table

from pipeline.cli.output import out
from pipeline.domain.state import OPEN_STATES, State
from pipeline.services.submit_files import FileVerdict, Verdict
from pipeline.storage.settling import Standings

STATUSES_OF: Mapping[State, frozenset[str | None]] = {
    State.ACCEPTED: frozenset({"PENDING"}),
    State.DELIVERED: frozenset({"DELIVERED"}),
    State.FAILED: frozenset({"FAILED"}),
    State.REFUSED: frozenset({None}),
    State.SUPERSEDED: frozenset({"FAILED", None}),
    State.CANCELLED: frozenset({None}),
}
"""What the operator's ledger must say of an invoice that has come to rest in a state of ours."""


@dataclass
class Verdicts:
    """What became of the files."""

    sha256: dict[str, str] = field(default_factory=dict)
    """By UUID, of every submitted invoice."""
    company_id: dict[str, str] = field(default_factory=dict)
    """By UUID, for whom it was submitted."""
    counts: Counter[Verdict] = field(default_factory=Counter)

    def add(self, verdict: FileVerdict, company_id: UUID) -> None:
        """Take note of one file."""
        self.counts[verdict.verdict] += 1
        if verdict.submitted is not None:
            uuid = str(verdict.submitted.uuid)
            self.sha256[uuid] = verdict.submitted.sha256
            self.company_id[uuid] = str(company_id)


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What became of the failures, counted from our books and the operator's ledger."""

    state_mismatches: tuple[str, ...]
    """UUIDs whose state with us is not what the operator's status says."""
    reroutes_doubled: int
    """Reroutes that the operator carried out beyond those we meant."""
    resends_doubled: int
    """Successors beyond the first of an invoice."""
    rerouted: int
    """Reroutes carried out, counted at the operator."""
    resent: int
    """Invoices sent anew in the place of others."""
    superseded: int
    balanced: bool
    """Whether every batch adds up, by the maintained counters and by a count of its invoices."""
    cases: Mapping[str, int]
    """All cases by owner."""
    open_cases: Mapping[str, int]
    """Those that wait for a person, by owner."""

    @property
    def is_well(self) -> bool:
        """Whether we and the operator agree on every state and nothing was done twice."""
        return self.balanced and not (self.state_mismatches or self.reroutes_doubled or self.resends_doubled)

    def as_json(self) -> dict[str, object]:
        """Return the fields scripts rely on."""
        return {
            "state_mismatches": len(self.state_mismatches),
            "reroutes_doubled": self.reroutes_doubled,
            "resends_doubled": self.resends_doubled,
            "balanced": self.balanced,
            "cases": dict(self.cases),
            "open_cases": dict(self.open_cases),
            "rerouted": self.rerouted,
            "resent": self.resent,
            "superseded": self.superseded,
        }


@dataclass(frozen=True, kw_only=True)
class Reckoning:
    """The end of a demo. The last four are counted from the operator's ledger against the files."""

    submitted: int
    accepted: int
    delivered: int
    failed: int
    refused: int
    held: int
    open: int
    files_refused: int
    timeouts_survived: int
    seconds: float
    operator_held: int
    doubled: int
    missing: int
    never_created: int
    """Refused, sent anew after that or not: the operator is not to hold them."""
    altered: int
    routed: Routed
    unexplained: tuple[str, ...]
    """UUIDs on which we and the operator disagree: missing there though not refused, or held there though refused."""

    @property
    def is_well(self) -> bool:
        """Whether every submitted invoice is accounted for, none doubled or altered; a refused file was none."""
        accounted = (
            self.submitted + self.routed.resent == self.delivered + self.failed + self.refused + self.routed.superseded
        )
        should_hold = self.submitted + self.routed.resent - self.missing - self.never_created
        in_excess = self.operator_held - should_hold
        faults = (self.unexplained, self.doubled, self.altered, in_excess)
        return accounted and self.routed.is_well and not any(faults)

    def as_json(self) -> dict[str, object]:
        """Return the fields scripts rely on."""
        return {
            "submitted": self.submitted,
            "accepted": self.accepted,
            "delivered": self.delivered,
            "failed": self.failed,
            "refused": self.refused,
            "held": self.held,
            "open": self.open,
            "files_refused": self.files_refused,
            "timeouts_survived": self.timeouts_survived,
            **self.routed.as_json(),
            "seconds": round(self.seconds, 2),
            "operator": {
                "held": self.operator_held,
                "doubled": self.doubled,
                "missing": self.missing,
                "altered": self.altered,
            },
        }


def reckon(
    *,
    verdicts: Verdicts,
    standings: Standings,
    balanced: bool,
    timeouts_survived: int,
    accepted: int,
    ledger: Mapping[str, Mapping[str, Any]],
    seconds: float,
) -> Reckoning:
    """Compare the files, and what was sent anew in their place, with what the operator holds, UUID by UUID.

    `ledger` is the simulator's: by UUID, `held` (how many), `held_sha256`, `company_id`, `status` and `reroutes`.
    Doubled counts invoices beyond the first under a UUID, and every invoice under a UUID that was never submitted.
    """
    everything = _with_successors(verdicts, standings)
    ours = {uuid: entry for uuid, entry in ledger.items() if uuid in everything.sha256 and entry["held"]}
    in_place = {uuid for uuid, entry in ours.items() if entry["company_id"] == everything.company_id[uuid]}
    strays = sum(entry["held"] for uuid, entry in ledger.items() if uuid not in everything.sha256)
    # What was refused and then sent anew is held by nobody either.
    unheld = {
        str(uuid)
        for uuid, kept in standings.invoices.items()
        if kept.state is State.REFUSED or (kept.state is State.SUPERSEDED and str(uuid) not in ours)
    }
    counts = Counter(kept.state for kept in standings.invoices.values())
    return Reckoning(
        submitted=len(verdicts.sha256),
        accepted=accepted,
        delivered=counts[State.DELIVERED],
        failed=counts[State.FAILED],
        refused=counts[State.REFUSED],
        held=counts[State.HELD],
        open=sum(counts[state] for state in OPEN_STATES),
        files_refused=verdicts.counts[Verdict.REFUSED],
        timeouts_survived=timeouts_survived,
        seconds=seconds,
        operator_held=sum(entry["held"] for entry in ledger.values()),
        doubled=sum(entry["held"] - 1 for entry in ours.values()) + strays,
        missing=len(everything.sha256.keys() - in_place - unheld),
        never_created=len(unheld),
        altered=sum(entry["held_sha256"] != everything.sha256[uuid] for uuid, entry in ours.items()),
        routed=_routed(standings, ledger, balanced=balanced),
        unexplained=tuple(sorted((everything.sha256.keys() - in_place) ^ unheld)),
    )


def _with_successors(verdicts: Verdicts, standings: Standings) -> Verdicts:
    """Add what was sent anew: the company of the first invoice of the chain, and the bytes we kept for it."""
    everything = Verdicts(sha256=dict(verdicts.sha256), company_id=dict(verdicts.company_id))
    for uuid, kept in standings.invoices.items():
        first = kept
        origin = uuid
        while first.supersedes is not None:
            origin, first = first.supersedes, standings.invoices[first.supersedes]
        if origin != uuid and str(origin) in verdicts.company_id:
            everything.sha256[str(uuid)] = kept.sha256
            everything.company_id[str(uuid)] = verdicts.company_id[str(origin)]
    return everything


def _routed(standings: Standings, ledger: Mapping[str, Mapping[str, Any]], *, balanced: bool) -> Routed:
    executed = {uuid: len(entry.get("reroutes") or ()) for uuid, entry in ledger.items()}
    meant = {str(uuid): count for uuid, count in standings.done_reroutes.items()}
    predecessors = Counter(kept.supersedes for kept in standings.invoices.values() if kept.supersedes is not None)
    cases: Counter[str] = Counter({"accountant": 0, "engineer": 0})
    waiting: Counter[str] = Counter({"accountant": 0, "engineer": 0})
    for (owner, status), count in standings.cases.items():
        cases[owner] += count
        waiting[owner] += count if status == "open" else 0
    return Routed(
        state_mismatches=tuple(
            sorted(
                str(uuid)
                for uuid, kept in standings.invoices.items()
                if (ledger.get(str(uuid)) or {}).get("status") not in STATUSES_OF.get(kept.state, frozenset())
            )
        ),
        reroutes_doubled=sum(max(0, count - meant.get(uuid, 0)) for uuid, count in executed.items()),
        resends_doubled=sum(count - 1 for count in predecessors.values()),
        rerouted=sum(executed.values()),
        resent=predecessors.total(),
        superseded=sum(kept.state is State.SUPERSEDED for kept in standings.invoices.values()),
        balanced=balanced,
        cases=dict(cases),
        open_cases=dict(waiting),
    )


def print_summary(reckoning: Reckoning, *, faults: str) -> None:
    """Print the summary and what to try next."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for words, count in (
        ("invoices submitted", reckoning.submitted),
        ("accepted by the operator", reckoning.accepted),
        ("delivered to the customer", reckoning.delivered),
        ("failed, and a person decides", reckoning.failed),
        ("refused by the operator, and a person decides", reckoning.refused),
        ("rerouted by rule", reckoning.routed.rerouted),
        ("sent anew by rule, in place of another", reckoning.routed.resent),
        ("cases of the accountant, of the engineer", _two(reckoning.routed.cases)),
        ("files refused before sending (see above)", reckoning.files_refused),
        ("still open or held", reckoning.open + reckoning.held),
        ("timeouts survived", reckoning.timeouts_survived),
    ):
        table.add_row(words, count if isinstance(count, str) else f"{count:,}")
    table.add_section()
    for words, count in (
        ("counted at the operator: invoices it holds", reckoning.operator_held),
        ("doubled", reckoning.doubled),
        ("missing", reckoning.missing),
        ("with other bytes than submitted", reckoning.altered),
        ("in another state than with us", len(reckoning.routed.state_mismatches)),
        ("rerouted twice", reckoning.routed.reroutes_doubled),
    ):
        table.add_row(words, f"{count:,}")
    console = out()
    console.print(table)
    if reckoning.is_well:
        console.print(
            f"[bold green]Every invoice is accounted for, none twice[/] ({reckoning.seconds:.1f} s, faults: {faults})."
        )
    else:
        console.print(f"[bold red]Not every invoice is accounted for[/] ({reckoning.seconds:.1f} s, faults: {faults}).")
    if not reckoning.routed.balanced:
        console.print("  a batch does not add up: run again with --keep, then postiljon board --json")
    for uuid in (*reckoning.unexplained, *reckoning.routed.state_mismatches)[:10]:
        console.print(f"  we and the operator disagree on {uuid}: run again with --keep, then postiljon show {uuid}")
    console.print(
        "Try next:  make demo INVOICES=200 FAULTS=storm   make demo FROM=/your/invoices   make demo KEEP=1   make help"
    )


def _two(counts: Mapping[str, int]) -> str:
    return f"{counts['accountant']:,} / {counts['engineer']:,}"

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
    altered: int
    unexplained: tuple[str, ...]
    """UUIDs on which we and the operator disagree: missing there though not refused, or held there though refused."""

    @property
    def is_well(self) -> bool:
        """Whether every submitted invoice is accounted for, none doubled or altered; a refused file was none."""
        accounted = self.submitted == self.delivered + self.failed + self.refused
        in_excess = self.operator_held - (self.submitted - self.missing)
        faults = (self.unexplained, self.doubled, self.altered, in_excess)
        return accounted and not any(faults)

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
    states: Mapping[str, State],
    timeouts_survived: int,
    accepted: int,
    ledger: Mapping[str, Mapping[str, Any]],
    seconds: float,
) -> Reckoning:
    """Compare the files with what the operator holds, UUID by UUID.

    `ledger` is the simulator's: by UUID, `held` (how many), `held_sha256` and `company_id`. Doubled counts invoices
    beyond the first under a UUID, and every invoice under a UUID that was never submitted.
    """
    ours = {uuid: entry for uuid, entry in ledger.items() if uuid in verdicts.sha256 and entry["held"]}
    in_place = {uuid for uuid, entry in ours.items() if entry["company_id"] == verdicts.company_id[uuid]}
    strays = sum(entry["held"] for uuid, entry in ledger.items() if uuid not in verdicts.sha256)
    refused = {uuid for uuid, state in states.items() if state is State.REFUSED}
    counts = Counter(states.values())
    return Reckoning(
        submitted=len(verdicts.sha256),
        accepted=accepted,
        delivered=counts[State.DELIVERED],
        failed=counts[State.FAILED],
        refused=len(refused),
        held=counts[State.HELD],
        open=sum(counts[state] for state in OPEN_STATES),
        files_refused=verdicts.counts[Verdict.REFUSED],
        timeouts_survived=timeouts_survived,
        seconds=seconds,
        operator_held=sum(entry["held"] for entry in ledger.values()),
        doubled=sum(entry["held"] - 1 for entry in ours.values()) + strays,
        missing=len(verdicts.sha256) - len(in_place),
        altered=sum(entry["held_sha256"] != verdicts.sha256[uuid] for uuid, entry in ours.items()),
        unexplained=tuple(sorted((verdicts.sha256.keys() - in_place) ^ refused)),
    )


def print_summary(reckoning: Reckoning, *, faults: str) -> None:
    """Print the summary and what to try next."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for words, count in (
        ("invoices submitted", reckoning.submitted),
        ("accepted by the operator", reckoning.accepted),
        ("delivered to the customer", reckoning.delivered),
        ("failed after acceptance (a person decides)", reckoning.failed),
        ("refused by the operator", reckoning.refused),
        ("files refused before sending (see above)", reckoning.files_refused),
        ("still open or held", reckoning.open + reckoning.held),
        ("timeouts survived", reckoning.timeouts_survived),
    ):
        table.add_row(words, f"{count:,}")
    table.add_section()
    for words, count in (
        ("counted at the operator: invoices it holds", reckoning.operator_held),
        ("doubled", reckoning.doubled),
        ("missing", reckoning.missing),
        ("with other bytes than submitted", reckoning.altered),
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
    for uuid in reckoning.unexplained[:10]:
        console.print(f"  we and the operator disagree on {uuid}: run again with --keep, then postiljon show {uuid}")
    console.print(
        "Try next:  make demo INVOICES=200 FAULTS=storm   make demo FROM=/your/invoices   make demo KEEP=1   make help"
    )

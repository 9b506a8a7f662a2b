"""What a demo proved: our counts beside the operator's ledger, in words for a back office. Starts nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from pipeline.cli.output import out
from pipeline.domain.state import OPEN_STATES, State
from pipeline.services.submit_files import FileVerdict, Verdict
from pipeline.storage.reading import Progress


@dataclass
class Verdicts:
    """What became of the files."""

    sha256: dict[str, str] = field(default_factory=dict)
    """By UUID, of every submitted invoice."""
    counts: Counter[Verdict] = field(default_factory=Counter)

    def add(self, verdict: FileVerdict) -> None:
        """Take note of one file."""
        self.counts[verdict.verdict] += 1
        if verdict.submitted is not None:
            self.sha256[str(verdict.submitted.uuid)] = verdict.submitted.sha256


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

    @property
    def is_well(self) -> bool:
        """Whether every submitted invoice is accounted for, none doubled, none altered, no file refused."""
        accounted = self.submitted == self.delivered + self.failed + self.refused
        unexplained = self.missing - self.refused
        return accounted and not (unexplained or self.doubled or self.altered or self.files_refused)

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
    progress: Progress,
    timeouts_survived: int,
    ledger: Mapping[str, Mapping[str, Any]],
    seconds: float,
) -> Reckoning:
    """Compare the files with what the operator holds.

    `ledger` is the simulator's: by UUID, `held` (how many) and `held_sha256`. Doubled counts invoices beyond the first
    of a document, under its own UUID or any other.
    """
    holdings: Counter[str] = Counter()
    for entry in ledger.values():
        if entry["held"]:
            holdings[entry["held_sha256"]] += entry["held"]
    files = Counter(verdicts.sha256.values())
    held = {uuid: ledger[uuid] for uuid in verdicts.sha256 if uuid in ledger and ledger[uuid]["held"]}
    states = progress.by_state
    return Reckoning(
        submitted=len(verdicts.sha256),
        accepted=progress.accepted,
        delivered=states.get(State.DELIVERED, 0),
        failed=states.get(State.FAILED, 0),
        refused=states.get(State.REFUSED, 0),
        held=states.get(State.HELD, 0),
        open=sum(states.get(state, 0) for state in OPEN_STATES),
        files_refused=verdicts.counts[Verdict.REFUSED],
        timeouts_survived=timeouts_survived,
        seconds=seconds,
        operator_held=sum(entry["held"] for entry in ledger.values()),
        doubled=sum(max(0, count - files[sha256]) for sha256, count in holdings.items() if sha256 in files),
        missing=len(verdicts.sha256) - len(held),
        altered=sum(entry["held_sha256"] != verdicts.sha256[uuid] for uuid, entry in held.items()),
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
    console.print(
        "Try next:  make demo INVOICES=200 FAULTS=storm   make demo FROM=/your/invoices   make demo KEEP=1   make help"
    )

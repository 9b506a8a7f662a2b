"""What processes cost: CPU of whole families and peak memory, read from /proc. Linux only."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.liveness import children_of

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a family of processes used so far."""

    cpu_seconds: float
    peak_mib: float
    """Resident at its peak, of the largest process of the family; pages shared with others are counted."""
    processes: int


class Account:
    """CPU of named families between `begin` and `end`, each a process with all that descend from it.

    What a descendant used counts after its end too, as long as its parent waited for it.
    """

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = dict(roots)
        self._before: dict[str, Cost] = {}

    def begin(self) -> None:
        """Take what was used so far off the bill."""
        self._before = {name: cost_of(pid) for name, pid in self._roots.items()}

    def end(self) -> dict[str, Cost]:
        """Return what each family used since `begin`, with its peak memory since its start."""
        now = {name: cost_of(pid) for name, pid in self._roots.items()}
        return {
            name: Cost(
                cpu_seconds=max(0.0, cost.cpu_seconds - self._before[name].cpu_seconds),
                peak_mib=cost.peak_mib,
                processes=cost.processes,
            )
            for name, cost in now.items()
        }


def cost_of(pid: int) -> Cost:
    """Return what a process and all its descendants used."""
    family = family_of(pid)
    return Cost(
        cpu_seconds=sum(_cpu_seconds(each) for each in family),
        peak_mib=max((_peak_mib(each) for each in family), default=0.0),
        processes=len(family),
    )


def family_of(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    return [pid, *(each for child in children_of(pid) for each in family_of(child))]


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    # Source: proc_pid_stat(5), fields 14 to 17: its own time and that of the children it waited for.
    return sum(int(field) for field in fields[11:15]) / TICKS


def share_bytes(pid: int) -> int:
    """Return what a process has resident, of pages that it shares its part only (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith("VmHWM:")), 0.0)

"""A demo under way: what it knows, its live table, when it has come to rest, and its reckoning."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.live import Live
from rich.table import Table

from pipeline.cli.demo_report import STATUSES_OF, Reckoning, Verdicts, reckon
from pipeline.cli.output import err, print_error
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.storage.database import Database
from pipeline.storage.reading import Progress, count_timeouts_survived, read_progress, read_states
from pipeline.storage.settling import count_unsettled, is_balanced, read_standings

QUIET_SECONDS = 4.0
"""Everything must have been settled for so long: a delivery may still turn into a failure."""
PATIENCE_SECONDS = 90.0
"""The demo gives up when nothing at all changed for so long."""
POLL_SECONDS = 0.3

Show = Callable[[], None]


@dataclass
class Run:
    """What the demo knows while it runs."""

    database: Database
    simulator: str
    started: float
    verdicts: Verdicts = field(default_factory=Verdicts)


@contextlib.contextmanager
def progress(run: Run, *, shown: bool) -> Iterator[Show]:
    """Lend a function that renews the table of counts; it does nothing where nobody would see it."""
    if not shown:
        yield lambda: None
        return
    console = err()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda: live.update(_progress_table(run, read_now(run)), refresh=True) if console.is_terminal else None


def read_now(run: Run) -> Progress:
    """Return the counts of this moment."""
    with run.database.transaction() as session:
        return read_progress(session)


def _progress_table(run: Run, progress: Progress) -> Table:
    table = Table(title=f"{time.monotonic() - run.started:.0f} s", title_justify="left")
    table.add_column("state")
    table.add_column("invoices", justify="right")
    for state, count in sorted(progress.by_state.items()):
        table.add_row(state.value, str(count))
    return table


def settle(run: Run, show: Show) -> None:
    """Wait until nothing is to change any more without a person, or until nothing has changed for long."""
    last: Progress | None = None
    quiet_since = changed = time.monotonic()
    while True:
        progress, now = read_now(run), time.monotonic()
        show()
        if progress != last:
            last, changed = progress, now
        if _unsettled(run) or not _statuses_agree(run):
            quiet_since = now
        if now - quiet_since >= QUIET_SECONDS:
            return
        if now - changed > PATIENCE_SECONDS:
            print_error(f"gave up: nothing changed for {PATIENCE_SECONDS:.0f} s")
            return
        time.sleep(POLL_SECONDS)


def _unsettled(run: Run) -> int:
    with run.database.transaction() as session:
        return count_unsettled(session)


def _statuses_agree(run: Run) -> bool:
    ledger = _ledger(run.simulator)["invoices"]
    with run.database.transaction() as session:
        states = read_states(session)
    return all(
        (ledger.get(str(uuid)) or {}).get("status") in STATUSES_OF.get(state, frozenset({None}))
        for uuid, state in states.items()
        if state is not State.HELD
    )


def _ledger(simulator: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = httpx.get(f"{simulator}/_simulator/ledger", timeout=30.0).raise_for_status().json()
    except httpx.HTTPError as exc:
        raise ServiceUnavailableError(f"the simulator's ledger cannot be read: {exc}") from exc
    return answer


def reckoning_of(run: Run) -> Reckoning:
    """Compare what we keep with what the operator holds."""
    with run.database.transaction() as session:
        standings = read_standings(session)
        accepted = read_progress(session).accepted
        survived = count_timeouts_survived(session)
        balanced = is_balanced(session, standings)
    return reckon(
        verdicts=run.verdicts,
        standings=standings,
        balanced=balanced,
        accepted=accepted,
        timeouts_survived=survived,
        ledger=_ledger(run.simulator)["invoices"],
        seconds=time.monotonic() - run.started,
    )

"""`postiljon demo`: the whole product on this machine against the simulator, counted on the operator's side."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer
from rich.live import Live
from rich.table import Table

from pipeline.bootstrap import build_database, build_vault, utc_now
from pipeline.cli.demo_report import Reckoning, Verdicts, print_summary, reckon
from pipeline.cli.output import ExitStatus, JsonOption, err, escape, friendly_errors, print_error, print_json
from pipeline.cli.stack import Stack, StackPlan, fault_script
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.domain.errors import InvalidInputError, ServiceUnavailableError
from pipeline.domain.state import OPEN_STATES, State
from pipeline.services.gather import Found, Unreadable, gather
from pipeline.services.submit_files import Verdict, submit_files
from pipeline.settings import Settings, settings_from
from pipeline.storage.companies import save_company
from pipeline.storage.database import Database
from pipeline.storage.reading import Progress, count_timeouts_survived, read_progress, read_states

COMPANIES = {
    UUID("00000000-0000-4000-8000-000000000001"): "Esimerkki Oy",
    UUID("00000000-0000-4000-8000-000000000002"): "Muster GmbH",
}
"""The simulator's two ready companies."""

SETTINGS = {
    "POSTILJON_READ_TIMEOUT_SECONDS": "3",
    "POSTILJON_WRITE_TIMEOUT_SECONDS": "3",
    "POSTILJON_CONNECT_TIMEOUT_SECONDS": "1",
    "POSTILJON_CHUNK_INVOICES": "25",
    "POSTILJON_RETRY_WAITS_SECONDS": "0,0.5,1,2,4,8",
    "POSTILJON_LOOK_WAITS_SECONDS": "0.5,1,1,2,2,4",
    "POSTILJON_FOLLOW_INTERVAL_SECONDS": "1",
    "POSTILJON_DELIVERED_LOOKS_SECONDS": "2",
    "POSTILJON_HOLD_CHECK_SECONDS": "3",
    "POSTILJON_DISPATCH_LEASE_SECONDS": "5",
    "POSTILJON_CLAIM_LEASE_SECONDS": "10",
    "POSTILJON_ABSENCE_SETTLE_SECONDS": "3",
}
"""A demo waits seconds where production waits minutes; nothing else differs."""

QUIET_SECONDS = 3.0
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


def demo(
    invoices: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many invoices to make up and send.")] = 40,
    source: Annotated[
        list[str] | None, typer.Option("--from", help="Send these files and folders instead; repeatable.")
    ] = None,
    faults: Annotated[
        str, typer.Option(help="calm, everyday, storm, accept-then-silence, reset-after-accept, lying-500, or a file.")
    ] = "everyday",
    seed: Annotated[int, typer.Option(help="Same seed, same invoices and faults.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running to look at, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run everything on this machine against the simulator, send invoices, and count what the operator holds."""
    signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="postiljon-demo-"))
    try:
        with friendly_errors():
            reckoning = _run(folder, invoices, source or [], faults, seed, keep=keep, as_json=as_json)
    except KeyboardInterrupt:
        print_error("interrupted: everything was stopped")
        raise typer.Exit(130) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not reckoning.is_well:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _run(
    folder: Path, invoices: int, source: list[str], faults: str, seed: int, *, keep: bool, as_json: bool
) -> Reckoning:
    paths = [str(Path(path).absolute()) for path in source]
    _require_documents(paths)
    arguments = ("--faults", fault_script(faults), "--seed", str(seed))
    say = err() if not as_json else None
    if say:
        say.print(
            "Starting PostgreSQL, Valkey, the simulator, workers, beat and Flower on this machine ...", soft_wrap=True
        )
    with Stack(StackPlan(state_dir=folder / "state", simulator_arguments=arguments, settings=SETTINGS)) as stack:
        settings = settings_from(stack.environment)
        run = Run(database=build_database(settings), simulator=stack.urls["simulator"], started=time.monotonic())
        if say:
            say.print(f"Flower: {stack.shown_urls['flower']}   simulator: {run.simulator}", soft_wrap=True)
        add_companies(run.database, settings)
        with _progress(run, shown=say is not None) as show:
            _submit(run, {next(iter(COMPANIES)): paths} if paths else _make_up(folder, invoices, seed), show)
            _settle(run, show)
        reckoning = _reckon(run)
        if as_json:
            print_json(reckoning.as_json())
        else:
            print_summary(reckoning, faults=faults)
        if keep:
            _wait_for_ctrl_c(folder / "state")
        run.database.close()
    return reckoning


def _require_documents(paths: list[str]) -> None:
    # Before anything is started: a wrong path is said at once.
    found = list(gather(paths, stdin=sys.stdin.buffer))
    if paths and not any(isinstance(each, Found) for each in found):
        causes = [str(each.error) for each in found if isinstance(each, Unreadable)]
        raise InvalidInputError(f"no invoice to send: {'; '.join(causes) or 'name files or folders of XML or ZIP'}")


def add_companies(database: Database, settings: Settings) -> None:
    """Store the simulator's ready companies."""
    vault = build_vault(settings)
    with database.transaction() as session:
        for company_id, name in COMPANIES.items():
            keys = CompanyCredentials(
                company_id=company_id, user_api_key="demo-user-key", vendor_api_key="demo-vendor-key"
            )
            save_company(session, keys, name=name, vault=vault, now=utc_now())


def _make_up(folder: Path, invoices: int, seed: int) -> dict[UUID, list[str]]:
    """Have sample invoices made for both companies; the generator belongs to the simulator's side."""
    shares = {company: (invoices + 1 - place) // len(COMPANIES) for place, company in enumerate(COMPANIES)}
    made: dict[UUID, list[str]] = {}
    for place, (company, count) in enumerate(shares.items()):
        if not count:
            continue
        target = folder / "invoices" / str(place)
        options = ("--count", str(count), "--seed", str(seed * len(COMPANIES) + place), "--to", str(target))
        command = (sys.executable, "-m", "simulator.samples", *options)
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=600)
        except subprocess.SubprocessError as exc:
            raise ServiceUnavailableError(f"the sample invoices could not be made: {exc}") from exc
        made[company] = [str(target)]
    return made


def _submit(run: Run, sources: dict[UUID, list[str]], show: Show) -> None:
    for company, paths in sources.items():
        verdicts = submit_files(run.database, paths, company=company, stdin=sys.stdin.buffer, limits=DEFAULT_LIMITS)
        for number, verdict in enumerate(verdicts):
            run.verdicts.add(verdict, company)
            if verdict.verdict is Verdict.REFUSED:
                print_error(verdict.message or verdict.path)
            if number % 20 == 0:
                show()
    if not run.verdicts.sha256:
        raise InvalidInputError("none of the files could be sent; the lines above say why")


@contextlib.contextmanager
def _progress(run: Run, *, shown: bool) -> Iterator[Show]:
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


def _settle(run: Run, show: Show) -> None:
    last: Progress | None = None
    quiet_since = changed = time.monotonic()
    while True:
        progress, now = read_now(run), time.monotonic()
        show()
        if progress != last:
            last, changed = progress, now
        if any(progress.by_state.get(state) for state in OPEN_STATES) or not _statuses_agree(run):
            quiet_since = now
        if now - quiet_since >= QUIET_SECONDS:
            return
        if now - changed > PATIENCE_SECONDS:
            print_error(f"gave up: nothing changed for {PATIENCE_SECONDS:.0f} s")
            return
        time.sleep(POLL_SECONDS)


def _statuses_agree(run: Run) -> bool:
    ledger = _ledger(run.simulator)["invoices"]
    failed_there = {uuid for uuid, entry in ledger.items() if entry["status"] == "FAILED"}
    with run.database.transaction() as session:
        states = read_states(session)
    return failed_there == {str(uuid) for uuid, state in states.items() if state is State.FAILED}


def _ledger(simulator: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = httpx.get(f"{simulator}/_simulator/ledger", timeout=30.0).raise_for_status().json()
    except httpx.HTTPError as exc:
        raise ServiceUnavailableError(f"the simulator's ledger cannot be read: {exc}") from exc
    return answer


def _reckon(run: Run) -> Reckoning:
    with run.database.transaction() as session:
        states = {str(uuid): state for uuid, state in read_states(session).items()}
        accepted = read_progress(session).accepted
        survived = count_timeouts_survived(session)
    return reckon(
        verdicts=run.verdicts,
        states=states,
        accepted=accepted,
        timeouts_survived=survived,
        ledger=_ledger(run.simulator)["invoices"],
        seconds=time.monotonic() - run.started,
    )


def _wait_for_ctrl_c(state_dir: Path) -> None:
    err().print("\nStill running. In another terminal:")
    err().print(f"  export POSTILJON_STATE_DIR={escape(str(state_dir))}", soft_wrap=True)
    err().print(
        "  .venv/bin/postiljon list;  .venv/bin/postiljon show UUID;  .venv/bin/postiljon doctor", soft_wrap=True
    )
    err().print("Ctrl-C stops everything.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()


def _leave(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

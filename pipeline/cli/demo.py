"""`postiljon demo`: the whole product on this machine against the simulator, counted on the operator's side."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated
from uuid import UUID

import httpx
import typer

from pipeline.bootstrap import build_database, build_vault, utc_now
from pipeline.cli.demo_report import Reckoning, print_summary
from pipeline.cli.demo_run import Run, Show, progress, reckoning_of, settle
from pipeline.cli.demo_scenario import COMPANIES, Scenario, scenario
from pipeline.cli.output import ExitStatus, JsonOption, err, escape, friendly_errors, print_error, print_json
from pipeline.cli.stack import FAULT_SCRIPTS, POSTILJON, Stack, StackPlan, fault_script
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.domain.errors import InvalidInputError, ServiceUnavailableError
from pipeline.services.gather import Found, Unreadable, gather
from pipeline.services.submit_files import Verdict, submit_files
from pipeline.settings import Settings, settings_from
from pipeline.storage.companies import save_company
from pipeline.storage.database import Database

BATCH = "demo"


def demo(
    invoices: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many invoices to make up and send.")] = 40,
    source: Annotated[
        list[str] | None, typer.Option("--from", help="Send these files and folders instead; repeatable.")
    ] = None,
    faults: Annotated[str, typer.Option(help=f"{', '.join(FAULT_SCRIPTS)}, or a file.")] = "everyday",
    seed: Annotated[int, typer.Option(help="Same seed, same invoices and faults.")] = 1,
    webhooks: Annotated[
        bool, typer.Option("--webhooks/--no-webhooks", help="With mixed-failures: whether webhooks bring news, too.")
    ] = True,
    polling: Annotated[
        bool, typer.Option("--polling/--no-polling", help="With mixed-failures: else the daily pass alone asks.")
    ] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running to look at, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run everything on this machine against the simulator, send invoices, and count what the operator holds."""
    signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="postiljon-demo-"))
    try:
        with friendly_errors():
            made_of = scenario(faults, webhooks=webhooks, polling=polling)
            reckoning = _run(folder, invoices, source or [], faults, seed, made_of, keep=keep, as_json=as_json)
    except KeyboardInterrupt:
        print_error("interrupted: everything was stopped")
        raise typer.Exit(130) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not reckoning.is_well:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _run(
    folder: Path,
    invoices: int,
    source: list[str],
    faults: str,
    seed: int,
    made_of: Scenario,
    *,
    keep: bool,
    as_json: bool,
) -> Reckoning:
    paths = [str(Path(path).absolute()) for path in source]
    _require_documents(paths)
    say = err() if not as_json else None
    if say:
        say.print(
            "Starting PostgreSQL, Valkey, the simulator, workers, beat and Flower on this machine ...", soft_wrap=True
        )
    with Stack(_plan(folder, faults, seed, made_of)) as stack:
        settings = settings_from(stack.environment)
        run = Run(database=build_database(settings), simulator=stack.urls["simulator"], started=time.monotonic())
        if say:
            say.print(f"Flower: {stack.shown_urls['flower']}   simulator: {run.simulator}", soft_wrap=True)
        add_companies(run.database, settings)
        _prepare(run, stack, made_of)
        with progress(run, shown=say is not None) as show:
            _submit(run, {next(iter(COMPANIES)): paths} if paths else make_up(folder, invoices, seed), show)
            settle(run, show)
        reckoning = reckoning_of(run)
        if as_json:
            print_json(reckoning.as_json())
        else:
            print_summary(reckoning, faults=faults)
        if keep:
            _wait_for_ctrl_c(folder / "state")
        run.database.close()
    return reckoning


def _plan(folder: Path, faults: str, seed: int, made_of: Scenario) -> StackPlan:
    knobs = [part for knob in made_of.knobs for part in ("--knob", knob)]
    settings = dict(made_of.settings)
    if made_of.rules is not None:
        rules = folder / "routing.toml"
        rules.write_text(made_of.rules, encoding="utf-8")
        settings["POSTILJON_ROUTING_FILE"] = str(rules)
    return StackPlan(
        state_dir=folder / "state",
        simulator_arguments=("--faults", fault_script(faults), "--seed", str(seed), *knobs),
        settings=settings,
        beats=made_of.beats,
        web=made_of.webhooks,
    )


def _prepare(run: Run, stack: Stack, made_of: Scenario) -> None:
    for company in made_of.print_companies:
        httpx.put(f"{run.simulator}/_simulator/companies/{company}", json={"print_enabled": True}).raise_for_status()
    if made_of.webhooks:
        register_webhooks(stack)


def register_webhooks(stack: Stack) -> None:
    """Have the operator tell the stack's receiver of every company. Raises: ServiceUnavailableError."""
    command = (*POSTILJON, "webhooks", "register", "--all")
    try:
        environment = {**os.environ, **stack.environment}
        subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment, text=True)
    except subprocess.CalledProcessError as exc:
        raise ServiceUnavailableError(f"the webhooks could not be registered: {exc.stderr.strip()}") from exc


def _require_documents(paths: list[str]) -> None:
    # Before anything is started: a wrong path is said at once.
    found = list(gather(paths, stdin=sys.stdin.buffer))
    if paths and not any(isinstance(each, Found) for each in found):
        causes = [str(each.error) for each in found if isinstance(each, Unreadable)]
        raise InvalidInputError(f"no invoice to send: {'; '.join(causes) or 'name files or folders of XML or ZIP'}")


def add_companies(database: Database, settings: Settings, companies: Mapping[UUID, str] = COMPANIES) -> None:
    """Store the simulator's ready companies."""
    vault = build_vault(settings)
    with database.transaction() as session:
        for company_id, name in companies.items():
            keys = CompanyCredentials(
                company_id=company_id, user_api_key="demo-user-key", vendor_api_key="demo-vendor-key"
            )
            save_company(session, keys, name=name, vault=vault, now=utc_now())


def make_up(
    folder: Path, invoices: int, seed: int, companies: Collection[UUID] = COMPANIES.keys()
) -> dict[UUID, list[str]]:
    """Have sample invoices made for every company; the generator belongs to the simulator's side."""
    several = len(companies)
    made: dict[UUID, list[str]] = {}
    making: list[Future[None]] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as makers:
        for place, company in enumerate(companies):
            if count := (invoices + several - 1 - place) // several:
                target = folder / "invoices" / str(place)
                made[company] = [str(target)]
                making.append(makers.submit(_make_up, target, count, seed * several + place))
        for each in making:
            each.result()
    return made


def _make_up(target: Path, count: int, seed: int) -> None:
    options = ("--count", str(count), "--seed", str(seed), "--to", str(target))
    command = (sys.executable, "-m", "simulator.samples", *options)
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=600)
    except subprocess.SubprocessError as exc:
        raise ServiceUnavailableError(f"the sample invoices could not be made: {exc}") from exc


def _submit(run: Run, sources: dict[UUID, list[str]], show: Show) -> None:
    for company, paths in sources.items():
        verdicts = submit_files(
            run.database, paths, company=company, stdin=sys.stdin.buffer, limits=DEFAULT_LIMITS, batch=BATCH
        )
        for number, verdict in enumerate(verdicts):
            run.verdicts.add(verdict, company)
            if verdict.verdict is Verdict.REFUSED:
                print_error(verdict.message or verdict.path)
            if number % 20 == 0:
                show()
    if not run.verdicts.sha256:
        raise InvalidInputError("none of the files could be sent; the lines above say why")


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

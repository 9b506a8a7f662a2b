"""`postiljon chaos`: the whole product on this machine under faults, and the proof that every invoice went once."""

import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.bootstrap import build_database
from pipeline.cli.chaos_plan import SHIPPED, Plan, load_plan
from pipeline.cli.chaos_producers import Offer, Producers, offers_of
from pipeline.cli.chaos_report import Proof
from pipeline.cli.chaos_run import Scene, companies_of, fair_weather, prove, settle, stack_plan
from pipeline.cli.chaos_strikes import Striker
from pipeline.cli.chaos_words import print_proof
from pipeline.cli.demo import add_companies, make_up, register_webhooks
from pipeline.cli.output import ExitStatus, JsonOption, err, friendly_errors, print_error, print_json
from pipeline.cli.stack import Stack
from pipeline.settings import settings_from
from pipeline.storage.database import Database

INTERRUPTED = 130
PRODUCERS = 4


def chaos(
    invoices: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many invoices to make up and send.")] = 300,
    companies: Annotated[int, typer.Option(min=1, max=1000, help="For how many companies.")] = 3,
    seed: Annotated[int, typer.Option(help="Same seed, same invoices, faults and strikes.")] = 1,
    plan: Annotated[str, typer.Option(help=f"{', '.join(SHIPPED)}, or a file.")] = "everyday",
    minutes: Annotated[float, typer.Option(min=0.1, help="Everything must have come to rest within so long.")] = 10.0,
    logs: Annotated[Path | None, typer.Option(help="Copy what every process logged to this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove it: kill, stop and starve everything on this machine while invoices are sent, then count at the operator.

    Exit status 0 only when nothing was lost, doubled or altered and everything came to rest.
    """
    signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="postiljon-chaos-"))
    try:
        with friendly_errors():
            played = load_plan(plan)
            proof = _play(folder, played, invoices, companies, seed, minutes, quiet=as_json)
    except KeyboardInterrupt:
        print_error("interrupted: everything was stopped")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if logs is not None and (folder / "state" / "logs").is_dir():
            shutil.copytree(folder / "state" / "logs", logs, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json({"plan": played.name, "seed": seed, **proof.as_json()})
    else:
        print_proof(proof, plan=played.name, seed=seed)
    if not proof.is_well:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _play(folder: Path, plan: Plan, invoices: int, companies: int, seed: int, minutes: float, *, quiet: bool) -> Proof:
    stack_of = stack_plan(plan, state_dir=folder / "state", companies=companies, seed=seed)
    if not quiet:
        err().print("Starting PostgreSQL, Valkey, the simulator, workers and two beats on this machine ...")
    offers = _offers(folder, invoices, companies, seed)
    with Stack(stack_of) as stack:
        settings = settings_from(stack.environment)
        database = build_database(settings)
        try:
            add_companies(database, settings, companies_of(companies))
            with fair_weather(stack.urls["simulator"]):
                register_webhooks(stack)
            if not quiet:
                err().print(f"Playing {plan.name} with seed {seed}: {plan.about or 'strikes fall'} ...")
            return _disturb(stack, plan, offers, seed, minutes, database, state_dir=folder / "state")
        finally:
            database.close()


def _offers(folder: Path, invoices: int, companies: int, seed: int) -> list[Offer]:
    made = make_up(folder, invoices, seed, companies_of(companies))
    paths = {
        company: sorted(Path(place) for each in those for place in Path(each).iterdir())
        for company, those in made.items()
    }
    return offers_of(paths, seed=seed)


def _disturb(
    stack: Stack, plan: Plan, offers: list[Offer], seed: int, minutes: float, database: Database, *, state_dir: Path
) -> Proof:
    began = time.monotonic()
    with (
        Producers(database, offers, seed=seed, producers=PRODUCERS, over_seconds=plan.submit_seconds) as producers,
        Striker(
            stack,
            plan,
            seed=seed,
            database=database,
            state_dir=state_dir,
            more_comes=lambda: not producers.are_done,
        ) as striker,
    ):
        scene = Scene(
            database=database,
            simulator=stack.urls["simulator"],
            producers=producers,
            striker=striker,
            offered=len(offers),
            began=began,
        )
        unsettled = settle(scene, deadline=began + minutes * 60)
    return prove(scene, unsettled=unsettled)


def _leave(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

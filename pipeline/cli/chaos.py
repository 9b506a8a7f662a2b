"""`postiljon chaos`: the whole product on this machine under faults, and the proof that every invoice went once."""

import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.bootstrap import build_database
from pipeline.cli.chaos_file import SHIPPED, load_plan
from pipeline.cli.chaos_plan import Plan
from pipeline.cli.chaos_producers import Offer, Producers, offers_of
from pipeline.cli.chaos_report import Proof
from pipeline.cli.chaos_run import Scene, companies_of, fair_weather, limit, make_disturbable, prove, stack_plan
from pipeline.cli.chaos_settings import read_own_settings
from pipeline.cli.chaos_settling import Settling
from pipeline.cli.chaos_strikes import Striker
from pipeline.cli.chaos_words import print_proof
from pipeline.cli.demo import add_companies, make_up, register_webhooks
from pipeline.cli.output import ExitStatus, JsonOption, err, friendly_errors, print_error, print_json
from pipeline.cli.stack import Stack
from pipeline.settings import settings_from
from pipeline.storage.database import Database

INTERRUPTED = 130
PRODUCERS = 4
LEAST_MINUTES = 10.0
INVOICES_A_MINUTE = 1000
"""What two cores send at the least while everything falls: the deadline grows with the number of invoices."""
PLAN_HELP = f"{', '.join(SHIPPED)}, or a file (docs/chaos.md says what stands in one)."
SETTINGS_HELP = (
    "Your own settings: a file of POSTILJON_ lines. Waits, limits, sizes and the routing file count; "
    "addresses and keys in it are not used."
)
MINUTES_HELP = "Everything must have come to rest within so long; by itself 10, and one more for each 1,000 invoices."


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What was asked for."""

    plan: Plan
    invoices: int
    companies: int
    seed: int
    minutes: float
    quiet: bool


def chaos(
    invoices: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many invoices to make up and send.")] = 300,
    companies: Annotated[int, typer.Option(min=1, max=1000, help="For how many companies.")] = 3,
    seed: Annotated[int, typer.Option(help="Same seed, same invoices, faults and strikes.")] = 1,
    plan: Annotated[str, typer.Option(help=PLAN_HELP)] = "everyday",
    settings: Annotated[Path | None, typer.Option(help=SETTINGS_HELP)] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help=MINUTES_HELP)] = None,
    logs: Annotated[Path | None, typer.Option(help="Copy what every process logged to this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove it: kill, stop and starve everything on this machine while invoices are sent, then count at the operator.

    Nothing outside is touched: servers, workers and an operator are started here and ended. Exit status 0 only when
    nothing was lost, doubled or altered and everything came to rest.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    folder = Path(tempfile.mkdtemp(prefix="postiljon-chaos-"))
    try:
        with friendly_errors():
            order = _Order(
                plan=_with_own(load_plan(plan), settings),
                invoices=invoices,
                companies=companies,
                seed=seed,
                minutes=minutes or LEAST_MINUTES + invoices / INVOICES_A_MINUTE,
                quiet=as_json,
            )
            proof = _play(folder, order)
    except KeyboardInterrupt:
        print_error("interrupted: everything was stopped")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if logs is not None and (folder / "state" / "logs").is_dir():
            shutil.copytree(folder / "state" / "logs", logs, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json({"plan": order.plan.name, "seed": seed, **proof.as_json()})
    else:
        print_proof(proof, plan=order.plan.name, seed=seed)
    if not proof.is_well:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _with_own(plan: Plan, path: Path | None) -> Plan:
    if path is None:
        return plan
    own = read_own_settings(path)
    if own.ignored:
        print_error(f"not used of {path}, a run has its own or there is no such setting: {', '.join(own.ignored)}")
    return replace(plan, settings={**plan.settings, **own.values})


def _play(folder: Path, order: _Order) -> Proof:
    say = (lambda _: None) if order.quiet else _say
    stack_of = stack_plan(order.plan, folder=folder, companies=order.companies, seed=order.seed)
    say("Starting PostgreSQL, Valkey, the simulator, workers and two beats on this machine ...")
    offers = _offers(folder, order.invoices, order.companies, order.seed)
    with Stack(stack_of) as stack:
        settings = settings_from(stack.environment)
        database = build_database(settings)
        try:
            add_companies(database, settings, companies_of(order.companies))
            limit(database, order.plan)
            with fair_weather(stack.urls["simulator"]):
                register_webhooks(stack)
            make_disturbable(database)
            say(f"Playing {order.plan.name} with seed {order.seed}: {order.plan.about or 'strikes fall'} ...")
            return _disturb(stack, order, offers, database, folder=folder)
        finally:
            database.close()


def _say(words: str) -> None:
    err().print(words, soft_wrap=True)


def _offers(folder: Path, invoices: int, companies: int, seed: int) -> list[Offer]:
    made = make_up(folder, invoices, seed, companies_of(companies))
    paths = {
        company: sorted(Path(place) for each in those for place in Path(each).iterdir())
        for company, those in made.items()
    }
    return offers_of(paths, seed=seed)


def _disturb(stack: Stack, order: _Order, offers: list[Offer], database: Database, *, folder: Path) -> Proof:
    began, plan, seed = time.monotonic(), order.plan, order.seed
    with (
        Producers(database, offers, seed=seed, producers=PRODUCERS, over_seconds=plan.submit_seconds) as producers,
        Striker(
            stack,
            plan,
            seed=seed,
            database=database,
            folder=folder,
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
        unsettled = Settling(scene).settle(deadline=began + order.minutes * 60)
    return prove(scene, unsettled=unsettled)


def _leave(_number: int, _frame: object) -> None:
    # Once: a second signal must not break off the ending of what was started. After a kill -9 a guardian ends it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt

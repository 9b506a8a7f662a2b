"""A run of chaos: the stack it needs, and the reckoning at the end."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from pipeline.cli.chaos_means import POINTS_DIR, STATE_DIR
from pipeline.cli.chaos_plan import Plan
from pipeline.cli.chaos_producers import Producers
from pipeline.cli.chaos_report import Entries, Proof, find
from pipeline.cli.chaos_strikes import Striker
from pipeline.cli.chaos_words import stories_of
from pipeline.cli.demo_scenario import SETTINGS
from pipeline.cli.stack import StackPlan, fault_script
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.embedded.liveness import wait_until
from pipeline.settings import settings_from
from pipeline.storage import disturbing
from pipeline.storage.companies import set_limits
from pipeline.storage.database import Database
from pipeline.storage.reading import read_progress
from pipeline.storage.settling import is_balanced, read_p95_seconds, read_standings

QUICK = {
    **SETTINGS,
    # A fleet that is struck down comes back to a queue of chunks: they must not be over before it has read them.
    "POSTILJON_DISPATCH_LEASE_SECONDS": "8",
    # As in production: the demo's small chunks would make the fleet slow, not the proof harder.
    "POSTILJON_CHUNK_INVOICES": "100",
    "POSTILJON_CIRCUIT_WAIT_SECONDS": "1",
    "POSTILJON_CIRCUIT_LONGEST_WAIT_SECONDS": "8",
}
"""What a plan and a user do not set: seconds where production waits minutes."""
SEND_PROCESSES = 3
BEATS = 2
PREPARING_TRIES = 5
POLL_SECONDS = 0.5
LEDGER_SECONDS = 120.0
BACK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a run consists of while it goes on."""

    database: Database
    simulator: str
    producers: Producers
    striker: Striker
    offered: int
    began: float


def companies_of(number: int) -> dict[UUID, str]:
    """Return the simulator's ready companies with names of ours."""
    return {company_of(place): f"Yritys {place} Oy" for place in range(1, number + 1)}


def company_of(place: int) -> UUID:
    """Return the simulator's ready company of a number from 1."""
    return UUID(f"00000000-0000-4000-8000-{place:012d}")


def stack_plan(plan: Plan, *, folder: Path, companies: int, seed: int) -> StackPlan:
    """Return the stack a plan is played against, all of it in a folder. Raises: ConfigurationError."""
    knobs = [part for name, value in plan.knobs.items() for part in ("--knob", f"{name}={value}")]
    options = ("--faults", fault_script(plan.faults), "--seed", str(seed), "--companies", str(companies))
    temporary, points = folder / "tmp", folder / POINTS_DIR
    for each in (temporary, points):
        each.mkdir(exist_ok=True)
    # What is killed cannot remove its temporary files: they go with the folder of the run.
    own = {"TMPDIR": str(temporary), "POSTILJON_POINTS_FOLDER": str(points)}
    settings = {**QUICK, **plan.settings}
    settings_from(settings)
    return StackPlan(
        state_dir=folder / STATE_DIR,
        send_processes=SEND_PROCESSES,
        beats=BEATS,
        simulator_arguments=(*options, *knobs),
        settings={**settings, **own},
    )


def limit(database: Database, plan: Plan) -> None:
    """Give companies the limits of a plan. Raises: InvalidInputError for one out of range or of no company."""
    for number, limits in plan.limits.items():
        with database.transaction() as session:
            set_limits(session, company_of(number), limits)


def make_disturbable(database: Database) -> None:
    """Prepare the database of the run for what will happen to it; everybody connects anew and notices.

    Raises: ServiceUnavailableError.
    """
    for left in reversed(range(PREPARING_TRIES)):
        try:
            with database.transaction() as session:
                disturbing.prepare(session)
            break
        except ServiceUnavailableError:  # it wants every table, and met a worker that had one
            if not left:
                raise
    with database.transaction() as session:
        disturbing.drop_connections(session)


@contextlib.contextmanager
def fair_weather(simulator: str) -> Iterator[None]:
    """Keep the operator from failing while things are set up. Raises: ServiceUnavailableError."""
    script = ask_simulator(f"{simulator}/_simulator/faults")
    httpx.put(f"{simulator}/_simulator/faults", json="calm").raise_for_status()
    yield
    httpx.put(f"{simulator}/_simulator/faults", json=script).raise_for_status()


def read_ledger(simulator: str, *, uuids: Iterable[UUID] = ()) -> Entries:
    """Return the operator's ledger by UUID, all of it or that of some. Raises: ServiceUnavailableError."""
    query = "&".join(f"uuid={uuid}" for uuid in uuids)
    entries: Entries = ask_simulator(f"{simulator}/_simulator/ledger?{query}")["invoices"]
    return entries


def read_faults(simulator: str) -> Mapping[str, int]:
    """Return what the simulator injected, by name. Raises: ServiceUnavailableError."""
    faults: Mapping[str, int] = ask_simulator(f"{simulator}/_simulator/ledger/totals")["faults"]
    return faults


def ask_simulator(url: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = httpx.get(url, timeout=LEDGER_SECONDS).raise_for_status().json()
    except httpx.HTTPError as exc:
        raise ServiceUnavailableError(f"the simulator's ledger cannot be read: {exc}") from exc
    return answer


def _is_reachable(database: Database) -> bool:
    try:
        with database.transaction() as session:
            read_progress(session)
    except ServiceUnavailableError:
        return False
    return True


def prove(scene: Scene, *, unsettled: str | None) -> Proof:
    """Compare the three sides when everything has ended that changes them. Raises: ServiceUnavailableError."""
    # The last strike may have taken the database down: the supervisor brings it back.
    wait_until(lambda: _is_reachable(scene.database), seconds=BACK_SECONDS, poll_seconds=POLL_SECONDS)
    ledger = read_ledger(scene.simulator)
    with scene.database.transaction() as session:
        standings = read_standings(session)
        accepted = read_progress(session).accepted
        balanced, p95_seconds = is_balanced(session, standings), read_p95_seconds(session)
    findings = find(scene.producers.told, standings, ledger)
    return Proof(
        offered=scene.offered,
        submitted=sum(each.answered_sha256 is not None for each in scene.producers.told.values()),
        accepted=accepted,
        states=Counter(kept.state for kept in standings.invoices.values()),
        findings=findings,
        balanced=balanced,
        unsettled=unsettled,
        p95_seconds=p95_seconds,
        seconds=time.monotonic() - scene.began,
        struck=scene.striker.struck,
        faults=read_faults(scene.simulator),
        tried_again=scene.producers.tried_again,
        stories=stories_of(scene.database, findings.uuids, ledger),
    )

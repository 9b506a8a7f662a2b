"""A run of chaos: the stack it needs, waiting until everything has come to rest, and the reckoning at the end."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from pipeline.cli.chaos_plan import Plan
from pipeline.cli.chaos_producers import Producers
from pipeline.cli.chaos_report import Entries, Proof, find
from pipeline.cli.chaos_strikes import Striker
from pipeline.cli.chaos_words import stories_of
from pipeline.cli.demo_report import STATUSES_OF
from pipeline.cli.demo_scenario import SETTINGS
from pipeline.cli.stack import StackPlan, fault_script
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.domain.state import State
from pipeline.embedded.liveness import wait_until
from pipeline.storage.database import Database
from pipeline.storage.reading import read_progress, read_states
from pipeline.storage.settling import (
    count_held_for_company,
    count_unsettled,
    is_balanced,
    read_p95_seconds,
    read_standings,
)

SEND_PROCESSES = 3
BEATS = 2
QUIET_SECONDS = 4.0
"""Everything must have been settled for so long: a delivery may still turn into a failure."""
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
    return {UUID(f"00000000-0000-4000-8000-{place:012d}"): f"Yritys {place} Oy" for place in range(1, number + 1)}


def stack_plan(plan: Plan, *, state_dir: Path, companies: int, seed: int) -> StackPlan:
    """Return the stack a plan is played against. Raises: ConfigurationError for an unknown fault script."""
    knobs = [part for name, value in plan.knobs.items() for part in ("--knob", f"{name}={value}")]
    options = ("--faults", fault_script(plan.faults), "--seed", str(seed), "--companies", str(companies))
    temporary = state_dir.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    return StackPlan(
        state_dir=state_dir,
        send_processes=SEND_PROCESSES,
        beats=BEATS,
        simulator_arguments=(*options, *knobs),
        # What is killed cannot remove its temporary files: they go with the folder of the run.
        settings={**SETTINGS, **plan.settings, "TMPDIR": str(temporary)},
    )


@contextlib.contextmanager
def fair_weather(simulator: str) -> Iterator[None]:
    """Keep the operator from failing while things are set up. Raises: ServiceUnavailableError."""
    script = _ask(f"{simulator}/_simulator/faults")
    httpx.put(f"{simulator}/_simulator/faults", json="calm").raise_for_status()
    yield
    httpx.put(f"{simulator}/_simulator/faults", json=script).raise_for_status()


def settle(scene: Scene, *, deadline: float) -> str | None:
    """Wait until all is submitted, struck and at rest; return why it is not, where the deadline passes first."""
    quiet_since: float | None = None
    while True:
        broken = scene.producers.broken or scene.striker.struck.broken
        if broken:
            return f"a part of chaos itself ended: {broken}"
        why, now = _why_not_yet(scene), time.monotonic()
        quiet_since = None if why else quiet_since or now
        if quiet_since is not None and now - quiet_since >= QUIET_SECONDS:
            return None
        if now > deadline:
            return f"when the time was over, {why or 'it had just come to rest'}"
        time.sleep(POLL_SECONDS)


def _why_not_yet(scene: Scene) -> str | None:
    if not scene.producers.are_done:
        return "the producers were still submitting"
    if not scene.striker.is_over:
        return "strikes were still falling"
    try:
        with scene.database.transaction() as session:
            unsettled, held = count_unsettled(session), count_held_for_company(session)
    except ServiceUnavailableError as exc:
        return str(exc)
    if unsettled:
        return f"{unsettled:,} invoices were still open"
    if held:
        return f"{held:,} invoices still waited for their company"
    apart = _apart(scene)
    return f"we had not yet learned what became of {apart:,} invoices" if apart else None


def _apart(scene: Scene) -> int:
    ledger = read_ledger(scene.simulator)
    with scene.database.transaction() as session:
        states = read_states(session)
    return sum(
        (ledger.get(str(uuid)) or {}).get("status") not in STATUSES_OF.get(state, frozenset({None}))
        for uuid, state in states.items()
        if state is not State.HELD
    )


def read_ledger(simulator: str) -> Entries:
    """Return the operator's ledger by UUID. Raises: ServiceUnavailableError."""
    entries: Entries = _ask(f"{simulator}/_simulator/ledger")["invoices"]
    return entries


def read_faults(simulator: str) -> Mapping[str, int]:
    """Return what the simulator injected, by name. Raises: ServiceUnavailableError."""
    faults: Mapping[str, int] = _ask(f"{simulator}/_simulator/ledger/totals")["faults"]
    return faults


def _ask(url: str) -> dict[str, Any]:
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

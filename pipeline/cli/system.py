"""`postiljon up|down|simulator|db|key`: the product on one machine, and its parts."""

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from pipeline.bootstrap import open_database
from pipeline.cli.arm import who
from pipeline.cli.output import JsonOption, friendly_errors, out, print_error, print_json
from pipeline.cli.stack import Stack, StackPlan, fault_script, require_free
from pipeline.embedded.detached import spawn_detached
from pipeline.embedded.state import running, stop
from pipeline.services.arming import arm_itself, why_disarmed
from pipeline.settings import load_settings, state_directory
from pipeline.storage.schema import current_revision, newest_revision, upgrade
from pipeline.storage.vault import new_key

START_SECONDS = 120.0
STOP_SECONDS = 90.0
INTERRUPTED = 130
"""What shells say of a command ended by Ctrl-C."""

db_app = typer.Typer(no_args_is_help=True, help="The database's tables.")
key_app = typer.Typer(no_args_is_help=True, help="Keys that encrypt what is stored, or tell installations apart.")


def up(
    with_simulator: Annotated[bool, typer.Option("--simulator", help="Run the simulator as the operator.")] = False,
    faults: Annotated[str, typer.Option(help="The simulator's fault script.")] = "calm",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Sending processes.")] = 2,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until SIGTERM or Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start everything on this machine: database, broker, workers, beat, Flower."""
    with friendly_errors():
        state_dir = state_directory()
        state = running(state_dir)
        require_free(state_dir, pid=state.pid if state else None)
        script = fault_script(faults)
        if foreground:
            simulator = ("--faults", script) if with_simulator else None
            stack = Stack(StackPlan(state_dir=state_dir, send_processes=processes, simulator_arguments=simulator))
            try:
                supervisor = stack.prepare()
                _print_urls(stack.shown_urls)
                supervisor.run_until_signal()
            finally:
                stack.stop()
            return
        options = ("--processes", str(processes), *(("--simulator", "--faults", script) if with_simulator else ()))
        command = (sys.executable, "-m", "workers.console", "up", "--foreground", *options)
        try:
            started = spawn_detached(command, state_dir, deadline_seconds=START_SECONDS)
        except KeyboardInterrupt:
            stop(state_dir, deadline_seconds=STOP_SECONDS)
            print_error("interrupted: everything was stopped")
            raise typer.Exit(INTERRUPTED) from None
        settings = load_settings()
        with open_database(settings) as database, database.transaction() as session:
            why = why_disarmed(session, settings)
    if why is not None:
        print_error(why)
    if as_json:
        print_json({"state_dir": str(state_dir), "pid": started.pid, "urls": dict(started.urls)})
        return
    out().print(f"up in {state_dir} (process {started.pid})")
    _print_urls(started.urls)
    out().print(
        "next: postiljon company add, postiljon send FILE --company NAME, postiljon doctor; postiljon down ends it"
    )


def _print_urls(urls: Mapping[str, str]) -> None:
    for name, url in urls.items():
        out().print(f"  {name:10} {url}", soft_wrap=True)


def down(as_json: JsonOption = False) -> None:
    """Stop what `postiljon up` started; what is in the air is finished first."""
    with friendly_errors():
        stopped = stop(state_directory(), deadline_seconds=STOP_SECONDS)
    if as_json:
        print_json({"stopped": stopped})
    else:
        out().print("stopped" if stopped else "nothing was running")


def simulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8099,
    faults: Annotated[str, typer.Option(help="A fault script: its name, or a file.")] = "calm",
    seed: Annotated[int, typer.Option(help="Same seed, same faults.")] = 1,
    knob: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, for what the contract leaves open; repeatable.")
    ] = None,
    latency_ms: Annotated[int, typer.Option(min=0, help="Delay before each answer.")] = 0,
    companies: Annotated[int, typer.Option(min=1, help="How many ready companies.")] = 2,
    as_json: JsonOption = True,
) -> None:
    """Run the operator's simulator until it is stopped; its first line on stdout is JSON with its URL."""
    del as_json  # taken like everywhere else; the simulator speaks nothing but JSON
    # Replaces this process: nothing of the product imports the simulator, they share no line.
    command = [sys.executable, "-m", "simulator", "--port", str(port), "--faults", faults, "--seed", str(seed)]
    command += ["--latency-ms", str(latency_ms), "--companies", str(companies)]
    command += [word for each in knob or [] for word in ("--knob", each)]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter and module


@db_app.command("upgrade", epilog="Example: postiljon db upgrade")
def db_upgrade(as_json: JsonOption = False) -> None:
    """Bring the tables to this version, and arm an installation that never was; safe to run twice."""
    with friendly_errors():
        settings = load_settings()
        with open_database(settings) as database:
            before = current_revision(database.engine)
            after = upgrade(database.engine)
            with database.transaction() as session:
                arm_itself(session, settings, by=who())
                why = why_disarmed(session, settings)
    if as_json:
        print_json({"before": before, "after": after, "armed": why is None})
    else:
        out().print(f"the database is at {after}" + ("" if before == after else f" (was {before or 'empty'})"))
    if why is not None:
        print_error(why)


@db_app.command("status", epilog="Example: postiljon db status --json")
def db_status(as_json: JsonOption = False) -> None:
    """Tell which version the tables have, and which this program needs."""
    with friendly_errors(), open_database(load_settings()) as database:
        current = current_revision(database.engine)
    needed = newest_revision()
    if as_json:
        print_json({"current": current, "needed": needed})
    else:
        out().print(f"the database is at {current or 'nothing'}, this version needs {needed}")


@key_app.command("new", epilog="Example: postiljon key new > encryption.key")
def key_new(as_json: JsonOption = False) -> None:
    """Print a new key, for the file named by POSTILJON_ENCRYPTION_KEY_FILE or POSTILJON_INSTANCE_KEY_FILE."""
    key = new_key()
    if as_json:
        print_json({"key": key})
    else:
        sys.stdout.write(key + "\n")

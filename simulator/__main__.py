"""The command: `python -m simulator --port P …`. Reads options, listens, says where, and ends on SIGTERM."""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

from simulator import scripts, webhooks
from simulator.companies import READY_COMPANIES
from simulator.endpoints import control
from simulator.errors import SettingError
from simulator.knobs import Knobs, as_table, parse_assignment, turned
from simulator.server import Server, listen
from simulator.simulation import Simulation
from simulator.validation import Validator

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator until it is told to stop; gives the exit status."""
    options = _parser().parse_args(arguments)
    try:
        simulation = _simulation(options)
        validator = Validator(Path(options.validate)) if options.validate else None
    except SettingError as exc:
        sys.stderr.write(f"simulator: {exc}\n")
        return USAGE_ERROR
    try:
        _run(_serve(simulation, validator, host=options.host, port=options.port))
    except OSError as exc:
        sys.stderr.write(f"simulator: cannot listen on {options.host} port {options.port}: {exc.strerror or exc}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulator",
        description="A Maventa of our own for tests and demos.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen on, 0 for a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--faults", default="calm", metavar="NAME|FILE", help=f"one of {', '.join(scripts.NAMED)}, or a file"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--companies", type=int, default=READY_COMPANIES, metavar="N", help="ready companies")
    parser.add_argument("--validate", metavar="SWAGGER_JSON", help="check requests and answers against this")
    parser.add_argument("--latency-ms", type=float, default=0.0, metavar="N", help="delay before each answer")
    parser.add_argument("--knob", action="append", default=[], metavar="NAME=VALUE", help="turn a knob, repeatable")
    return parser


def _epilog() -> str:
    """List the knobs with their defaults and what can be controlled while it runs."""
    knobs = [f"  {name}={value}" for name, value in as_table(Knobs()).items()]
    told = [f"  {(one.handle.__doc__ or '').partition(chr(10))[0]}" for one in control.ENDPOINTS]
    control_endpoints = list(dict.fromkeys(told))  # one that answers to two methods says so itself
    return "\n".join(["knobs:", *knobs, "", "while it runs:", *control_endpoints])


def _simulation(options: argparse.Namespace) -> Simulation:
    if options.companies < 0:
        raise SettingError("--companies cannot be negative")
    changes: dict[str, object] = {"latency_ms": options.latency_ms}
    changes.update(parse_assignment(text) for text in options.knob)
    return Simulation(
        knobs=turned(Knobs(), changes),
        script=scripts.load(options.faults, options.seed),
        ready_companies=options.companies,
    )


async def _serve(simulation: Simulation, validator: Validator | None, *, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner, taken = await listen(Server(simulation, validator).application(), host=host, port=port)
    poster = asyncio.create_task(webhooks.post_forever(simulation))
    shown_host = f"[{host}]" if ":" in host else host
    line = json.dumps({"event": "simulator_listening", "url": f"http://{shown_host}:{taken}"})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    await stop.wait()
    poster.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await poster
    await runner.cleanup()


def _run(main_task: Coroutine[object, object, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - faster where it is installed, not needed
    except ImportError:
        asyncio.run(main_task)
    else:
        uvloop.run(main_task)


if __name__ == "__main__":
    sys.exit(main())

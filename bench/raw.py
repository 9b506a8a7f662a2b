"""The ceiling: our own upload client and nothing else. No queue, no database, documents in memory.

One process of it: python -m bench.raw --url URL --at-once 200 < paths; starts when a line `go` follows the paths.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import httpx
import uvloop
from pyreqwest.compatibility.httpx import HttpxTransport

from bench.accounting import Cost
from bench.end_to_end import Measured, check_operator
from bench.lean import end, lean_operator
from pipeline.bootstrap import utc_now
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import OutcomeKind
from pipeline.embedded.spawning import tethered_command
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.schemas import UploadOptions
from pipeline.settings import Installation

GO = "go"
AT_ONCE = 200
NATIVE = "pyreqwest"
KEYS = CompanyCredentials(
    company_id=UUID("00000000-0000-4000-8000-000000000001"),
    user_api_key="demo-user-key",
    vendor_api_key="demo-vendor-key",
)
WAIT_SECONDS = 600.0


def measure_raw(
    paths: Sequence[Path],
    *,
    warm: int,
    processes: int,
    latency_ms: float,
    name: str,
    at_once: int = AT_ONCE,
    transport: str = NATIVE,
) -> Measured:
    """Upload files from so many processes, the first few of each to warm up; check the operator's books."""
    with lean_operator(latency_ms=latency_ms) as operator, ExitStack() as stack:
        shares = [paths[start::processes] for start in range(processes)]
        options = {"url": operator.url, "warm": warm // processes, "at-once": at_once, "transport": transport}
        command = [sys.executable, "-m", "bench.raw", *(f"--{option}={value}" for option, value in options.items())]
        runners = [
            stack.enter_context(
                subprocess.Popen(tethered_command(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in shares
        ]
        for runner in runners:
            stack.callback(end, runner)
        for runner, share in zip(runners, shares, strict=True):
            _write(runner, "".join(f"{path}\n" for path in share))
        for runner in runners:
            _line(runner)
        for runner in runners:
            _write(runner, f"{GO}\n")
        told = [_line(runner) for runner in runners]
        check_operator(operator, paths)
    count = sum(each["sent"] for each in told)
    cost = Cost(
        cpu_seconds=sum(each["cpu_seconds"] for each in told),
        peak_mib=max(each["peak_mib"] for each in told),
        processes=processes,
    )
    return Measured(
        name=name,
        invoices=int(count),
        seconds=max(each["ended"] for each in told) - min(each["began"] for each in told),
        submit_seconds=None,
        drain_seconds=None,
        air_seconds=None,
        costs={"client": cost},
    )


def _write(runner: subprocess.Popen[str], text: str) -> None:
    assert runner.stdin is not None  # noqa: S101 - we asked for the pipe
    runner.stdin.write(text)
    runner.stdin.write("\n" if not text.startswith(GO) else "")
    runner.stdin.flush()


def _line(runner: subprocess.Popen[str]) -> dict[str, float]:
    assert runner.stdout is not None  # noqa: S101 - we asked for the pipe
    told: dict[str, float] = json.loads(runner.stdout.readline())
    return told


def main() -> None:
    """Upload what standard input names, up to an empty line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--transport", choices=(NATIVE, *TRANSPORTS), default=NATIVE)
    parser.add_argument("--warm", type=int, default=0)
    chosen = parser.parse_args()
    documents = [(UUID(Path(line).stem), Path(line).read_bytes()) for line in iter(_read_line, "")]
    client = _client(chosen.url, at_once=chosen.at_once, transport=chosen.transport)
    uvloop.run(_run(client, documents, at_once=chosen.at_once, warm=chosen.warm))


def _read_line() -> str:
    return sys.stdin.readline().rstrip("\n")


def _httpx(at_once: int) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once))


def _pyreqwest_behind_httpx(_at_once: int) -> httpx.AsyncBaseTransport:
    return HttpxTransport()


TRANSPORTS = {"httpx": _httpx, "pyreqwest-behind-httpx": _pyreqwest_behind_httpx}
"""What the client can ask through instead of its own fast way."""


def _client(url: str, *, at_once: int, transport: str) -> MaventaClient:
    return MaventaClient(
        hosts=OperatorHosts.of(Installation.TEST, override_url=url),
        token_store=InMemoryTokenStore(clock=utc_now),
        max_connections=at_once,
        transport=TRANSPORTS[transport](at_once) if transport in TRANSPORTS else None,
    )


async def _run(client: MaventaClient, documents: list[tuple[UUID, bytes]], *, at_once: int, warm: int) -> None:
    async with client:
        await upload_all(client, documents[:warm], at_once=at_once)
        print(json.dumps({"ready": 1}), flush=True)
        if _read_line() != GO:
            return
        began, before = time.monotonic(), cpu_seconds()
        await upload_all(client, documents[warm:], at_once=at_once)
        told = {"sent": len(documents) - warm, "began": began, "ended": time.monotonic()}
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**told, "cpu_seconds": cpu_seconds() - before, "peak_mib": peak_mib}), flush=True)


async def upload_all(client: MaventaClient, documents: Sequence[tuple[UUID, bytes]], *, at_once: int) -> None:
    """Upload documents, so many at once. Raises: RuntimeError for one that is not accepted."""
    left = iter(documents)

    async def go_on() -> None:
        for uuid, content in left:
            outcome = await client.upload(
                KEYS,
                uuid=uuid,
                content=content,
                filename=f"{uuid}.xml",
                content_type="application/xml",
                options=UploadOptions(),
            )
            if outcome.kind is not OutcomeKind.ACCEPTED:
                raise RuntimeError(f"{uuid} ended as {outcome}")

    await asyncio.gather(*(go_on() for _ in range(at_once)))


def cpu_seconds() -> float:
    """Return the CPU this process used so far, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

"""The lean operator as a process of its own: started, asked for its books, ended."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.embedded.spawning import tethered_command

START_SECONDS = 30.0
STOP_SECONDS = 10.0
LEDGER_SECONDS = 120.0
COMMAND = (sys.executable, "-m", "bench.operator", "--port", "0")


@dataclass(frozen=True, kw_only=True)
class LeanOperator:
    """A running lean operator."""

    url: str
    pid: int

    def totals(self) -> dict[str, Any]:
        """Return the running totals. Raises: ServiceUnavailableError."""
        return self._ask("ledger/totals")

    def invoices(self) -> dict[str, dict[str, Any]]:
        """Return the books by UUID. Raises: ServiceUnavailableError."""
        found: dict[str, dict[str, Any]] = self._ask("ledger")["invoices"]
        return found

    def mark(self) -> None:
        """Have the next upload count as the first one, in time only."""
        self._tell("mark")

    def reset(self) -> None:
        """Empty the books."""
        self._tell("reset")

    def _tell(self, what: str) -> None:
        httpx.post(f"{self.url}/_simulator/{what}", timeout=LEDGER_SECONDS, trust_env=False).raise_for_status()

    def _ask(self, what: str) -> dict[str, Any]:
        try:
            answer = httpx.get(f"{self.url}/_simulator/{what}", timeout=LEDGER_SECONDS, trust_env=False)
            told: dict[str, Any] = answer.raise_for_status().json()
        except httpx.HTTPError as exc:
            raise ServiceUnavailableError(f"the operator's books cannot be read: {exc}") from exc
        return told


@contextmanager
def lean_operator(*, latency_ms: float, settle_seconds: float = 1.0, companies: int = 2) -> Iterator[LeanOperator]:
    """Run a lean operator. Raises: ServiceUnavailableError when it does not come up."""
    options = ("--latency-ms", latency_ms, "--settle-seconds", settle_seconds, "--companies", companies)
    with subprocess.Popen(tethered_command([*COMMAND, *map(str, options)]), stdout=subprocess.PIPE) as process:
        try:
            yield LeanOperator(url=_url(process), pid=process.pid)
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process of ours, by force when it does not listen."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _url(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None  # noqa: S101 - we asked for the pipe
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else b""
    if not line:
        raise ServiceUnavailableError("the lean operator did not come up")
    return str(json.loads(line)["url"])

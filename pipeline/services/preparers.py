"""Groups of lines prepared in processes beside this one, in order. Small submits stay in this process.

Inspecting costs more CPU than storing and holds the interpreter's lock: threads would not help. Each process
reads, hashes and inspects a group while this one stores another; it asks the database what is known, writes nothing.
"""

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self
from uuid import UUID

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.lines import AnyLine, Line
from pipeline.services.prepare import Prepared, prepare
from pipeline.storage.database import Database
from pipeline.storage.submissions import NewInvoice

INSPECTED_ALONE = 1000
"""So many new documents are inspected here before processes are started, which costs half a second of CPU each. What is
known already is never worth it."""
MOST_PROCESSES = 4
TAKEN_CORES = 2
END_SECONDS = 5.0

Group = Sequence[AnyLine]
PreparedGroup = tuple[Group, list[Prepared]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a preparing process is told once, at its start."""

    database_url: str
    company_id: UUID
    limits: DocumentLimits


def usual_processes() -> int:
    """Return how many processes pay on this machine: one for each core that PostgreSQL and this process leave.

    Handing a document over to another process and back costs about what inspecting it does, so that on two cores, which
    this process and PostgreSQL fill, they would only take what those have.
    """
    return max(0, min(MOST_PROCESSES, len(os.sched_getaffinity(0)) - TAKEN_CORES))


class Preparers:
    """Prepares groups in their order; a context manager that ends its processes."""

    def __init__(
        self, database: Database, *, company_id: UUID, limits: DocumentLimits, processes: int, inspected_alone: int
    ) -> None:
        self._database, self._company_id, self._limits = database, company_id, limits
        self._wanted, self._alone = processes, inspected_alone
        self._processes: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.end()

    @property
    def is_long(self) -> bool:
        """Tell whether so many were new already that it pays to do several things at once."""
        return self._alone <= 0

    def prepare_all(self, groups: Iterable[Group]) -> Iterator[PreparedGroup]:
        """Yield each group with what its lines come to. Raises: ServiceUnavailableError."""
        waiting: deque[tuple[Group, _Process]] = deque()
        for group in groups:
            process, done = self._idle(), None
            if process is None and waiting:
                before, process = waiting.popleft()
                done = before, process.collect()
            if process is None:
                yield group, self._prepare_here(group)
                continue
            # Handed out before the last one is yielded, so that the process works while that is stored.
            process.take(_real(group))
            waiting.append((group, process))
            if done is not None:
                yield done
        for group, process in waiting:
            yield group, process.collect()

    def _start(self) -> None:
        url = self._database.engine.url.render_as_string(hide_password=False)
        told = Bench(database_url=url, company_id=self._company_id, limits=self._limits)
        self._processes = [_Process(told) for _ in range(self._wanted)]

    def _idle(self) -> "_Process | None":
        return next((process for process in self._processes if process.is_idle()), None)

    def _prepare_here(self, group: Group) -> list[Prepared]:
        if self._alone <= 0 and not self._processes:
            self._start()
        prepared = prepare(self._database, _real(group), company_id=self._company_id, limits=self._limits)
        self._alone -= sum(isinstance(each, NewInvoice) for each in prepared)
        return prepared


class _Process:
    """One process at the other end of a socket. It ends when the socket does, so a killed parent leaves none behind."""

    def __init__(self, told: Bench) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.services.preparing", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for the one who hands out the groups; these end with him.
                start_new_session=True,
            )
        self._connection: Connection = Connection(ours.detach())
        self._connection.send(told)
        self._ready = self._busy = False

    def is_idle(self) -> bool:
        """Tell whether it could take a group now; False while it starts."""
        if not self._ready and self._connection.poll():
            self._receive()
            self._ready = True
        return self._ready and not self._busy

    def take(self, lines: list[Line]) -> None:
        """Give it a group."""
        self._busy = True
        try:
            self._connection.send(lines)
        except OSError as exc:
            raise self._gone() from exc

    def collect(self) -> list[Prepared]:
        """Wait for the group it was given. Raises: what it raised; ServiceUnavailableError when it is gone."""
        prepared: list[Prepared] = self._receive()
        self._busy = False
        return prepared

    def _receive(self) -> list[Prepared]:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as exc:
            raise self._gone() from exc
        if isinstance(answer, Exception):
            raise answer
        found: list[Prepared] = answer
        return found

    def _gone(self) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            "a process that inspects documents was ended from outside (out of memory?); the same command goes on"
        )

    def end(self) -> None:
        """Let it end, whatever it is doing."""
        self._connection.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _real(group: Group) -> list[Line]:
    return [line for line in group if isinstance(line, Line)]

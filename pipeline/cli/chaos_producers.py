"""Several producers at once, each noting what it was told: some invoices submitted one by one, most of them in bulk.

Both ways that users have: `submit` in a transaction of the caller's, and groups as `postiljon send` makes them.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self
from uuid import UUID

from pipeline.domain.document import DEFAULT_LIMITS
from pipeline.domain.errors import InvalidInputError, ServiceUnavailableError
from pipeline.services.lines import Line
from pipeline.services.submit import submit
from pipeline.services.submit_lines import Bulk, FileVerdict, submit_lines
from pipeline.services.wanted import Terms
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database

LARGEST_PIECE = 20
"""Invoices a producer submits one by one in one transaction: from one to so many."""
LARGEST_BULK = 1000
"""Invoices it submits in bulk, a transaction for each company: from one to so many ..."""
LEAST_PIECES = 10
"""... and never more than leaves a producer so many pieces: what is all submitted at once meets no strike."""
AGAIN_SECONDS = 0.3
BATCH = "chaos"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One document a producer is to submit, under a UUID it chose."""

    uuid: UUID
    company: UUID
    path: Path


@dataclass(frozen=True, kw_only=True)
class Paper:
    """An offer with its bytes."""

    offer: Offer
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a producer knows of an invoice: the bytes it gave, and what it was told after the commit."""

    company: UUID
    sha256: str
    """Of the bytes as the producer read them."""
    answered_sha256: str | None = None
    """What the answer said; None when there was no answer yet."""


Answer = tuple[UUID, str]
"""An invoice's UUID and the SHA-256 the answer told."""
Way = Callable[[Sequence[Paper]], Iterable[Answer]]
"""A way to submit. Raises: ServiceUnavailableError: what was answered is stored, of the rest nothing is known."""


def offers_of(paths: dict[UUID, list[Path]], *, seed: int) -> list[Offer]:
    """Return everything to be submitted in an order in which companies mix: the same for a seed."""
    random = Random(f"offers/{seed}")  # noqa: S311 - repeatable on purpose
    every = [(company, path) for company, those in paths.items() for path in those]
    offers = [Offer(uuid=_uuid(random), company=company, path=path) for company, path in every]
    random.shuffle(offers)
    return offers


def _uuid(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128), version=4)


class Producers:
    """So many threads that share the offers. A context manager that ends them."""

    def __init__(
        self, database: Database, offers: Sequence[Offer], *, seed: int, producers: int, over_seconds: float
    ) -> None:
        self.told: dict[UUID, Told] = {}
        """Every invoice that was ever offered to the database; one entry is written by one thread."""
        self.tried_again = 0
        """How often a producer got no answer and submitted the same again."""
        self.broken: str | None = None
        """Why a producer ended early, if one did."""
        self._database, self._over_seconds = database, over_seconds
        self._stop = threading.Event()
        self._began = 0.0
        shares = [offers[number::producers] for number in range(producers)]
        self._threads = [
            threading.Thread(target=self._run, args=(share, Random(f"{seed}/{number}")), daemon=True)  # noqa: S311 - repeatable
            for number, share in enumerate(shares)
        ]

    @property
    def are_done(self) -> bool:
        """Whether every producer has ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, share: Sequence[Offer], random: Random) -> None:
        ways = (self._submit_singly, LARGEST_PIECE), (self._submit_in_bulk, LARGEST_BULK)
        most, done = max(len(share) // LEAST_PIECES, 1), 0
        try:
            while done < len(share) and not self._stop.is_set():
                way, largest = random.choice(ways)
                # In one order: two producers that make batches of the same companies the other way round would lock
                # each other out.
                piece = sorted(share[done : done + random.randint(1, min(largest, most))], key=attrgetter("company"))
                self._stop.wait(max(0.0, self._began + self._over_seconds * done / len(share) - time.monotonic()))
                self._submit(piece, way)
                done += len(piece)
        except Exception as exc:  # noqa: BLE001 - the edge of a thread: recorded, and it fails the run
            self.broken = f"{type(exc).__name__}: {exc}"

    def _submit(self, piece: Sequence[Offer], way: Way) -> None:
        papers = [Paper(offer=offer, content=offer.path.read_bytes()) for offer in piece]
        for paper in papers:
            own = hashlib.sha256(paper.content).hexdigest()
            self.told[paper.offer.uuid] = Told(company=paper.offer.company, sha256=own)
        while not self._stop.is_set():
            try:
                for uuid, answer in way(papers):
                    self.told[uuid] = replace(self.told[uuid], answered_sha256=answer)
            except ServiceUnavailableError:
                # Whether it was committed is not known: the same again, under the same UUIDs.
                self.tried_again += 1
                self._stop.wait(AGAIN_SECONDS)
                continue
            return

    def _submit_singly(self, papers: Sequence[Paper]) -> Iterable[Answer]:
        with self._database.transaction() as session:
            now = read_clock(session)
            answers = [
                submit(
                    session,
                    company=paper.offer.company,
                    content=paper.content,
                    filename=paper.offer.path.name,
                    uuid=paper.offer.uuid,
                    batch=BATCH,
                    now=now,
                )
                for paper in papers
            ]
        return [(answer.uuid, answer.sha256) for answer in answers]

    def _submit_in_bulk(self, papers: Sequence[Paper]) -> Iterable[Answer]:
        for company, those in groupby(papers, key=attrgetter("offer.company")):
            bulk = Bulk(company_id=company, limits=DEFAULT_LIMITS, stop=self._stop.is_set, processes=0)
            for verdicts in submit_lines(self._database, map(_line, those), bulk):
                yield from map(_answer, verdicts)


def _line(paper: Paper) -> Line:
    name, terms = paper.offer.path.name, Terms(uuid=paper.offer.uuid, batch=BATCH)
    return Line(path=name, name=name, terms=terms, content=paper.content, size=len(paper.content))


def _answer(verdict: FileVerdict) -> Answer:
    if verdict.submitted is None:
        raise InvalidInputError(f"{verdict.path} was not taken: {verdict.message}")
    return verdict.submitted.uuid, verdict.submitted.sha256

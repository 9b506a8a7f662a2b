"""Several producers at once, each submitting in transactions of its own and noting what it was told."""

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self
from uuid import UUID

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.submit import submit
from pipeline.storage.clock import read_clock
from pipeline.storage.database import Database

LARGEST_PIECE = 20
"""Invoices in one transaction of a producer: from one to so many."""
AGAIN_SECONDS = 0.3
BATCH = "chaos"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One document a producer is to submit, under a UUID it chose."""

    uuid: UUID
    company: UUID
    path: Path


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a producer knows of an invoice: the bytes it gave, and what it was told after the commit."""

    company: UUID
    sha256: str
    """Of the bytes as the producer read them."""
    answered_sha256: str | None = None
    """What the answer said; None when there was no answer yet."""


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
        done = 0
        try:
            while done < len(share) and not self._stop.is_set():
                # In one order: two producers that make batches of the same companies the other way round would lock
                # each other out.
                piece = sorted(share[done : done + random.randint(1, LARGEST_PIECE)], key=lambda offer: offer.company)
                self._stop.wait(max(0.0, self._began + self._over_seconds * done / len(share) - time.monotonic()))
                self._submit(piece)
                done += len(piece)
        except Exception as exc:  # noqa: BLE001 - the edge of a thread: recorded, and it fails the run
            self.broken = f"{type(exc).__name__}: {exc}"

    def _submit(self, piece: Sequence[Offer]) -> None:
        contents = [offer.path.read_bytes() for offer in piece]
        for offer, content in zip(piece, contents, strict=True):
            own = hashlib.sha256(content).hexdigest()
            self.told[offer.uuid] = Told(company=offer.company, sha256=own)
        while not self._stop.is_set():
            try:
                answers = self._submit_once(piece, contents)
            except ServiceUnavailableError:
                # Whether it was committed is not known: the same again, under the same UUIDs.
                self.tried_again += 1
                self._stop.wait(AGAIN_SECONDS)
                continue
            for offer, answer in zip(piece, answers, strict=True):
                self.told[offer.uuid] = replace(self.told[offer.uuid], answered_sha256=answer)
            return

    def _submit_once(self, piece: Sequence[Offer], contents: Sequence[bytes]) -> list[str]:
        with self._database.transaction() as session:
            now = read_clock(session)
            answers = [
                submit(
                    session,
                    company=offer.company,
                    content=content,
                    filename=offer.path.name,
                    uuid=offer.uuid,
                    batch=BATCH,
                    now=now,
                )
                for offer, content in zip(piece, contents, strict=True)
            ]
        return [answer.sha256 for answer in answers]

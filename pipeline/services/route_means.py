"""What every part of routing works with, and how long it waits after a question that failed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.services.hold import hold_stopped
from pipeline.services.ports import Clock, Operator
from pipeline.settings import Settings
from pipeline.storage import companies
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

LONGEST_WAIT_SECONDS = 900.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Means:
    """Database, keys, operator, settings and clock."""

    database: Database
    vault: Vault
    operator: Operator
    settings: Settings
    clock: Clock

    async def write(self, work: Callable[[Session], T]) -> T:
        """Do a piece of work in one transaction of its own, off the event loop."""
        return await asyncio.to_thread(self._write, work)

    async def credentials(self, company_id: UUID) -> CompanyCredentials:
        """Return the keys of a company."""
        return await self.write(lambda session: companies.read_credentials(session, company_id, vault=self.vault))

    def hold_if_stopped(self, session: Session, company_id: UUID, failure: Outcome, *, now: datetime) -> None:
        """Hold the company whose question or order was not let in; any other failure holds nobody."""
        if failure.kind is OutcomeKind.UNAUTHORIZED:
            hold_stopped(session, company_id, failure, settings=self.settings, now=now)

    def _write(self, work: Callable[[Session], T]) -> T:
        with self.database.transaction() as session:
            return work(session)


def wait_longer(since: datetime, *, now: datetime, least: float, failure: Outcome | None = None) -> datetime:
    """Return when to try again: half as long as it has taken so far, within bounds, and never before Retry-After.

    What we held back ourselves is tried again as soon as it may be: nobody was asked.
    """
    if failure is not None and failure.held_back_seconds is not None:
        return now + timedelta(seconds=failure.held_back_seconds)
    grown = min(max((now - since).total_seconds() / 2, least), LONGEST_WAIT_SECONDS)
    asked_for = failure.retry_after_seconds if failure else None
    return now + timedelta(seconds=max(grown, asked_for or 0.0))


def say_failure(failure: Outcome) -> str:
    """Say in words why a question has no answer, or what the operator said to an order."""
    status = f" ({failure.http_status})" if failure.http_status else ""
    return f"{failure.message or failure.error_code or failure.kind.value}{status}"

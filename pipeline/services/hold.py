"""Held companies: asks with a fresh token whether they may send again, and lets their invoices go on by themselves.

Rung by beat, one sweep at a time in the fleet. A company let in again is on trial with one invoice first.
"""

import asyncio
import logging
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.company_hold import HoldKind, judge_hold, judge_words
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome
from pipeline.services.alone import Alone
from pipeline.services.ports import Clock, Operator
from pipeline.services.standing import read_standing
from pipeline.services.together import finish_all
from pipeline.settings import Settings
from pipeline.storage import companies
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

LEASE_NAME = "check_holds"
CHECKS_AT_ONCE = 10

log = logging.getLogger(__name__)


def hold_stopped(session: Session, company_id: UUID, stop: Outcome, *, settings: Settings, now: datetime) -> None:
    """Hold the company of an UNAUTHORIZED outcome, with cause and advice in words; one held already stays so."""
    cause = judge_hold(stop)
    seconds = settings.hold_check_seconds
    if companies.hold_company(
        session, company_id, reason=cause.words, advice=cause.advice, now=now, check_seconds=seconds
    ):
        log.error("company held", extra={"event": "company_held", "company": str(company_id)})


class HoldKeeper:
    """Checks held companies one by one; other companies notice nothing."""

    def __init__(
        self, *, database: Database, vault: Vault, operator: Operator, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock

    async def run(self, holder: UUID) -> int:
        """Check the held companies whose turn it is; return how many were released. Harmless when rung twice."""
        return await Alone(database=self._database, clock=self._clock, name=LEASE_NAME).run(holder, self._round)

    async def _round(self) -> int:
        held = await asyncio.to_thread(self._take)
        return sum(await finish_all([self._check(company_id) for company_id in held], at_once=CHECKS_AT_ONCE))

    def _take(self) -> list[UUID]:
        now = self._clock()
        with self._database.transaction() as session:
            standing = read_standing(session, self._settings, now=now)
            return companies.take_holds_to_check(
                session,
                now=now,
                check_seconds=self._settings.hold_check_seconds,
                but=standing.left_alone,
                limit=standing.most(companies.HOLDS_A_ROUND),
            )

    async def _check(self, company_id: UUID) -> bool:
        credentials = await asyncio.to_thread(self._credentials, company_id)
        cause = await self._operator.why_closed(credentials)
        if cause is not None:
            await asyncio.to_thread(self._renew, company_id, cause)
            log.info("still held", extra={"event": "company_still_held", "company": str(company_id)})
            return False
        await asyncio.to_thread(self._release, company_id)
        log.info("company released", extra={"event": "company_released", "company": str(company_id)})
        return True

    def _renew(self, company_id: UUID, told: str) -> None:
        cause = judge_words(told)
        if cause.kind is HoldKind.NO_ACCESS:
            # Says less than what stands there: an operator that is closed for now must not hide the real cause.
            return
        with self._database.transaction() as session:
            companies.renew_hold(session, company_id, reason=cause.words, advice=cause.advice, now=self._clock())

    def _credentials(self, company_id: UUID) -> CompanyCredentials:
        with self._database.transaction() as session:
            return companies.read_credentials(session, company_id, vault=self._vault)

    def _release(self, company_id: UUID) -> None:
        with self._database.transaction() as session:
            companies.release_company(
                session, company_id, cause="the operator lets the company in", now=self._clock(), trial=True
            )

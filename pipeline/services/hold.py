"""Held companies: asks with a fresh token whether they may send again, and lets their invoices go on by themselves."""

import logging
from datetime import timedelta
from uuid import UUID

from pipeline.services.ports import Clock, Operator
from pipeline.settings import Settings
from pipeline.storage import companies
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

log = logging.getLogger(__name__)


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

    async def run(self) -> int:
        """Check the held companies whose turn it is; return how many were released."""
        now = self._clock()
        before = now - timedelta(seconds=self._settings.hold_check_seconds)
        with self._database.transaction() as session:
            held = companies.take_holds_to_check(session, now=now, before=before)
        return sum([await self._check(company_id) for company_id in held])

    async def _check(self, company_id: UUID) -> bool:
        with self._database.transaction() as session:
            credentials = companies.read_credentials(session, company_id, vault=self._vault)
        cause = await self._operator.why_closed(credentials)
        if cause is not None:
            log.info("still held", extra={"event": "company_still_held", "company": str(company_id)})
            return False
        with self._database.transaction() as session:
            companies.release_company(session, company_id, cause="the operator lets the company in", now=self._clock())
        log.info("company released", extra={"event": "company_released", "company": str(company_id)})
        return True

"""The partner error list: new failures across a partner's companies, read where a company's scopes allow it.

Each row is a hint that makes a look come early and never a fact: what is so, the follow-up reads. Knows no SQL or HTTP.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome
from pipeline.services.alone import Alone
from pipeline.services.ports import Clock, FailedSomewhere, Operator
from pipeline.services.standing import read_standing
from pipeline.services.together import finish_all
from pipeline.settings import Settings
from pipeline.storage import companies, following_hints
from pipeline.storage.database import Database
from pipeline.storage.following_hints import Partner
from pipeline.storage.vault import Vault

LEASE_NAME = "partner_errors"
SCOPE = "partner:invoice_delivery_actions"
OVERLAP = timedelta(minutes=10)
"""Whether the ends of the span belong to it, and how late a row may show, is unknown (contract sections 3 and 4)."""
FIRST_SPAN = timedelta(days=1)
PARTNERS_AT_ONCE = 5

log = logging.getLogger(__name__)


class PartnerErrors:
    """Reads the error list with the keys of each company that may."""

    def __init__(
        self, *, database: Database, vault: Vault, operator: Operator, settings: Settings, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock

    async def run(self, holder: UUID) -> int:
        """Read what is new; return how many open invoices were rung for. Nothing beside another holder.

        A list that could not be read is read from the same instant the next time. Raises: like Follower.run.
        """
        rung = 0

        async def one_round() -> int:
            nonlocal rung
            partners = await asyncio.to_thread(self._list)
            rung += sum(await finish_all([self._read(each) for each in partners], at_once=PARTNERS_AT_ONCE))
            # The overlap shows the same rows again at once, so one round is all unless somebody rings.
            return 0

        await Alone(database=self._database, clock=self._clock, name=LEASE_NAME).run(holder, one_round)
        return rung

    def _list(self) -> list[Partner]:
        with self._database.transaction() as session:
            standing = read_standing(session, self._settings, now=self._clock())
            partners = following_hints.list_partners(session, scope=SCOPE)
        asked = [each for each in partners if standing.most_of(each.id, 1)]
        return asked[: standing.most_in_all(len(asked))]

    async def _read(self, partner: Partner) -> int:
        credentials = await asyncio.to_thread(self._credentials, partner.id)
        before = self._clock()
        after = partner.errors_read_until - OVERLAP if partner.errors_read_until else before - FIRST_SPAN
        answer = await self._operator.outbound_errors(credentials, after=after, before=before)
        if isinstance(answer, Outcome) and answer.held_back_seconds is not None:
            return 0
        if isinstance(answer, Outcome):
            # A right that is missing here says nothing of the company's invoices, so nobody is held for it.
            extra = {"event": "partner_errors_failed", "company": str(partner.id), "kind": answer.kind.value}
            log.warning("error list not read", extra=extra)
            return 0
        return await asyncio.to_thread(self._store, partner.id, answer, before)

    def _credentials(self, company_id: UUID) -> CompanyCredentials:
        with self._database.transaction() as session:
            return companies.read_credentials(session, company_id, vault=self._vault)

    def _store(self, company_id: UUID, failures: Sequence[FailedSomewhere], before: datetime) -> int:
        with self._database.transaction() as session:
            pairs = [(each.company_id, each.invoice_id) for each in failures]
            rung = following_hints.hint_failures(session, pairs, now=self._clock()) if pairs else 0
            following_hints.save_errors_read(session, company_id, until=before)
        return rung

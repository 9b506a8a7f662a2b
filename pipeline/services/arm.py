"""Arming anew: what the living installation sent since the snapshot, asked of the operator, and then the new seal.

Whatever this database believes unsent is asked about before anything is sent, whether the operator's list showed it or
not. Knows nothing of SQL or HTTP.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.arming import Standing
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.decision import explain
from pipeline.domain.outcome import Outcome
from pipeline.domain.state import State
from pipeline.services.arming import place_of, read_standing, require_key, seal_here
from pipeline.services.ports import Clock
from pipeline.services.together import finish_all
from pipeline.settings import Settings
from pipeline.storage import arming
from pipeline.storage.companies import Company, list_companies, read_credentials
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

UNSENT = frozenset({State.QUEUED, State.WAITING, State.IN_DOUBT, State.SENDING, State.HELD})
MARGIN = timedelta(hours=1)
"""Asked for before the snapshot too: clocks differ, and what both sides know is no harm."""
COMPANIES_AT_ONCE = 5
PIECE = 5000
FOUND_THERE = "the operator's list shows it: the living installation sent it; a probe takes it over"
A_PERSON_DECIDES = (
    "a person decides: the installation was armed anew, and the living one may have sent another invoice in its place"
)
ASKED_FIRST = "armed anew: the living installation may have sent it, so the operator is asked before anything is sent"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An invoice in the operator's list of sent ones."""

    uuid: UUID
    number: str | None


class SentList(Protocol):
    """What is asked of the operator."""

    async def sent_since(self, credentials: CompanyCredentials, *, since: datetime) -> tuple[Listed, ...] | Outcome:
        """Read what a company sent since an instant, all pages; an outcome when the question failed."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the operator holds of one company since the snapshot."""

    company_id: UUID
    name: str
    to_adopt: tuple[UUID, ...] = ()
    """Held there, believed unsent here."""
    unknown: tuple[Listed, ...] = field(default=(), repr=False)
    """Held there, not in this database at all."""
    failure: str | None = None
    """Why the operator could not be asked."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What an arming would do."""

    standing: Standing
    snapshot: datetime | None
    """How far this database knows what was uploaded."""
    unsent: int
    companies: tuple[Found, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Arming:
    """What an arming did."""

    adopted: int
    asked_first: int
    cases: int
    """Taken from the rules, for a person to decide."""


class Armer:
    """Looks, and arms when told to."""

    def __init__(
        self, *, database: Database, vault: Vault, operator: SentList, settings: Settings, clock: Clock
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._vault = vault
        self._operator = operator
        self._settings = settings
        self._clock = clock

    async def look(self) -> Survey:
        """Compare this installation with where it was armed, and this database with the operator. Changes nothing."""
        with self._database.transaction() as session:
            standing = read_standing(session, self._settings)
            snapshot, unsent = arming.read_snapshot(session), arming.count_unsent(session)
            companies = list_companies(session)
        found: list[Found] = []
        if not standing.is_armed and snapshot is not None:
            since = snapshot - MARGIN
            found = await finish_all((self._ask(each, since) for each in companies), at_once=COMPANIES_AT_ONCE)
        return Survey(standing=standing, snapshot=snapshot, unsent=unsent, companies=tuple(found))

    def arm(self, survey: Survey, *, by: str) -> Arming:
        """Have all that is unsent asked about first, then seal this place. Safe to repeat after a crash.

        Raises: ConfigurationError without an instance key; nothing was changed then.
        """
        key = require_key(self._settings)
        adopted = sum(self._adopt(each.to_adopt) for each in survey.companies)
        asked = 0
        while count := self._ask_first():
            asked += count
        with self._database.transaction() as session:
            # What was submitted meanwhile is asked about too: nobody can send before this commits.
            asked += arming.ask_first(session, cause=ASKED_FIRST, now=self._clock(), limit=PIECE)
            cases = arming.leave_cases_to_a_person(session, plan=A_PERSON_DECIDES, now=self._clock())
            here = place_of(arming.read_arming(session), self._settings)
            seal_here(session, here, key=key, by=by, now=self._clock())
        return Arming(adopted=adopted, asked_first=asked, cases=cases)

    async def _ask(self, company: Company, since: datetime) -> Found:
        with self._database.transaction() as session:
            credentials = read_credentials(session, company.id, vault=self._vault)
        listed = await self._operator.sent_since(credentials, since=since)
        if isinstance(listed, Outcome):
            failure = explain(listed, "the operator could not be asked")
            return Found(company_id=company.id, name=company.name, failure=failure)
        with self._database.transaction() as session:
            known = _known(session, listed)
        return Found(
            company_id=company.id,
            name=company.name,
            to_adopt=tuple(each.uuid for each in listed if known.get(each.uuid) in UNSENT),
            unknown=tuple(each for each in listed if each.uuid not in known),
        )

    def _adopt(self, ids: tuple[UUID, ...]) -> int:
        adopted = 0
        for start in range(0, len(ids), PIECE):
            with self._database.transaction() as session:
                part = ids[start : start + PIECE]
                adopted += arming.adopt(session, part, cause=FOUND_THERE, now=self._clock())
        return adopted

    def _ask_first(self) -> int:
        with self._database.transaction() as session:
            return arming.ask_first(session, cause=ASKED_FIRST, now=self._clock(), limit=PIECE)


def _known(session: Session, listed: Iterable[Listed]) -> Mapping[UUID, State]:
    ids = [each.uuid for each in listed]
    known: dict[UUID, State] = {}
    for start in range(0, len(ids), PIECE):
        known.update(arming.find_states(session, ids[start : start + PIECE]))
    return known

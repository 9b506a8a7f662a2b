"""One token per company for the whole fleet: read from the shelf, refreshed early by one, shared by all.

Knows the token endpoint only as a callable; knows nothing of invoices or of where the shelf stands.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from pipeline.domain.credentials import AccessToken, CompanyCredentials, TokenStore
from pipeline.domain.outcome import Outcome, OutcomeKind

REFRESH_EARLY_SECONDS = 300.0
"""Tokens live an hour; five minutes are room for an outage of the token endpoint (contract section 1)."""

REFRESH_EARLY_SHARE = 0.2
"""... and never more than this part of a token that lives shorter."""

JITTER_SHARE = 0.5
"""Up to half of the early time on top is random, so that companies set up together do not refresh together."""

EXPIRY_MARGIN_SECONDS = 5.0
"""We let a token expire this much before the operator does: the request still has to get there."""

REFRESH_LEASE_SECONDS = 15.0
"""How long one process may take to fetch; then another one may, and nobody waits in vain for one that was killed."""

WAIT_SECONDS = 30.0
"""How long to wait for the token another process is fetching."""

POLL_SECONDS = 0.1
"""How often to look at the shelf meanwhile."""

MEMORY_SECONDS = 1.0
"""A chunk shares one failed fetch, and one look at the shelf while another process refreshes."""


class Grant(Protocol):
    """Fetches a token from the operator, or says why there is none."""

    async def __call__(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        """Make one request to the token endpoint; the generation is left at 0."""


def schedule_token(*, value: str, scope: str, expires_in: float, now: datetime, random_share: float) -> AccessToken:
    """Say when a token ends and when to fetch the next one. `random_share` is in [0, 1)."""
    margin = min(EXPIRY_MARGIN_SECONDS, expires_in * 0.05)
    early = min(REFRESH_EARLY_SECONDS, expires_in * REFRESH_EARLY_SHARE) * (1 + JITTER_SHARE * random_share)
    return AccessToken(
        value=value,
        scope=scope,
        expires_at=now + timedelta(seconds=expires_in - margin),
        refresh_at=now + timedelta(seconds=expires_in - early),
    )


class TokenSource:
    """Gives out tokens. One for each process and loop; processes meet at the store."""

    def __init__(
        self,
        *,
        store: TokenStore,
        grant: Grant,
        clock: Callable[[], datetime],
        wait_seconds: float = WAIT_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = REFRESH_LEASE_SECONDS,
    ) -> None:
        """Keep the parts; nothing is asked yet."""
        self._store = store
        self._grant = grant
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._poll_seconds = poll_seconds
        self._lease_seconds = lease_seconds
        self._cache: dict[UUID, AccessToken] = {}
        self._remembered: dict[CompanyCredentials, tuple[datetime, AccessToken | Outcome]] = {}
        self._flights: dict[CompanyCredentials, asyncio.Task[AccessToken | Outcome]] = {}

    async def token(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        """Return a usable token, or the outcome of trying to get one; at once in the usual case."""
        now = self._clock()
        cached = self._cache.get(credentials.company_id)
        if cached is not None and now < cached.refresh_at:
            return cached
        until, answer = self._remembered.get(credentials, (now, None))
        if answer is not None and now < until:
            return answer
        return await self._join_flight(credentials)

    async def discard(self, credentials: CompanyCredentials, token: AccessToken) -> None:
        """Report a token the operator did not take, so that nobody uses it again. Many may report the same one."""
        cached = self._cache.get(credentials.company_id)
        if cached is not None and cached.generation <= token.generation:
            del self._cache[credentials.company_id]
        self._remembered.pop(credentials, None)
        await self._store.discard(credentials.company_id, generation=token.generation)

    async def _join_flight(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        flight = self._flights.get(credentials)
        if flight is None:
            flight = asyncio.ensure_future(self._obtain(credentials))
            self._flights[credentials] = flight
            flight.add_done_callback(lambda _: self._flights.pop(credentials, None))
        # Shielded: one caller that gives up must not take the token away from the others.
        return await asyncio.shield(flight)

    async def _obtain(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        answer = await self._read_or_refresh(credentials)
        if isinstance(answer, AccessToken) and self._clock() < answer.refresh_at:
            self._cache[credentials.company_id] = answer
            self._remembered.pop(credentials, None)
        else:
            # A failure, or an old token while somebody else fetches: good for a moment only.
            self._remembered[credentials] = (self._clock() + timedelta(seconds=MEMORY_SECONDS), answer)
        return answer

    async def _read_or_refresh(self, credentials: CompanyCredentials) -> AccessToken | Outcome:
        deadline = asyncio.get_running_loop().time() + self._wait_seconds
        while True:
            stored = await self._store.read(credentials.company_id)
            if stored is not None and self._clock() < stored.refresh_at:
                return stored
            seen = stored.generation if stored is not None else 0
            if await self._store.begin_refresh(
                credentials.company_id, seen_generation=seen, lease_seconds=self._lease_seconds
            ):
                return await self._refresh(credentials, stored)
            if stored is not None and self._clock() < stored.expires_at:
                return stored
            if asyncio.get_running_loop().time() >= deadline:
                return _WAITED_IN_VAIN
            await asyncio.sleep(self._poll_seconds)

    async def _refresh(self, credentials: CompanyCredentials, stored: AccessToken | None) -> AccessToken | Outcome:
        saved: AccessToken | None = None
        try:
            granted = await self._grant(credentials)
            if isinstance(granted, AccessToken):
                saved = await self._store.save(credentials.company_id, granted)
                return saved
        finally:
            if saved is None:
                await self._store.abandon_refresh(credentials.company_id)
        still_good = stored is not None and self._clock() < stored.expires_at
        if stored is not None and still_good and granted.kind is not OutcomeKind.UNAUTHORIZED:
            return stored
        return granted


_WAITED_IN_VAIN = Outcome(
    kind=OutcomeKind.UNAVAILABLE,
    error_code="token_wait",
    message="another worker was fetching a token and none came in time: nothing was sent",
)


class InMemoryTokenStore:
    """A shelf for one process, for tests and for commands without a database. Keeps to the same contract tests."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        """Start empty."""
        self._clock = clock
        self._tokens: dict[UUID, AccessToken] = {}
        self._generations: dict[UUID, int] = {}
        self._leases: dict[UUID, datetime] = {}

    async def read(self, company_id: UUID) -> AccessToken | None:
        """Return the newest token that nobody reported as bad."""
        return self._tokens.get(company_id)

    async def begin_refresh(self, company_id: UUID, *, seen_generation: int, lease_seconds: float) -> bool:
        """Become the only one to fetch, unless somebody is at it or a newer token is there."""
        token = self._tokens.get(company_id)
        now = self._clock()
        if token is not None and token.generation > seen_generation:
            return False
        if company_id in self._leases and now < self._leases[company_id]:
            return False
        self._leases[company_id] = now + timedelta(seconds=lease_seconds)
        return True

    async def save(self, company_id: UUID, token: AccessToken) -> AccessToken:
        """Keep a token under the next generation and end the refresh."""
        generation = self._generations.get(company_id, 0) + 1
        self._generations[company_id] = generation
        self._leases.pop(company_id, None)
        numbered = AccessToken(
            value=token.value,
            scope=token.scope,
            expires_at=token.expires_at,
            refresh_at=token.refresh_at,
            generation=generation,
        )
        self._tokens[company_id] = numbered
        return numbered

    async def abandon_refresh(self, company_id: UUID) -> None:
        """Let somebody else try at once."""
        self._leases.pop(company_id, None)

    async def discard(self, company_id: UUID, *, generation: int) -> None:
        """Forget the token of a generation, unless a newer one is there."""
        token = self._tokens.get(company_id)
        if token is not None and token.generation <= generation:
            del self._tokens[company_id]

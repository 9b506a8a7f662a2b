"""Who a company is towards the operator: keys, the access token, and the shelf a fleet shares it on.

Knows nothing of how keys are encrypted or where the shelf stands.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

DEFAULT_SCOPES = ("eui",)
"""Asked for explicitly: the operator's default scope has no invoice rights (contract section 1)."""


@dataclass(frozen=True, kw_only=True)
class CompanyCredentials:
    """Keys of one company. `company_id` is the operator's company UUID and the OAuth client_id."""

    company_id: UUID
    user_api_key: str = field(repr=False)
    vendor_api_key: str = field(repr=False)
    scopes: tuple[str, ...] = DEFAULT_SCOPES


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """A bearer token of one company. Text without a length limit; never parsed, never logged."""

    value: str = field(repr=False)
    scope: str
    """The scopes that were granted, as the operator wrote them."""
    expires_at: datetime
    refresh_at: datetime
    """When to fetch the next one: early, with jitter, so that a fleet does not refresh in one second."""
    generation: int = 0
    """Counts the tokens of this company; whoever reports a bad token names the generation it used."""


class TokenStore(Protocol):
    """Shelf that holds one token per company for all processes. Implementations encrypt what they keep."""

    async def read(self, company_id: UUID) -> AccessToken | None:
        """Return the newest token that nobody reported as bad, expired or not; None if there is none."""

    async def begin_refresh(self, company_id: UUID, *, seen_generation: int, lease_seconds: float) -> bool:
        """Become the only one to fetch a new token, until saved or the lease is over.

        False when somebody else is fetching, or a newer generation than the one seen is already there.
        """

    async def save(self, company_id: UUID, token: AccessToken) -> AccessToken:
        """Keep a new token with the next generation and end the refresh; return it with its generation."""

    async def abandon_refresh(self, company_id: UUID) -> None:
        """Let somebody else try at once after a failed refresh."""

    async def discard(self, company_id: UUID, *, generation: int) -> None:
        """Report the token of a generation as bad; does nothing if a newer one is there."""

"""Access tokens: issued, remembered until they expire, and expired all at once when the script says so."""

import secrets
from dataclasses import dataclass

from simulator.scopes import expanded

SWEEP_ABOVE = 10_000  # tokens kept before expired ones are thrown out; bounds memory under a client that never reuses


@dataclass(frozen=True, slots=True)
class Token:
    """What a token stands for; `company_id` is None for an operator's token."""

    client_id: str
    company_id: str | None
    vendor_key: str
    names: tuple[str, ...]
    scopes: frozenset[str]
    expires_at: float


class Tokens:
    """All tokens in force. Times are epoch seconds and come in as arguments."""

    def __init__(self) -> None:
        self._in_force: dict[str, Token] = {}

    def issue(
        self,
        *,
        client_id: str,
        company_id: str | None,
        vendor_key: str,
        names: list[str],
        expires_at: float,
        now: float,
    ) -> str:
        """Make a token; its text looks like a JWT and its length varies, so that nobody caps it."""
        if len(self._in_force) > SWEEP_ABOVE:
            self._in_force = {text: token for text, token in self._in_force.items() if token.expires_at > now}
        parts = (
            secrets.token_urlsafe(27),
            secrets.token_urlsafe(180 + secrets.randbelow(60)),
            secrets.token_urlsafe(43),
        )
        text = "eyJ" + ".".join(parts)
        self._in_force[text] = Token(client_id, company_id, vendor_key, tuple(names), expanded(names), expires_at)
        return text

    def find(self, text: str, now: float) -> Token | None:
        """Give what the token stands for, or None if it is unknown or expired."""
        token = self._in_force.get(text)
        return token if token is not None and token.expires_at > now else None

    def expire_all(self) -> None:
        """Make every token worthless at once."""
        self._in_force.clear()

"""The shelf of access tokens in PostgreSQL: one per company for the fleet, encrypted, fetched by one at a time."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from pipeline.domain.credentials import AccessToken
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault

READ = text("SELECT token, scope, expires_at, refresh_at, generation FROM access_token WHERE company_id = :company")
SEAT = text("INSERT INTO access_token (company_id, generation, scope) VALUES (:company, 0, '') ON CONFLICT DO NOTHING")
BEGIN_REFRESH = text("""
    UPDATE access_token SET refreshing_until = :until
    WHERE company_id = :company AND (generation <= :seen OR token IS NULL)
        AND (refreshing_until IS NULL OR refreshing_until < :now)
    RETURNING generation
""")
SAVE = text("""
    UPDATE access_token SET token = :token, scope = :scope, expires_at = :expires_at, refresh_at = :refresh_at,
        generation = generation + 1, refreshing_until = NULL
    WHERE company_id = :company RETURNING generation
""")
ABANDON = text("UPDATE access_token SET refreshing_until = NULL WHERE company_id = :company")
DISCARD = text("UPDATE access_token SET token = NULL WHERE company_id = :company AND generation = :generation")


class DatabaseTokenStore:
    """TokenStore of the domain on PostgreSQL. Each call is one short transaction in a thread."""

    def __init__(self, database: Database, vault: Vault, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def read(self, company_id: UUID) -> AccessToken | None:
        """See TokenStore.read."""
        return await asyncio.to_thread(self._read, company_id)

    async def begin_refresh(self, company_id: UUID, *, seen_generation: int, lease_seconds: float) -> bool:
        """See TokenStore.begin_refresh."""
        now = self._clock()
        until = now + timedelta(seconds=lease_seconds)
        parameters = {"company": company_id, "seen": seen_generation, "now": now, "until": until}
        return await asyncio.to_thread(self._begin_refresh, parameters)

    async def save(self, company_id: UUID, token: AccessToken) -> AccessToken:
        """See TokenStore.save."""
        return await asyncio.to_thread(self._save, company_id, token)

    async def abandon_refresh(self, company_id: UUID) -> None:
        """See TokenStore.abandon_refresh."""
        await asyncio.to_thread(self._run, ABANDON, {"company": company_id})

    async def discard(self, company_id: UUID, *, generation: int) -> None:
        """See TokenStore.discard."""
        await asyncio.to_thread(self._run, DISCARD, {"company": company_id, "generation": generation})

    def _run(self, statement: Any, parameters: dict[str, Any]) -> None:
        with self._database.transaction() as session:
            session.connection().execute(statement, parameters)

    def _read(self, company_id: UUID) -> AccessToken | None:
        with self._database.transaction() as session:
            row = session.connection().execute(READ, {"company": company_id}).one_or_none()
        if row is None or row.token is None:
            return None
        return AccessToken(
            value=self._vault.open(row.token),
            scope=row.scope,
            expires_at=row.expires_at,
            refresh_at=row.refresh_at,
            generation=row.generation,
        )

    def _begin_refresh(self, parameters: dict[str, Any]) -> bool:
        with self._database.transaction() as session:
            session.connection().execute(SEAT, {"company": parameters["company"]})
            return session.connection().execute(BEGIN_REFRESH, parameters).one_or_none() is not None

    def _save(self, company_id: UUID, token: AccessToken) -> AccessToken:
        parameters = {
            "company": company_id,
            "token": self._vault.close(token.value),
            "scope": token.scope,
            "expires_at": token.expires_at,
            "refresh_at": token.refresh_at,
        }
        with self._database.transaction() as session:
            generation = session.connection().execute(SAVE, parameters).scalar_one()
        return AccessToken(
            value=token.value,
            scope=token.scope,
            expires_at=token.expires_at,
            refresh_at=token.refresh_at,
            generation=generation,
        )

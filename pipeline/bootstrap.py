"""The only place that knows everybody: builds the parts from the settings. Builds nothing at import."""

import random
from datetime import UTC, datetime

from pipeline.maventa.auth import TokenSource
from pipeline.maventa.client import MaventaClient, Timeouts
from pipeline.maventa.environment import hosts_for
from pipeline.services.dispatch import Dispatcher
from pipeline.services.follow import Follower
from pipeline.services.hold import HoldKeeper
from pipeline.services.operator import MaventaOperator
from pipeline.services.ports import ChunkPublisher
from pipeline.services.send import Sender
from pipeline.settings import Settings
from pipeline.storage.database import Database
from pipeline.storage.tokens import DatabaseTokenStore
from pipeline.storage.vault import Vault


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


def build_database(settings: Settings) -> Database:
    """Return the database of the settings; connects at first use. Raises: ConfigurationError."""
    return Database(settings.require_database_url())


def build_vault(settings: Settings) -> Vault:
    """Return the vault of the settings. Raises: ConfigurationError."""
    return Vault(settings.require_encryption_keys())


def build_dispatcher(settings: Settings, *, database: Database, publisher: ChunkPublisher) -> Dispatcher:
    """Return the pump on a database and a way to the workers."""
    return Dispatcher(database=database, publisher=publisher, settings=settings, clock=utc_now)


class Machine:
    """Everything one process needs to talk to the operator. Made after the fork, bound to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = build_database(settings)
        self.vault = build_vault(settings)
        self.client = self._build_client()
        operator = MaventaOperator(self.client)
        self.sender = Sender(
            database=self.database,
            vault=self.vault,
            operator=operator,
            settings=settings,
            clock=utc_now,
            chance=random.random,
        )
        self.follower = Follower(
            database=self.database, vault=self.vault, operator=operator, settings=settings, clock=utc_now
        )
        self.hold_keeper = HoldKeeper(
            database=self.database, vault=self.vault, operator=operator, settings=settings, clock=utc_now
        )

    async def close(self) -> None:
        """Close connections to operator and database."""
        await self.client.aclose()
        self.database.close()

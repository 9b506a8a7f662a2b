"""The only place that knows everybody: builds the parts from the settings. Builds nothing at import."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property

from pipeline.domain.turnstile import Turnstile
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.timeouts import Timeouts
from pipeline.services.arm import Armer
from pipeline.services.departure import DepartureGate
from pipeline.services.dispatch import Dispatcher
from pipeline.services.follow import Follower
from pipeline.services.gate import Gate
from pipeline.services.hold import HoldKeeper
from pipeline.services.operator import MaventaOperator
from pipeline.services.partner_errors import PartnerErrors
from pipeline.services.points import Points
from pipeline.services.ports import ChunkPublisher, Clock
from pipeline.services.retention import Retention
from pipeline.services.route import Router
from pipeline.services.routing_source import RoutingSource
from pipeline.services.send import Sender
from pipeline.services.upkeep import Upkeep
from pipeline.services.watch import Watch
from pipeline.settings import Settings
from pipeline.storage.clock import FleetClock
from pipeline.storage.database import Database
from pipeline.storage.tokens import DatabaseTokenStore
from pipeline.storage.vault import Vault

SPARE_CONNECTIONS = 20
"""For tokens and questions, so that they never queue behind uploads."""


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


def build_database(settings: Settings) -> Database:
    """Return the database of the settings; connects at first use. Raises: ConfigurationError."""
    return Database(settings.require_database_url())


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Lend the database of the settings and close its connections. Raises: ConfigurationError."""
    database = build_database(settings)
    try:
        yield database
    finally:
        database.close()


def build_vault(settings: Settings) -> Vault:
    """Return the vault of the settings. Raises: ConfigurationError."""
    return Vault(settings.require_encryption_keys())


def build_dispatcher(settings: Settings, *, database: Database, publisher: ChunkPublisher, clock: Clock) -> Dispatcher:
    """Return the pump on a database and a way to the workers."""
    points = Points(settings.points_folder)
    return Dispatcher(database=database, publisher=publisher, settings=settings, clock=clock, points=points)


class Machine:
    """Everything one process needs to talk to the operator. Made after the fork, bound to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = build_database(settings)
        self.vault = build_vault(settings)
        self.clock = FleetClock(self.database)
        self.gate = Gate(database=self.database, settings=settings, clock=self.clock, chance=random.random)
        self.departure_gate = DepartureGate(self.gate)
        self.client = _build_client(
            settings,
            DatabaseTokenStore(self.database, self.vault, clock=self.clock),
            clock=self.clock,
            turnstile=self.departure_gate,
        )
        self.operator = MaventaOperator(self.client)

    @cached_property
    def sender(self) -> Sender:
        """The service that sends and probes chunks; one per process, it knows what is in the air."""
        return Sender(
            database=self.database,
            vault=self.vault,
            operator=self.operator,
            settings=self.settings,
            clock=self.clock,
            chance=random.random,
            points=Points(self.settings.points_folder),
            gate=self.departure_gate,
        )

    @cached_property
    def routing(self) -> RoutingSource:
        """The routing rules in force, read anew when their file changes."""
        return RoutingSource(self.settings.routing_file)

    @property
    def follower(self) -> Follower:
        """The service that asks what became of accepted invoices."""
        return Follower(
            database=self.database, vault=self.vault, operator=self.operator, settings=self.settings, clock=self.clock
        )

    @property
    def hold_keeper(self) -> HoldKeeper:
        """The service that lets held companies go on."""
        return HoldKeeper(
            database=self.database, vault=self.vault, operator=self.operator, settings=self.settings, clock=self.clock
        )

    @property
    def partner_errors(self) -> PartnerErrors:
        """The service that reads the partner's list of failures."""
        return PartnerErrors(
            database=self.database,
            vault=self.vault,
            operator=self.operator,
            settings=self.settings,
            clock=self.clock,
        )

    @property
    def router(self) -> Router:
        """The service that sees to failures."""
        return Router(
            database=self.database,
            vault=self.vault,
            operator=self.operator,
            settings=self.settings,
            clock=self.clock,
            routing=self.routing,
        )

    @property
    def armer(self) -> Armer:
        """The service that looks what arming would mean, and arms."""
        return Armer(
            database=self.database, vault=self.vault, operator=self.operator, settings=self.settings, clock=self.clock
        )

    @cached_property
    def watch(self) -> Watch:
        """The service that raises alarms and folds the counters; one per process, it remembers its last look."""
        return Watch(database=self.database, settings=self.settings, clock=self.clock, routing=self.routing)

    @property
    def upkeep(self) -> Upkeep:
        """The service that makes months and puts finished invoices away."""
        return Upkeep(database=self.database, settings=self.settings, clock=self.clock)

    @property
    def retention(self) -> Retention:
        """The service that drops what need not be kept any longer."""
        return Retention(database=self.database, settings=self.settings, clock=self.clock)

    async def close(self) -> None:
        """Close connections to operator and database, after writing what the last exchanges proved."""
        await self.client.aclose()
        await self.gate.close()
        self.database.close()


def timeouts_of(settings: Settings) -> Timeouts:
    """Return the timeouts of one exchange; the whole of it has a deadline too."""
    parts = (
        settings.connect_timeout_seconds,
        settings.read_timeout_seconds,
        settings.write_timeout_seconds,
        settings.pool_timeout_seconds,
    )
    connect, read, write, pool = parts
    return Timeouts(connect=connect, read=read, write=write, pool=pool, total=sum(parts))


def longest_exchange_seconds(settings: Settings) -> float:
    """Return how long the upload of the largest document may take, asked once more after a 401."""
    return 2 * timeouts_of(settings).whole(settings.max_document_bytes)


def _build_client(
    settings: Settings, token_store: DatabaseTokenStore, *, clock: Clock, turnstile: Turnstile
) -> MaventaClient:
    return MaventaClient(
        hosts=OperatorHosts.of(settings.installation, override_url=settings.operator_url),
        token_store=token_store,
        timeouts=timeouts_of(settings),
        max_connections=settings.upload_concurrency + SPARE_CONNECTIONS,
        clock=clock,
        turnstile=turnstile,
    )

"""What the broker holds beside a backlog in the database while nobody reads.

The real dispatcher publishes through Celery to an embedded Valkey; no worker runs. Its clock is moved by one lease
from round to round, so that hours without a worker pass in a minute.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from bench.growth.growing import SETTINGS, arm_here
from bench.history.writing import add_companies, plan_before, write_backlog
from bench.surroundings import surroundings
from pipeline.bootstrap import utc_now
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.valkey import EmbeddedValkey
from pipeline.services.dispatch import Dispatcher
from pipeline.settings import settings_from
from pipeline.storage import schema
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault, new_key
from workers.app import QUEUE_NAMES
from workers.publisher import CeleryPublisher, most_bytes

LEASE_SECONDS = 15.0
MIB = 1024 * 1024


class MovedClock:
    """The present instant, moved by hand."""

    def __init__(self) -> None:
        self.moved = timedelta()

    def __call__(self) -> datetime:
        """Return it."""
        return utc_now() + self.moved


def hold(folder: Path, backlog: int, *, hours: float) -> dict[str, Any]:
    """Return what the broker held before, with the window full, and after hours in which nobody read."""
    result = surroundings() | {"backlog": backlog}
    with (
        EmbeddedPostgres(folder / "postgres", durable=False) as postgres,
        EmbeddedValkey(folder / "valkey") as valkey,
    ):
        return result | {"broker": _measure(postgres.url, valkey.url, backlog, hours=hours)}


def _measure(database_url: str, broker_url: str, backlog: int, *, hours: float) -> list[dict[str, object]]:
    given = {
        **SETTINGS,
        "POSTILJON_DISPATCH_LEASE_SECONDS": str(LEASE_SECONDS),
        "POSTILJON_DATABASE_URL": database_url,
        "POSTILJON_BROKER_URL": broker_url,
    }
    os.environ.update(given)  # what the Celery app reads at its first message
    settings, database, clock = settings_from(given), Database(database_url), MovedClock()
    schema.upgrade(database.engine)
    arm_here(database, settings)
    plan = plan_before(utc_now())
    add_companies(database, Vault([new_key()]), plan)
    write_backlog(database, plan, first=0, last=backlog, at=utc_now() - timedelta(minutes=1))
    publisher = CeleryPublisher(most=most_bytes(settings))
    dispatcher = Dispatcher(database=database, publisher=publisher, settings=settings, clock=clock)
    broker = redis.Redis.from_url(broker_url)
    found = [_look(broker, "before the first round")]
    dispatcher.run(uuid4())
    found.append(_look(broker, "window full"))
    for _ in range(int(hours * 3600 / LEASE_SECONDS)):
        clock.moved += timedelta(seconds=LEASE_SECONDS + 1)
        dispatcher.run(uuid4())
    found.append(_look(broker, f"after {hours:g} hours in which nobody read"))
    broker.close()
    database.close()
    return found


def _look(broker: redis.Redis, when: str) -> dict[str, object]:
    used = int(broker.info("memory")["used_memory"])
    messages = sum(int(broker.llen(queue)) for queue in QUEUE_NAMES)
    return {"when": when, "used_mib": round(used / MIB, 2), "messages": messages}

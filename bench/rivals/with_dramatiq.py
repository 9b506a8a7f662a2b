"""Dramatiq: one message per invoice."""

from collections.abc import Iterable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.rivals import work

dramatiq.set_broker(RedisBroker(url=work.broker_url()))


@dramatiq.actor
def send(path: str) -> None:
    """Send one invoice."""
    work.send(path)


def enqueue(paths: Iterable[str]) -> None:
    """Ask for each."""
    for path in paths:
        send.send(path)

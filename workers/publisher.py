"""Puts chunks on the queue. Only ids and counts go into a message: no document, no key, nothing personal.

No message expires: the broker would not drop it, and a worker judges it by its own wall clock, so one whose clock is
ahead would drop every chunk unread. What comes too late claims nothing, for its lease stands in the rows. While nobody
reads, each lease would bring another window of messages, 14 MB an hour: a queue that holds too much gets no more, and
what was not put there is due again when its lease is over, like any message that is lost.
"""

import logging
from collections.abc import Callable

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.ports import Chunk
from pipeline.settings import Settings
from workers.app import app

FIRST_SHOWN = 3
BYTES_AN_INVOICE = 4096
"""Room for two windows even where each message has one invoice (1.6 KB; 70 bytes in one of a hundred)."""

log = logging.getLogger(__name__)


def most_bytes(settings: Settings) -> int:
    """Return how much a queue may hold before it gets no more: 3 MB by default, however large the backlog."""
    return settings.window_chunks * settings.chunk_invoices * BYTES_AN_INVOICE


def bytes_held(queue: str) -> int:
    """Return how much the broker holds in a queue, 0 where it cannot tell."""
    try:
        with app.producer_or_acquire() as producer:
            return int(producer.channel.client.memory_usage(queue) or 0)
    except (OperationalError, OSError, RedisError, AttributeError):
        # Away, forbidden, or no Redis: publishing itself tells what is wrong.
        return 0


class CeleryPublisher:
    """See pipeline.services.ports.ChunkPublisher."""

    def __init__(self, *, most: int, held: Callable[[str], int] = bytes_held) -> None:
        self._most = most
        self._held = held
        self._told: set[str] = set()
        """The queues of which was said that nobody reads them."""

    def publish(self, chunk: Chunk) -> None:
        """See ChunkPublisher.publish."""
        ids = [str(invoice_id) for invoice_id in chunk.invoice_ids]
        task = "probe" if chunk.is_probe else "send"
        queue = "express" if chunk.is_express else "send"
        if self._held(queue) > self._most:
            self._tell(queue)
            return
        shown = {"company": chunk.company_name, "count": len(ids), "first": ids[:FIRST_SHOWN]}
        arguments = {"company_id": str(chunk.company_id), "epoch": chunk.epoch, "invoices": ids}
        try:
            # What Flower shows instead of a hundred UUIDs; we never retry a task, which would lose it.
            app.send_task(task, kwargs=arguments, kwargsrepr=repr(shown), queue=queue)
        except (OperationalError, OSError) as exc:
            raise ServiceUnavailableError("the broker cannot be reached; the chunk is due again by itself") from exc
        self._told.discard(queue)

    def _tell(self, queue: str) -> None:
        if queue not in self._told:
            self._told.add(queue)
            log.warning("nobody reads the queue, it gets no more", extra={"event": "queue_unread", "queue": queue})

"""Puts chunks on the queue. Only ids and counts go into a message: no document, no key, nothing personal.

No message expires: the broker would not drop it, and a worker judges it by its own wall clock, so one whose clock is
ahead would drop every chunk unread. What comes too late claims nothing, for its lease stands in the rows. While nobody
reads, the queue grows by a window of messages in each lease; each costs one empty claim afterwards.
"""

from kombu.exceptions import OperationalError

from pipeline.domain.errors import ServiceUnavailableError
from pipeline.services.ports import Chunk
from workers.app import app

FIRST_SHOWN = 3


class CeleryPublisher:
    """See pipeline.services.ports.ChunkPublisher."""

    def publish(self, chunk: Chunk) -> None:
        """See ChunkPublisher.publish."""
        ids = [str(invoice_id) for invoice_id in chunk.invoice_ids]
        task = "probe" if chunk.is_probe else "send"
        queue = "express" if chunk.is_express else "send"
        shown = {"company": chunk.company_name, "count": len(ids), "first": ids[:FIRST_SHOWN]}
        arguments = {"company_id": str(chunk.company_id), "epoch": chunk.epoch, "invoices": ids}
        try:
            # What Flower shows instead of a hundred UUIDs; we never retry a task, which would lose it.
            app.send_task(task, kwargs=arguments, kwargsrepr=repr(shown), queue=queue)
        except (OperationalError, OSError) as exc:
            raise ServiceUnavailableError("the broker cannot be reached; the chunk is due again by itself") from exc

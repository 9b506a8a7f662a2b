"""How long an exchange may take, part by part. Knows no transport."""

from dataclasses import dataclass

WRITE_STEP_BYTES = 8 * 1024 * 1024
"""One write timeout for each step begun: the fast transport does not tell when a write makes progress."""

WRITE_FREE_BYTES = 64 * 1024
"""A body that small fits the socket's buffer and needs no time of its own."""


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long we wait, in seconds: for each part, and for a whole exchange with a body of up to 8 MiB."""

    connect: float = 10.0
    read: float = 60.0
    write: float = 60.0
    pool: float = 30.0
    total: float = 180.0

    def writing(self, body_bytes: int) -> float:
        """Return the time a body of this size may take to leave."""
        if body_bytes <= WRITE_FREE_BYTES:
            return 0.0
        return self.write * (1 + (body_bytes - 1) // WRITE_STEP_BYTES)

    def whole(self, body_bytes: int) -> float:
        """Return the deadline of a whole exchange: big bodies get the time to write them on top."""
        return self.total + max(0.0, self.writing(body_bytes) - self.write)

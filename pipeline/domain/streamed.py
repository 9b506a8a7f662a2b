"""A document on its way out: its bytes at hand, or read piece by piece while they leave, so that nobody holds it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """Bytes that are read while they are sent."""

    size: int
    read: Callable[[], AsyncIterator[bytes]] = field(repr=False)
    """Begins anew each time; raises ConnectionResetError where the rest cannot be had, which ends the exchange."""

    def __len__(self) -> int:
        """Return how many bytes there are."""
        return self.size


Content = bytes | Streamed

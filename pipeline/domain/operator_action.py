"""What the operator noted about an invoice. Its words are kept; what follows from them is decided elsewhere."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAction:
    """One thing that happened to an invoice at the operator. Source: swagger.json, InvoiceAction."""

    type: str
    """RECEIVED, CREATED, SENT, DELIVERED, INFO or ERROR."""
    key: str | None = None
    """action_created, action_seen, action_route_failed, ... (33 of them)."""
    channel: str | None = None
    """EINVOICE, PRINT, SCAN or EMAIL."""
    message: str | None = None
    happened_at: datetime | None = None
    """Aware UTC."""

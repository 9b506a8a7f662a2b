"""What one HTTP exchange about an invoice proved: a closed set. Knows nothing of HTTP or of what to do next."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pipeline.domain.document_values import clean_text

TEXT_LIMIT = 500
_PARTIES = ("operator_seller", "operator_buyer")


class OutcomeKind(StrEnum):
    """What an attempt proved. Every answer and every transport failure is one of these."""

    ACCEPTED = "accepted"
    """An upload was answered with 201 and our UUID: the operator holds the invoice."""

    ALREADY_THERE = "already_there"
    """The operator, asked by UUID, knows the invoice."""

    ABSENT = "absent"
    """The operator, asked by UUID with a token proven good for the company, does not know the invoice."""

    REFUSED = "refused"
    """The operator said no to an upload. Whether the UUID exists nevertheless is for a probe to say."""

    THROTTLED = "throttled"
    """Too many requests; nothing was created."""

    UNAVAILABLE = "unavailable"
    """Proven not sent (no connection came about), or the operator says it is closed for now (503)."""

    UNAUTHORIZED = "unauthorized"
    """The company may not do this, fresh token included: concerns the company, never the invoice."""

    IN_DOUBT = "in_doubt"
    """Bytes may have arrived and nobody told us what became of them."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attempt proved, with what the operator said, for people. Carries no body and no token."""

    kind: OutcomeKind
    http_status: int | None = None
    error_code: str | None = None
    """The operator's `code`, or the name of the transport failure (`read_timeout`, `reset`, `refused`, `dns` ...)."""
    message: str | None = None
    """The operator's `message`, or ours about the transport; one line, at most 500 characters."""
    retry_after_seconds: float | None = None
    """What the operator's Retry-After asked for, from the moment of the answer."""
    held_back_seconds: float | None = None
    """Set where we ourselves did not begin the exchange (pace, open circuit, a worker that ends): nothing left us, no
    attempt counts, and it is to be tried again after so many seconds."""
    lacks_document: bool = False
    """Set where there was nothing to send: the document is not kept any more. Nothing left us; no attempt counts."""
    operator_status: str | None = None
    """PENDING, DELIVERED or FAILED where the answer told it."""
    operator_number: str | None = None
    operator_total: Decimal | None = None
    """Gross. What a read showed of the invoice it found, to tell ours from somebody else's under the same UUID."""
    operator_seller: str | None = None
    operator_buyer: str | None = None
    """The parties' names, likewise."""
    cut_short: bool = False
    """Set where we ourselves ended the exchange before its answer (a worker that ends): asked about at once."""

    @property
    def left_nothing(self) -> bool:
        """Whether it is proven that nothing of an upload left us, so that nothing of it can have arrived."""
        never_sent = self.kind is OutcomeKind.UNAVAILABLE and self.http_status is None
        return never_sent or self.held_back_seconds is not None

    def __post_init__(self) -> None:
        """Keep out what a database or a terminal chokes on, wherever the operator's words came from."""
        for name in ("error_code", "message", "operator_status", "operator_number", *_PARTIES):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, clean_text(value, limit=TEXT_LIMIT) or None)

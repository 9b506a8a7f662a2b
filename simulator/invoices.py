"""Invoices as the operator holds them. Status and actions follow from a timeline and the clock, without timers."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from simulator.archive import media_type
from simulator.documents import Facts

PENDING, DELIVERED, FAILED = "PENDING", "DELIVERED", "FAILED"
DEFAULT_ACTION_TYPES = frozenset({"CREATED", "SENT", "DELIVERED", "ERROR", "RECEIVED"})  # swagger: all but INFO


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens to an invoice: an action, perhaps with a new status and a webhook event."""

    at: float
    type: str
    key: str | None = None
    status: str | None = None
    channel: str | None = None
    message: str | None = None
    event: str | None = None
    destination: str | None = None  # where the invoice goes from here on; only a reroute changes it


@dataclass(slots=True)
class Invoice:
    """One invoice of one company, found by its UUID."""

    id: str
    company_id: str
    created_at: float
    facts: Facts
    sha256: str
    filename: str
    is_zip: bool
    members: tuple[str, ...]
    destination: str | None = None
    comment: str = ""
    event_state: str = "CREATED"
    assignment: dict[str, object] | None = None
    steps: list[Step] = field(default_factory=list)

    def status(self, now: float) -> str:
        """Tell the status that the timeline has reached."""
        status = PENDING
        for step in self.steps:
            if step.at > now:
                break
            status = step.status or status
        return status

    def destination_at(self, now: float) -> str | None:
        """Tell the channel that the invoice has been put on."""
        return next((step.destination for step in reversed(self.past(now)) if step.destination), self.destination)

    def past(self, now: float) -> Sequence[Step]:
        """List what has happened so far, oldest first."""
        return self.steps[: bisect_right(self.steps, now, key=lambda step: step.at)]

    def divert(self, steps: list[Step], now: float) -> None:
        """Replace the future by these steps."""
        self.steps = [*self.past(now), *steps]

    def failed_at(self, now: float) -> float | None:
        """Tell when the invoice turned FAILED, None unless it is FAILED now."""
        changes = [step for step in self.past(now) if step.status]
        return changes[-1].at if changes and changes[-1].status == FAILED else None

    def file_names(self) -> tuple[str, ...]:
        """Name the files: the upload itself, then what a ZIP holds."""
        return (self.filename, *self.members)

    def file_id(self, index: int) -> str:
        """Give the id of the n-th file, the same at every call."""
        return str(uuid5(NAMESPACE_URL, f"{self.id}/{index}"))


def instant(at: float) -> str:
    """Write an epoch time as the operator does: UTC, milliseconds, Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(invoice: Invoice, now: float, *, base_url: str, with_actions: bool) -> dict[str, object]:
    """Write an invoice as swagger's Invoice; what is not known is left out, never null."""
    facts = invoice.facts
    view: dict[str, object] = {
        "id": invoice.id,
        "status": invoice.status(now),
        "reference": facts.reference,
        "number": facts.number,
        "sender": facts.sender,
        "recipient": facts.recipient,
        "created_at": instant(invoice.created_at),
        "date": facts.date,
        "date_due": facts.date_due,
        "source_format": facts.source_format,
        "sum": float(facts.sum or 0),
        "sum_tax": float(facts.sum_tax or 0),
        "currency": facts.currency or "EUR",
        "destination": invoice.destination_at(now),
        "comment": invoice.comment,
        "files": shown_files(invoice, base_url),
    }
    if with_actions:
        view["actions"] = shown_actions(invoice, now, DEFAULT_ACTION_TYPES)
    return {name: value for name, value in view.items() if value not in (None, "")}


def shown_files(invoice: Invoice, base_url: str) -> list[dict[str, str]]:
    """List the files with the links to them."""
    kind = invoice.facts.source_format
    return [
        {
            "id": invoice.file_id(index),
            "filename": name,
            "type": kind if name.lower().endswith((".xml", ".zip")) else name.rpartition(".")[2].upper(),
            "mimetype": media_type(name),
            "href": f"{base_url}/v1/invoices/{invoice.id}/files/{invoice.file_id(index)}",
        }
        for index, name in enumerate(invoice.file_names())
    ]


def shown_actions(invoice: Invoice, now: float, types: frozenset[str]) -> list[dict[str, str]]:
    """List the actions of these types, oldest first."""
    return [_action(step) for step in invoice.past(now) if step.type in types]


def _action(step: Step) -> dict[str, str]:
    view = {"type": step.type, "channel": step.channel, "message": step.message, "key": step.key}
    return {name: value for name, value in view.items() if value is not None} | {"happened_at": instant(step.at)}

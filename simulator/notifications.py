"""Webhook subscriptions and what is to be posted to them. Decides what and when; sending is webhooks.py."""

import heapq
import ipaddress
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit
from uuid import uuid4

from simulator.companies import Company
from simulator.invoices import Invoice, Step, instant

EVENTS = ("DOCUMENTS.INVOICE.DELIVERED", "DOCUMENTS.INVOICE.DELIVERY_CONFIRMED", "DOCUMENTS.INVOICE.FAILED")
UNACKNOWLEDGED_LIMIT = 10_000  # oldest are forgotten; nothing says how long the operator remembers


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a company, a vendor or an operator wants its events."""

    id: str
    owner: str  # company UUID, or the operator's client id
    destination_type: str
    destination: str
    events: frozenset[str]
    vendor_key: str = ""

    def shown(self) -> dict[str, object]:
        """Write the subscription as swagger's Notification."""
        view = {"id": self.id, "destination_type": self.destination_type, "destination": self.destination}
        vendor = {"vendor_key": self.vendor_key} if self.vendor_key else {}
        return {**view, **vendor, "events": sorted(self.events)}


@dataclass(slots=True)
class Message:
    """One event on its way to one subscription."""

    subscription_id: str
    owner: str
    destination: str
    body: dict[str, object]
    invoice: Invoice
    step: Step
    acknowledged: bool = False
    tries: int = 0
    delayed: bool = False


@dataclass(slots=True)
class Notifications:
    """All subscriptions, and a queue by time of what is due."""

    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    due: list[tuple[float, int, Message]] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    _order: "count[int]" = field(default_factory=count)

    def subscribe(
        self, *, owner: str, destination_type: str, destination: str, events: list[str], vendor_key: str
    ) -> Subscription:
        """Add a subscription."""
        made = Subscription(str(uuid4()), owner, destination_type, destination, frozenset(events), vendor_key)
        self.subscriptions[made.id] = made
        return made

    def of(self, owner: str) -> list[Subscription]:
        """List an owner's subscriptions."""
        return [one for one in self.subscriptions.values() if one.owner == owner]

    def plan(self, invoice: Invoice, company: Company, since: float, *, only: Subscription | None = None) -> None:
        """Queue the events that lie ahead of an invoice for everybody who wants them."""
        if not self.subscriptions:
            return
        for step in invoice.steps:
            for one in [only] if only else self.subscriptions.values():
                if step.event in one.events and step.at >= since and _hears(one, company):
                    self.push(step.at, _message(one, invoice, step, company))

    def push(self, at: float, message: Message) -> None:
        """Queue a message for a time."""
        heapq.heappush(self.due, (at, next(self._order), message))

    def pop(self, now: float) -> list[Message]:
        """Take what is due; events that a reroute has made untrue are dropped."""
        taken: list[Message] = []
        while self.due and self.due[0][0] <= now:
            message = heapq.heappop(self.due)[2]
            if message.step in message.invoice.steps and message.subscription_id in self.subscriptions:
                taken.append(message)
        return taken

    def note_sent(self, message: Message) -> None:
        """Remember a message so that it can be sent again while nobody acknowledged it."""
        if message.tries == 1:
            self.sent.append(message)
            del self.sent[:-UNACKNOWLEDGED_LIMIT]

    def resend_unacknowledged(self, owner: str, now: float) -> int:
        """Queue again what an owner's subscriptions never acknowledged; tells how many."""
        waiting = [one for one in self.sent if one.owner == owner and not one.acknowledged]
        for message in waiting:
            self.push(now, message)
        return len(waiting)


def is_loopback(destination: str) -> bool:
    """Whether a URL points at this machine; the simulator posts nowhere else."""
    try:
        parts = urlsplit(destination)
        host = parts.hostname or ""
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and loopback


def _hears(one: Subscription, company: Company) -> bool:
    if one.destination_type == "VENDOR_WEBHOOK":
        return one.vendor_key == company.vendor_key
    return one.owner == company.id


def _message(one: Subscription, invoice: Invoice, step: Step, company: Company) -> Message:
    facts = invoice.facts
    details = {
        "invoice_id": invoice.id,
        "invoice_number": facts.number,
        "destination": invoice.destination_at(step.at),
        "recipient_name": facts.recipient.get("name"),
        "recipient_bid": facts.recipient.get("bid"),
        "recipient_eia": facts.recipient.get("eia"),
        "error_message": step.message if step.type == "ERROR" else None,
    }
    body: dict[str, object] = {
        "event": step.event,
        "company_id": company.id,
        "event_timestamp": instant(step.at),
        "event_data": {name: value for name, value in details.items() if value},
    }
    return Message(one.id, one.owner, one.destination, body, invoice, step)

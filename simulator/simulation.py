"""The whole state of one simulated operator, and the few moves that change more than one part of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.companies import READY_COMPANIES, Companies
from simulator.faults import Script
from simulator.invoices import Invoice, Step
from simulator.knobs import Knobs
from simulator.ledger import Ledger
from simulator.notifications import Notifications
from simulator.outage import Outages
from simulator.tokens import Tokens
from simulator.traffic import Traffic


@dataclass(slots=True)
class Simulation:
    """Everything the operator knows. Lives in one process and one thread; times are epoch seconds of `clock`."""

    knobs: Knobs = field(default_factory=Knobs)
    script: Script = field(default_factory=Script)
    ready_companies: int = READY_COMPANIES
    clock: Callable[[], float] = time.time
    companies: Companies = field(init=False)
    tokens: Tokens = field(init=False, default_factory=Tokens)
    ledger: Ledger = field(init=False, default_factory=Ledger)
    traffic: Traffic = field(init=False, default_factory=Traffic)
    outages: Outages = field(init=False, default_factory=Outages)
    notifications: Notifications = field(init=False, default_factory=Notifications)
    invoices: dict[str, Invoice] = field(init=False, default_factory=dict)
    of_company: dict[str, list[Invoice]] = field(init=False, default_factory=dict)
    documents: dict[str, bytes] = field(init=False, default_factory=dict)
    document_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.companies = Companies(self.ready_companies)

    def reset(self) -> None:
        """Forget companies, tokens, invoices, ledger, traffic, outages and subscriptions.

        Knobs and script stay, the script's counts do not.
        """
        self.companies = Companies(self.ready_companies)
        self.tokens, self.ledger, self.notifications = Tokens(), Ledger(), Notifications()
        self.traffic, self.outages = Traffic(), Outages()
        self.invoices, self.of_company, self.documents, self.document_bytes = {}, {}, {}, 0
        self.script = Script(self.script.rules, self.script.seed, self.script.name)

    def hold(self, invoice: Invoice, content: bytes) -> None:
        """Take an invoice into the books, its bytes too while there is room."""
        self.invoices[invoice.id] = invoice
        self.of_company.setdefault(invoice.company_id, []).append(invoice)
        self.ledger.hold(invoice.id, company_id=invoice.company_id, sha256=invoice.sha256)
        if (
            self.document_bytes + len(content) <= self.knobs.document_bytes_kept
            and invoice.sha256 not in self.documents
        ):
            self.documents[invoice.sha256] = content
            self.document_bytes += len(content)
        self.announce(invoice, since=invoice.created_at)

    def totals(self) -> dict[str, object]:
        """Write the running totals of all there is to count."""
        return {**self.ledger.totals(), "arrivals": self.traffic.shown(), "outages": self.outages.shown()}

    def lose(self, invoice: Invoice) -> None:
        """Forget an invoice as if it had never come; only the ledger remembers. What lay ahead of it is off."""
        del self.invoices[invoice.id]
        theirs = self.of_company[invoice.company_id]
        for one in theirs:
            if one.id == invoice.id:
                one.steps = []
        self.of_company[invoice.company_id] = [one for one in theirs if one.id != invoice.id]
        self.ledger.lose(invoice.id)

    def divert(self, invoice: Invoice, steps: list[Step], now: float) -> None:
        """Put an invoice on another course and tell the subscribers what will happen on it."""
        invoice.divert(steps, now)
        self.announce(invoice, since=now)

    def announce(self, invoice: Invoice, *, since: float) -> None:
        """Plan the webhooks of what happens to an invoice from this moment on."""
        company = self.companies.get(invoice.company_id)
        if company is not None:
            self.notifications.plan(invoice, company, since)

    def status_of(self, uuid: str) -> str | None:
        """Tell the status of the invoice under a UUID, None if there is none."""
        invoice = self.invoices.get(uuid)
        return invoice.status(self.clock()) if invoice is not None else None

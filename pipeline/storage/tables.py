"""The tables, as SQLModel classes. Rows only: they validate nothing (table=True does not) and decide nothing.

The rules that the database itself keeps (legal moves, growing epochs, immutable documents) are in the migrations.
Batches: batch_tables.py; cases and what belongs to them: case_tables.py; what the fleet shares: fleet_tables.py.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from pipeline.domain.state import State

STATES_SQL = ", ".join(f"'{state.value}'" for state in State)
DUE_SQL = "state IN ('queued', 'waiting', 'in_doubt')"
OPEN_SQL = "state IN ('queued', 'sending', 'waiting', 'in_doubt', 'accepted', 'held')"
RESTING_SQL = (
    "state IN ('delivered', 'failed', 'refused', 'superseded', 'cancelled') "
    "AND look_at IS NULL AND route_at IS NULL AND lease_until IS NULL"
)
"""Nothing of ours will change it by itself any more."""


def instant(*, nullable: bool = False) -> Any:
    """Return a column of an aware instant."""
    return Column(DateTime(timezone=True), nullable=nullable)


def numbered(name: str) -> Any:
    """Return a column filled from a sequence: older servers know no identity on partitioned tables."""
    sequence = Sequence(name)
    return Column(BigInteger, sequence, server_default=sequence.next_value(), nullable=False)


class CompanyRow(SQLModel, table=True):
    """A company account at the operator, with its keys encrypted."""

    __tablename__ = "company"

    id: UUID = Field(primary_key=True)
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    user_api_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    vendor_api_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    scopes: str = Field(sa_column=Column(Text, nullable=False))
    hold_reason: str | None = Field(default=None, sa_column=Column(Text))
    hold_advice: str | None = Field(default=None, sa_column=Column(Text))
    """What a person can do about the hold."""
    held_since: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    checked_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    check_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When a held company is asked about again."""
    holds: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Holds in a row, without an acceptance between them."""
    looked_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the operator last answered a question about the status of its invoices."""
    look_failing_since: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    look_after: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """Before this the operator wants to be asked about none of its invoices."""
    errors_read_until: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """How far the partner error list was read with its keys."""
    weight: float = Field(default=1.0, sa_column_kwargs={"server_default": "1"})
    """Its share beside others: twice the weight, twice the invoices per round."""
    cap: int | None = None
    """At most so many of its invoices with workers at once."""
    deficit: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    """What deficit round robin still owes it, in invoices."""
    uploads_per_second: float | None = None
    reads_per_second: float | None = None
    keep_delivered_months: int | None = None
    """Records of what was finished well are dropped after so many months; none keeps them for ever."""
    keep_failed_months: int | None = None
    """The same for what was failed, refused or cancelled, and what took another's place or gave it up."""
    keep_documents_months: int | None = None
    """Documents of finished invoices are dropped after so many months, before their records."""
    created_at: datetime = Field(sa_column=instant())


class AccessTokenRow(SQLModel, table=True):
    """The shelf on which the whole fleet shares one token per company."""

    __tablename__ = "access_token"

    company_id: UUID = Field(primary_key=True, foreign_key="company.id")
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    token: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    scope: str = Field(default="", sa_column=Column(Text, nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    refresh_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    refreshing_until: datetime | None = Field(default=None, sa_column=instant(nullable=True))


class DocumentRow(SQLModel, table=True):
    """Bytes as submitted, in the month they came; not compressed, which would cost more than all else (decision 14)."""

    __tablename__ = "document"
    __table_args__: ClassVar[Any] = {"postgresql_partition_by": "RANGE (created_at)"}

    sha256: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))


class RemovalRow(SQLModel, table=True):
    """What was removed for good, when and by whom: counts and hashes, nothing of what it was about."""

    __tablename__ = "removal"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    """'retention' or 'expunged'."""
    company_id: UUID | None = Field(default=None, foreign_key="company.id")
    removed: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    removed_at: datetime = Field(sa_column=instant())
    removed_by: str = Field(sa_column=Column(Text, nullable=False))


class InvoiceKeyRow(SQLModel, table=True):
    """Every UUID there ever was, kept for ever: it makes a UUID unique on all shelves, and after its record is gone."""

    __tablename__ = "invoice_key"

    id: UUID = Field(primary_key=True)


class InvoiceRow(SQLModel, table=True):
    """One document to be sent for one company under one UUID.

    Shelf 0 (`invoice_open`) holds what may change soon, each other shelf what was finished in a month. The indexes
    that only open work needs are in storage/partitions.py.
    """

    __tablename__ = "invoice"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(f"state IN ({STATES_SQL})", name="invoice_state_known"),
        CheckConstraint(f"NOT ({DUE_SQL}) OR due_at IS NOT NULL", name="invoice_due_has_time"),
        CheckConstraint("state <> 'sending' OR lease_until IS NOT NULL", name="invoice_sending_has_lease"),
        CheckConstraint("state NOT IN ('held', 'refused') OR reason IS NOT NULL", name="invoice_stop_has_reason"),
        CheckConstraint(
            "state NOT IN ('accepted', 'delivered', 'failed') OR accepted_at IS NOT NULL",
            name="invoice_accepted_has_time",
        ),
        # One upload, refused, and another invoice found under the UUID (storage/cancelling.py): nothing of it arrived.
        CheckConstraint(
            "state <> 'cancelled' OR uploads = 0 OR (uploads = 1 AND refusal IS NOT NULL)",
            name="invoice_cancelled_never_left",
        ),
        CheckConstraint("priority BETWEEN 0 AND 9", name="invoice_priority_known"),
        CheckConstraint(
            "not_before IS NULL OR state NOT IN ('queued', 'waiting') OR due_at >= not_before",
            name="invoice_not_before",
        ),
        CheckConstraint(f"shelf = 0 OR ({RESTING_SQL})", name="invoice_shelved_rests"),
        CheckConstraint("shelf <> 0 OR document_at IS NOT NULL", name="invoice_open_knows_document"),
        PrimaryKeyConstraint("id", "shelf"),
        Index("invoice_submitted", "submitted_at", "id"),
        Index("invoice_number", "number"),
        Index("invoice_batch", "batch_id", "submitted_at", "id", postgresql_where=text("batch_id IS NOT NULL")),
        Index("invoice_supersedes", "supersedes", postgresql_where=text("supersedes IS NOT NULL")),
        {"postgresql_partition_by": "LIST (shelf)"},
    )
    # For the mapper a UUID is enough: it is unique on all shelves together, which `invoice_key` sees to.
    __mapper_args__: ClassVar[Any] = {"primary_key": ["id"]}

    id: UUID
    shelf: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """0 while it may change soon, then the month it was finished in: 202611."""
    company_id: UUID = Field(foreign_key="company.id")
    batch_id: int | None = Field(default=None, foreign_key="batch.id", sa_type=BigInteger)
    document_sha256: bytes
    document_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """Under which instant the document is kept; not known of what was finished before there were shelves."""
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    filename: str = Field(sa_column=Column(Text, nullable=False))
    reference: str | None = Field(default=None, sa_column=Column(Text))
    options: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))

    state: str = Field(sa_column=Column(Text, nullable=False))
    reason: str | None = Field(default=None, sa_column=Column(Text))
    held_for: str | None = Field(default=None, sa_column=Column(Text))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    lease_until: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    due_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    uploads: int = Field(default=0)
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """The number of its latest attempt."""
    begun_epoch: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    """The epoch under which a worker last began with it."""
    tries: int = Field(default=0)
    refusal: str | None = Field(default=None, sa_column=Column(Text))
    give_up_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    unfinished: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """How often its processing was begun and nobody lived to tell the end; raised before it begins."""
    deadline: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """By when it should be accepted; those with the earliest come first inside their company's share."""
    not_before: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """Before this it is never due; the guard of the table sees to it."""
    priority: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    """Inside its company's share the higher goes first, before any deadline; 0 is usual."""
    last_upload_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))

    operator_status: str | None = Field(default=None, sa_column=Column(Text))
    operator_state: int | None = Field(default=None, sa_column=Column(SmallInteger))
    """The finer state by the operator's numbers (pipeline.domain.state.OperatorState); information only."""
    channel: str | None = Field(default=None, sa_column=Column(Text))
    """By which channel the operator sends it, as far as it told: EINVOICE, EMAIL or PRINT."""
    seen_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the operator last showed it to us."""
    lost: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """How often the operator did not know it although it had accepted it."""
    route_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the router must see to its failure; none once a case holds it."""
    supersedes: UUID | None = Field(default=None, foreign_key="invoice_key.id")
    """The invoice in whose place this one was sent."""
    look_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    looks: int = Field(default=0)

    number: str | None = Field(default=None, sa_column=Column(Text))
    format: str = Field(sa_column=Column(Text, nullable=False))
    issue_date: date | None = None
    total: Decimal | None = Field(default=None, sa_column=Column(Numeric))
    currency: str | None = Field(default=None, sa_column=Column(Text))
    seller_name: str | None = Field(default=None, sa_column=Column(Text))
    buyer_name: str | None = Field(default=None, sa_column=Column(Text))

    submitted_at: datetime = Field(sa_column=instant())
    accepted_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    changed_at: datetime = Field(sa_column=instant())


class AttemptRow(SQLModel, table=True):
    """One HTTP exchange about an invoice, written before it begins. No outcome means that nobody lived to tell."""

    __tablename__ = "attempt"
    __table_args__: ClassVar[Any] = (
        PrimaryKeyConstraint("invoice_id", "id", "started_at"),
        {"postgresql_partition_by": "RANGE (started_at)"},
    )

    id: int = Field(sa_column=numbered("attempt_id_seq"))
    invoice_id: UUID
    number: int
    kind: str = Field(sa_column=Column(Text, nullable=False))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    started_at: datetime = Field(sa_column=instant())
    finished_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    outcome: str | None = Field(default=None, sa_column=Column(Text))
    http_status: int | None = None
    error_code: str | None = Field(default=None, sa_column=Column(Text))
    message: str | None = Field(default=None, sa_column=Column(Text))


class EventRow(SQLModel, table=True):
    """One fact in the life of an invoice, with its cause in words."""

    __tablename__ = "event"
    __table_args__: ClassVar[Any] = (
        PrimaryKeyConstraint("invoice_id", "id", "at"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: int = Field(sa_column=numbered("event_id_seq"))
    invoice_id: UUID
    at: datetime = Field(sa_column=instant())
    kind: str = Field(sa_column=Column(Text, nullable=False))
    source: str | None = Field(default=None, sa_column=Column(Text))
    target: str = Field(sa_column=Column(Text, nullable=False))
    cause: str = Field(sa_column=Column(Text, nullable=False))


class TransitionRow(SQLModel, table=True):
    """The legal moves, as the trigger of the invoice table reads them."""

    __tablename__ = "transition"

    source: str = Field(sa_column=Column(Text, primary_key=True))
    target: str = Field(sa_column=Column(Text, primary_key=True))

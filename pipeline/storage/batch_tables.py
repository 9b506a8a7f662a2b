"""The tables of batches: what was submitted together under a name, and the changes not yet added to its counters."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, Text, text
from sqlmodel import Field, SQLModel

from pipeline.storage.tables import instant

BALANCED_SQL = "total = delivered + failed + open + held + cancelled + superseded"


def counter() -> Any:
    """Return a field that counts."""
    return Field(default=0, sa_type=BigInteger, nullable=False, sa_column_kwargs={"server_default": "0"})


class Counted(SQLModel):
    """How many invoices there are, and where they stand: together they are the total."""

    total: int = counter()
    delivered: int = counter()
    failed: int = counter()
    """Refused ones too."""
    open: int = counter()
    held: int = counter()
    cancelled: int = counter()
    superseded: int = counter()


class BatchRow(Counted, table=True):
    """Invoices submitted together under a name. Its counters lack what is still in `batch_delta`."""

    __tablename__ = "batch"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(BALANCED_SQL, name="batch_balances"),
        CheckConstraint("completed_at IS NULL OR closed_at IS NOT NULL", name="batch_completed_was_closed"),
        Index("batch_company_name", "company_id", "name", unique=True),
        Index("batch_going_on", "id", postgresql_where=text("completed_at IS NULL")),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    company_id: UUID = Field(foreign_key="company.id")
    name: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=instant())
    not_before: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """The latest earliest moment among its invoices."""
    submitted_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When its last invoice came."""
    closed_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """Since when no more is expected under its name."""
    completed_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When it was closed and nothing of it was open or held for the first time; never changes."""
    completed_total: int | None = Field(default=None, sa_column=Column(BigInteger))
    """How many invoices it had then."""


class BatchDeltaRow(Counted, table=True):
    """What one statement changed about a batch; added to its counters later, so that nobody waits for another."""

    __tablename__ = "batch_delta"
    __table_args__: ClassVar[Any] = (CheckConstraint(BALANCED_SQL, name="batch_delta_balances"),)

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    batch_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    not_before: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    submitted_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))

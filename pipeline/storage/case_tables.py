"""The tables of following and routing, as SQLModel classes: cases, ways out, the operator's actions, alarms, counters.

Rows only, as in tables.py. The triggers that keep the counters are in migration 0002.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from pipeline.storage.tables import instant

CASE_STATUSES = ("open", "under_way", "resolved", "closed")
WAY_STATUSES = ("planned", "begun", "unclear", "done", "refused", "undone", "skipped")
LIVE_WAY_SQL = "status IN ('planned', 'begun', 'unclear')"


def _text(*, nullable: bool = False) -> Any:
    return Column(Text, nullable=nullable)


def _identity() -> Any:
    return Column(BigInteger, Identity(always=True), primary_key=True)


class CaseRow(SQLModel, table=True):
    """A failed invoice on its way through the reroute-or-resend queue; it goes over to the successor of a resend."""

    __tablename__ = "route_case"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(f"status IN {CASE_STATUSES}", name="route_case_status_known"),
        CheckConstraint("status <> 'closed' OR closed_reason IS NOT NULL", name="route_case_closed_has_reason"),
        Index("route_case_invoice", "invoice_id", unique=True),
        Index("route_case_decide", "decide_at", postgresql_where=text("decide_at IS NOT NULL")),
        Index("route_case_open", "owner", "company_id", postgresql_where=text("status = 'open'")),
        Index("route_case_opened", "opened_at", "id"),
    )

    id: int = Field(sa_column=_identity())
    company_id: UUID = Field(foreign_key="company.id")
    invoice_id: UUID = Field(foreign_key="invoice_key.id")
    status: str = Field(sa_column=_text())
    round: int
    """How often it has failed, the first time included."""
    cause: str = Field(sa_column=_text())
    owner: str = Field(sa_column=_text())
    verdict: str = Field(sa_column=_text())
    verdict_version: str = Field(sa_column=_text())
    words: str = Field(sa_column=_text())
    advice: str = Field(sa_column=_text())
    ways: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    failed_at: datetime = Field(sa_column=instant())
    decide_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the rules are asked; none when a person is."""
    plan: str | None = Field(default=None, sa_column=_text(nullable=True))
    """What is going to happen, or why a person is asked."""
    opened_at: datetime = Field(sa_column=instant())
    changed_at: datetime = Field(sa_column=instant())
    closed_reason: str | None = Field(default=None, sa_column=_text(nullable=True))


class FailureRow(SQLModel, table=True):
    """One failure of one invoice as the operator told it, and how it was judged then."""

    __tablename__ = "failure"
    __table_args__: ClassVar[Any] = (
        Index("failure_case", "case_id", "id"),
        Index("failure_invoice", "invoice_id"),
        Index("failure_at", "at"),
    )

    id: int = Field(sa_column=_identity())
    case_id: int = Field(foreign_key="route_case.id", sa_type=BigInteger)
    invoice_id: UUID = Field(foreign_key="invoice_key.id")
    at: datetime = Field(sa_column=instant())
    refused: bool
    told: str | None = Field(default=None, sa_column=_text(nullable=True))
    key: str | None = Field(default=None, sa_column=_text(nullable=True))
    channel: str | None = Field(default=None, sa_column=_text(nullable=True))
    code: str | None = Field(default=None, sa_column=_text(nullable=True))
    cause: str = Field(sa_column=_text())
    owner: str = Field(sa_column=_text())
    verdict: str = Field(sa_column=_text())
    verdict_version: str = Field(sa_column=_text())


class WayOutRow(SQLModel, table=True):
    """The intent to take a way out of a case, committed before anything is asked of the operator."""

    __tablename__ = "way_out"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(f"status IN {WAY_STATUSES}", name="way_out_status_known"),
        CheckConstraint("status <> 'begun' OR lease_until IS NOT NULL", name="way_out_begun_has_lease"),
        Index("way_out_live", "case_id", unique=True, postgresql_where=text(LIVE_WAY_SQL)),
        Index("way_out_due", "not_before", postgresql_where=text(LIVE_WAY_SQL)),
        Index("way_out_case", "case_id", "id"),
        Index("way_out_invoice", "invoice_id"),
        Index("way_out_order", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    )

    id: int = Field(sa_column=_identity())
    case_id: int = Field(foreign_key="route_case.id", sa_type=BigInteger)
    invoice_id: UUID = Field(foreign_key="invoice_key.id")
    kind: str = Field(sa_column=_text())
    fields: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    chosen_by: str = Field(sa_column=_text())
    reason: str | None = Field(default=None, sa_column=_text(nullable=True))
    order_id: int | None = Field(default=None, foreign_key="route_order.id", sa_type=BigInteger)
    document_sha256: bytes | None = None
    """The corrected document of a resend; none sends the same bytes."""
    document_filename: str | None = Field(default=None, sa_column=_text(nullable=True))
    successor_id: UUID | None = None
    """Minted with the intent of a resend."""
    status: str = Field(sa_column=_text())
    not_before: datetime = Field(sa_column=instant())
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    lease_until: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    asked: int = Field(default=0)
    """How often the change was asked of the operator."""
    asked_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    actions_before: int | None = None
    """How many actions the operator had noted before it was asked the first time."""
    planned_at: datetime = Field(sa_column=instant())
    finished_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    outcome: str | None = Field(default=None, sa_column=_text(nullable=True))


class RouteOrderRow(SQLModel, table=True):
    """What a person ordered for many cases at once: one canary first, then the rest, with time to undo it."""

    __tablename__ = "route_order"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("status IN ('canary', 'running', 'done', 'stopped', 'undone')", name="route_order_known"),
        Index("route_order_live", "id", postgresql_where=text("status IN ('canary', 'running')")),
    )

    id: int = Field(sa_column=_identity())
    kind: str = Field(sa_column=_text())
    chosen: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    """The filter and fields as given, to be shown."""
    status: str = Field(sa_column=_text())
    why: str | None = Field(default=None, sa_column=_text(nullable=True))
    canary_id: int | None = Field(default=None, sa_type=BigInteger)
    canary_until: datetime = Field(sa_column=instant())
    undo_until: datetime = Field(sa_column=instant())
    per_minute: int
    created_at: datetime = Field(sa_column=instant())


class OperatorActionRow(SQLModel, table=True):
    """What the operator noted about an invoice, verbatim, once."""

    __tablename__ = "operator_action"
    __table_args__: ClassVar[Any] = (
        Index(
            "operator_action_once",
            "invoice_id",
            "happened_at",
            "type",
            "key",
            "channel",
            "message",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: int = Field(sa_column=_identity())
    invoice_id: UUID = Field(foreign_key="invoice_key.id")
    happened_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    type: str = Field(sa_column=_text())
    channel: str | None = Field(default=None, sa_column=_text(nullable=True))
    key: str | None = Field(default=None, sa_column=_text(nullable=True))
    message: str | None = Field(default=None, sa_column=_text(nullable=True))
    read_at: datetime = Field(sa_column=instant())


class AlarmRow(SQLModel, table=True):
    """Something a person must hear of, from when it was raised until it ended."""

    __tablename__ = "alarm"
    __table_args__ = (
        Index("alarm_once", "kind", "subject", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("alarm_company", "company_id", postgresql_where=text("ended_at IS NULL")),
    )

    id: int = Field(sa_column=_identity())
    kind: str = Field(sa_column=_text())
    subject: str = Field(sa_column=_text())
    """What it is about: the UUID of an invoice or company, or the name of a sweep."""
    company_id: UUID | None = Field(default=None, foreign_key="company.id")
    invoice_id: UUID | None = Field(default=None, foreign_key="invoice_key.id")
    told: str = Field(sa_column=_text())
    raised_at: datetime = Field(sa_column=instant())
    ended_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))


class WebhookRow(SQLModel, table=True):
    """Where a company's webhooks are received: the secret part of the path, encrypted and as its hash."""

    __tablename__ = "webhook"
    __table_args__ = (Index("webhook_secret", "secret_sha256", unique=True),)

    company_id: UUID = Field(primary_key=True, foreign_key="company.id")
    secret: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    secret_sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    base_url: str = Field(sa_column=_text())
    subscription_id: str | None = Field(default=None, sa_column=_text(nullable=True))
    created_at: datetime = Field(sa_column=instant())
    heard_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))


class TallyRow(SQLModel, table=True):
    """How many invoices or cases of a company and batch stand under a name; 0 is no batch."""

    __tablename__ = "tally"

    subject: str = Field(sa_column=Column(Text, primary_key=True))
    """'invoice' (name: its state) or 'case' (name: status/owner)."""
    company_id: UUID = Field(primary_key=True)
    batch_id: int = Field(sa_column=Column(BigInteger, primary_key=True))
    name: str = Field(sa_column=Column(Text, primary_key=True))
    n: int = Field(sa_column=Column(BigInteger, nullable=False))


class TallyDeltaRow(SQLModel, table=True):
    """A change not yet folded into its tally: appended, never updated, so that no worker waits for another."""

    __tablename__ = "tally_delta"

    id: int = Field(sa_column=_identity())
    subject: str = Field(sa_column=_text())
    company_id: UUID
    batch_id: int = Field(sa_type=BigInteger)
    name: str = Field(sa_column=_text())
    n: int = Field(sa_column=Column(BigInteger, nullable=False))

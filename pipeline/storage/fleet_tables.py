"""The tables of what all processes share: leases, pace, circuits, and where the installation may send from.

Rows only, as in tables.py.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Identity, Text
from sqlmodel import Field, SQLModel

from pipeline.storage.tables import instant


class LeaseRow(SQLModel, table=True):
    """A task of which only one may run in the whole fleet, and how often it was rung for."""

    __tablename__ = "lease"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    holder: UUID | None = None
    until: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    rung_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    taken_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the round that was begun last was begun."""
    done_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the round that was completed last was begun."""
    rung: int = Field(sa_column=Column(BigInteger, nullable=False))


class PaceRow(SQLModel, table=True):
    """How fast the fleet may go and goes: for a host of the operator or a company, uploads and reads apart."""

    __tablename__ = "pace"

    scope: str = Field(sa_column=Column(Text, primary_key=True))
    """The operator's host, or the UUID of a company."""
    lane: str = Field(sa_column=Column(Text, primary_key=True))
    next_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """The next turn nobody has taken."""
    blocked_until: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """What the operator's Retry-After asked of all."""
    rate: float | None = None
    """The limit found out by what the operator refused, per second; None while it refused nothing."""
    noise: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    """The share of refusals that stays whatever the rate (pipeline.domain.pace_learning)."""
    refused_rate: float | None = None
    """What the operator let through when it last refused."""
    refused_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    window_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """Since when the two counters below count."""
    answered: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    throttled: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    speed: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    """Answers per second, smoothed."""
    speed_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))


class CircuitRow(SQLModel, table=True):
    """Whether the operator's host, or the operator for one company, is being left alone."""

    __tablename__ = "circuit"

    scope: str = Field(sa_column=Column(Text, primary_key=True))
    state: str = Field(sa_column=Column(Text, nullable=False))
    since: datetime = Field(sa_column=instant())
    retry_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When one canary may ask."""
    canary_until: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """While a canary is under way nobody else begins anything."""
    trips: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Openings in a row without a full recovery between them."""
    evidence: str | None = Field(default=None, sa_column=Column(Text))
    """In words, for a person."""
    window_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    answered: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    failed: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    answered_at: datetime | None = Field(default=None, sa_column=instant(nullable=True))
    """When the operator answered last, as far as it was noted."""


class ArmingRow(SQLModel, table=True):
    """Where the installation may send from, since when and by whom; the newest row counts (pipeline.domain.arming)."""

    __tablename__ = "arming"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    server: str = Field(sa_column=Column(Text, nullable=False))
    database: str = Field(sa_column=Column(Text, nullable=False))
    environment: str = Field(sa_column=Column(Text, nullable=False))
    operator_host: str = Field(sa_column=Column(Text, nullable=False))
    key_mark: str | None = Field(default=None, sa_column=Column(Text))
    seal: str | None = Field(default=None, sa_column=Column(Text))
    """Over all of the above, keyed with the instance key; none until the first arming."""
    armed_at: datetime = Field(sa_column=instant())
    armed_by: str = Field(sa_column=Column(Text, nullable=False))

"""Which cases a command is about: named one by one, or chosen by a filter. Changes nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from sqlmodel import Session

from pipeline.cli.cases_since import read_since
from pipeline.domain.cause import Cause, Owner
from pipeline.domain.errors import ConfigurationError, InvalidInputError
from pipeline.storage.cases import CaseFilter, CaseView, list_cases, read_case
from pipeline.storage.companies import find_company

LARGEST_NUMBER = 2**63 - 1
"""What the database can number cases with."""
ORDER = re.compile(r"order-([0-9]{1,18})", re.ASCII)
CHOOSE = "Choose by filter"

CauseOption = Annotated[Cause | None, typer.Option("--cause", help="Only with this cause.", rich_help_panel=CHOOSE)]
OwnerOption = Annotated[Owner | None, typer.Option("--owner", help="Only in this lane.", rich_help_panel=CHOOSE)]
CompanyOption = Annotated[
    str | None, typer.Option("--company", help="Only of this company (UUID or name).", rich_help_panel=CHOOSE)
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Failed since: a date, or 90d, 12h.", rich_help_panel=CHOOSE)
]
BatchOption = Annotated[str | None, typer.Option("--batch", help="Only of this batch.", rich_help_panel=CHOOSE)]
VerdictOption = Annotated[
    str | None, typer.Option("--verdict", help="Only judged by this verdict row.", rich_help_panel=CHOOSE)
]


class CaseStatus(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    UNDER_WAY = "under_way"
    RESOLVED = "resolved"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter as given; what is None does not matter."""

    cause: Cause | None = None
    owner: Owner | None = None
    company: str | None = None
    since: str | None = None
    batch: str | None = None
    verdict: str | None = None

    def as_json(self) -> dict[str, str]:
        """Return what was given."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}

    def read(self, session: Session, *, now: datetime, status: CaseStatus | None, limit: int | None) -> CaseFilter:
        """Return the filter with its company found and its instant read."""
        return CaseFilter(
            cause=self.cause.value if self.cause else None,
            owner=self.owner.value if self.owner else None,
            company_id=find_company(session, self.company).id if self.company is not None else None,
            since=read_since(self.since, now=now) if self.since is not None else None,
            batch=self.batch,
            verdict=self.verdict,
            status=status.value if status else None,
            limit=limit,
        )


def choose_cases(session: Session, names: Sequence[str], chosen: Filter, *, now: datetime) -> list[CaseView]:
    """Return the cases that are named, or those that fit and are not at their end.

    Raises: ConfigurationError (wrong usage) when neither or both are given; InvalidInputError for an unknown one.
    """
    if names and chosen.as_json():
        raise ConfigurationError("name the cases, or choose them by filter; not both at once")
    if names:
        return [read_case(session, read_name(name)).case for name in names]
    if not chosen.as_json():
        raise ConfigurationError("which cases? name them, or choose by --cause, --owner, --company, --since, --batch")
    wanted = chosen.read(session, now=now, status=CaseStatus.OPEN, limit=None)
    # What is under way is told as skipped; what has ended long ago is not worth a line each.
    return list_cases(session, wanted) + list_cases(session, replace(wanted, status=CaseStatus.UNDER_WAY.value))


def read_name(name: str) -> int | UUID:
    """Read a case's number, or the UUID of an invoice in it. Raises: ConfigurationError, InvalidInputError."""
    if name.isascii() and name.isdecimal():
        if int(name) > LARGEST_NUMBER:
            raise InvalidInputError(f"there is no case {name}: list them with `postiljon cases list`")
        return int(name)
    try:
        return UUID(name)
    except ValueError:
        raise ConfigurationError(f"{name!r} is neither the number of a case nor a UUID") from None


def read_order_name(name: str) -> int | None:
    """Read the number of an order from `order-12`; None when it names no order."""
    found = ORDER.fullmatch(name)
    return int(found.group(1)) if found else None

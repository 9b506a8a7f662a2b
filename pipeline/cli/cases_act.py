"""`postiljon cases reroute|resend|retry|close`: what a person can do about failed invoices, one or many."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from pipeline.cli.cases_choice import (
    BatchOption,
    CauseOption,
    CompanyOption,
    Filter,
    OwnerOption,
    SinceOption,
    VerdictOption,
)
from pipeline.cli.cases_order import Manner, take, who_asks
from pipeline.cli.output import JsonOption, friendly_errors
from pipeline.domain.document import Document, DocumentLimits, inspect
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.way import Way
from pipeline.services.gather import Found, Unreadable, gather
from pipeline.services.orders import Wish
from pipeline.settings import load_settings
from pipeline.storage.database import is_storable

PACE = "Many at once"
TO = "Where to (wins over what the document says)"
REASON_LIMIT = 500
"""Characters: a reason is a line, not a letter."""

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[CASE|UUID]...", help="Cases by number, or by the UUID of an invoice.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for those who read the story later.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Stop after the preview.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")]
PerMinuteOption = Annotated[
    int | None,
    typer.Option("--per-minute", min=1, max=6000, help="So many a minute; else as in the rules.", rich_help_panel=PACE),
]
UndoWindowOption = Annotated[
    str | None,
    typer.Option("--undo-window", help="How long the rest waits: 10m, 0s; else as in the rules.", rich_help_panel=PACE),
]


class Target(StrEnum):
    """Where a reroute leads."""

    EINVOICE = "einvoice"
    EMAIL = "email"
    PRINT = "print"


def _to(name: str, text: str) -> object:
    return typer.Option(name, help=text, rich_help_panel=TO)


def reroute(
    to: Annotated[Target, typer.Option("--to", help="By which way the operator sends it instead.")],
    cases: NamesArgument = None,
    eia: Annotated[str | None, _to("--eia", "E-invoice address.")] = None,
    operator: Annotated[str | None, _to("--operator", "The recipient's operator, for einvoice.")] = None,
    email: Annotated[str | None, _to("--email", "E-mail address.")] = None,
    name: Annotated[str | None, _to("--name", "Name on the letter.")] = None,
    address1: Annotated[str | None, _to("--address1", "Street or box; takes the document's second line away.")] = None,
    address2: Annotated[str | None, _to("--address2", "Second line of the address.")] = None,
    post_code: Annotated[str | None, _to("--post-code", "Post code.")] = None,
    post_office: Annotated[str | None, _to("--post-office", "Town.")] = None,
    state: Annotated[str | None, _to("--state", "State or province, where there are any.")] = None,
    country: Annotated[str | None, _to("--country", "Country, two letters.")] = None,
    cause: CauseOption = None,
    owner: OwnerOption = None,
    company: CompanyOption = None,
    since: SinceOption = None,
    batch: BatchOption = None,
    verdict: VerdictOption = None,
    reason: ReasonOption = None,
    per_minute: PerMinuteOption = None,
    undo_window: UndoWindowOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the operator send failed invoices by another way: previewed first, many behind a canary."""
    given = {
        "recipient_eia": eia,
        "recipient_operator": operator,
        "recipient_email": email,
        "recipient_name": name,
        "recipient_address1": address1,
        "recipient_address2": address2,
        "recipient_post_code": post_code,
        "recipient_post_office": post_office,
        "recipient_state": state,
        "recipient_country": country,
    }
    fields = {field: value for field, value in given.items() if value is not None}
    if address1 is not None:
        # A letter must not go to half of the new address and half of the old one.
        fields = {"recipient_address2": "", "recipient_state": "", **fields}
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, per_minute=per_minute, undo_window=undo_window)
    chosen = Filter(cause=cause, owner=owner, company=company, since=since, batch=batch, verdict=verdict)
    with friendly_errors():
        wish = Wish(way=Way(to.value), fields=fields, reason=_reason(reason), chosen_by=who_asks())
        take(cases or (), chosen, wish, manner)


def resend(
    cases: NamesArgument = None,
    document: Annotated[
        str | None, typer.Option("--document", help="The corrected document (one case); else the same bytes again.")
    ] = None,
    cause: CauseOption = None,
    owner: OwnerOption = None,
    company: CompanyOption = None,
    since: SinceOption = None,
    batch: BatchOption = None,
    verdict: VerdictOption = None,
    reason: ReasonOption = None,
    per_minute: PerMinuteOption = None,
    undo_window: UndoWindowOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send failed invoices as new ones, each under a new UUID that takes the place of the old one."""
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, per_minute=per_minute, undo_window=undo_window)
    chosen = Filter(cause=cause, owner=owner, company=company, since=since, batch=batch, verdict=verdict)
    with friendly_errors():
        corrected = _read_document(document) if document is not None else None
        wish = Wish(way=Way.RESEND, reason=_reason(reason), chosen_by=who_asks(), document=corrected)
        take(cases or (), chosen, wish, manner)


def retry(
    cases: NamesArgument = None,
    cause: CauseOption = None,
    owner: OwnerOption = None,
    company: CompanyOption = None,
    since: SinceOption = None,
    batch: BatchOption = None,
    verdict: VerdictOption = None,
    reason: ReasonOption = None,
    per_minute: PerMinuteOption = None,
    undo_window: UndoWindowOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send refused invoices once more, the same bytes under the same UUID; the operator is asked first."""
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json, per_minute=per_minute, undo_window=undo_window)
    chosen = Filter(cause=cause, owner=owner, company=company, since=since, batch=batch, verdict=verdict)
    with friendly_errors():
        take(cases or (), chosen, Wish(way=Way.RETRY, reason=_reason(reason), chosen_by=who_asks()), manner)


def close(
    reason: Annotated[str, typer.Option("--reason", help="Why nothing more is done, for those who read it later.")],
    cases: NamesArgument = None,
    cause: CauseOption = None,
    owner: OwnerOption = None,
    company: CompanyOption = None,
    since: SinceOption = None,
    batch: BatchOption = None,
    verdict: VerdictOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Close cases for good, with a reason: nothing more is done about their invoices."""
    chosen = Filter(cause=cause, owner=owner, company=company, since=since, batch=batch, verdict=verdict)
    with friendly_errors():
        wish = Wish(way=Way.CLOSE, reason=_reason(reason), chosen_by=who_asks())
        take(cases or (), chosen, wish, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


def _reason(given: str | None) -> str | None:
    if given is None:
        return None
    reason = " ".join(given.split())
    if not 0 < len(reason) <= REASON_LIMIT or not is_storable(reason):
        raise ConfigurationError(f"--reason is a text of 1 to {REASON_LIMIT} characters")
    return reason


def _read_document(path: str) -> Document:
    """Read and check a corrected document. Raises: DocumentError; ConfigurationError when it is not one file."""
    limits = DocumentLimits(max_bytes=load_settings().max_document_bytes)
    found = list(gather([path], stdin=sys.stdin.buffer, limits=limits))
    for each in found:
        if isinstance(each, Unreadable):
            raise each.error
    files = [each for each in found if isinstance(each, Found)]
    if len(files) != 1:
        raise ConfigurationError(f"--document is one file, but {path} stands for {len(files)}")
    return inspect(files[0].read(), filename=files[0].name, limits=limits)

"""Everything the operator can be asked or told about a company and its invoices, but for uploads and probes.

Each call gives the typed answer or an outcome. Knows nothing of when to call.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

from pydantic import TypeAdapter

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome
from pipeline.maventa.caller import Caller
from pipeline.maventa.probing import CURRENT, IDS_LIMIT, INVOICE, INVOICES, OK
from pipeline.maventa.schemas import (
    QUERY_ARRAY_SUFFIX,
    Action,
    ActionType,
    CompanyAuthorization,
    InvoiceAnswer,
    Notification,
    OAuthCurrent,
    OutboundError,
    ReturnFormat,
)
from pipeline.maventa.verdict import Phase, judge_unreadable
from pipeline.maventa.wire import Answer, Question

T = TypeVar("T")

_ACTIONS = TypeAdapter(tuple[Action, ...])
_AUTHORIZATION = TypeAdapter(CompanyAuthorization)
_NOTIFICATION = TypeAdapter(Notification)
_NOTIFICATIONS = TypeAdapter(tuple[Notification, ...])
_OUTBOUND_ERRORS = TypeAdapter(tuple[OutboundError, ...])
_NO_CONTENT = frozenset({200, 202, 204})
_CREATED = frozenset({200, 201})


@dataclass(frozen=True, kw_only=True)
class InvoiceFilter:
    """Which invoices to list. Instants are aware UTC; the created ones are for sent invoices."""

    direction: Literal["SENT", "RECEIVED"] = "SENT"
    status: tuple[Literal["PENDING", "DELIVERED", "FAILED"], ...] = ()
    ids: tuple[UUID, ...] = ()
    number: str | None = None
    reference: str | None = None
    received_at_start: datetime | None = None
    received_at_end: datetime | None = None
    created_at_start: datetime | None = None
    created_at_end: datetime | None = None
    sort: tuple[Literal["received_at", "-received_at"], ...] = ()

    def query(self) -> tuple[tuple[str, str], ...]:
        """Return the filter in wire form, without the page."""
        arrays = (("status", self.status), ("ids", self.ids), ("sort", self.sort))
        single = ("number", "reference", "received_at_start", "received_at_end", "created_at_start", "created_at_end")
        return (
            ("direction", self.direction),
            *((f"{name}{QUERY_ARRAY_SUFFIX}", str(value)) for name, values in arrays for value in values),
            *((name, _text(getattr(self, name))) for name in single if getattr(self, name) is not None),
        )


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of invoices. `next_page` is None on the last one."""

    invoices: tuple[InvoiceAnswer, ...]
    next_page: int | None


class ReadingCalls:
    """The calls that need nothing but a caller."""

    def __init__(self, caller: Caller) -> None:
        """Keep the caller."""
        self._caller = caller

    async def list_invoices(
        self,
        credentials: CompanyCredentials,
        chosen: InvoiceFilter = InvoiceFilter(),
        *,
        page: int = 1,
        per_page: int = IDS_LIMIT,
    ) -> Page | Outcome:
        """Read one page of invoices."""
        query = (*chosen.query(), ("page", str(page)), ("per_page", str(per_page)))
        answer = await self._get(credentials, "/v1/invoices", query)
        if isinstance(answer, Outcome):
            return answer
        rows = answer.parse(INVOICES)
        if rows is None:
            return judge_unreadable(Phase.READ, answer.status, why="the operator's list cannot be read")
        readable = tuple(row for row in rows if row is not None)
        return Page(invoices=readable, next_page=_next_page(answer, page=page, full=len(rows) >= per_page))

    async def show(self, credentials: CompanyCredentials, uuid: UUID) -> InvoiceAnswer | Outcome:
        """Read one invoice."""
        return _read(await self._get(credentials, f"/v1/invoices/{uuid}"), INVOICE)

    async def show_as(
        self, credentials: CompanyCredentials, uuid: UUID, *, return_format: ReturnFormat
    ) -> bytes | Outcome:
        """Read one invoice in another format, or its image: the bytes as they came."""
        question = Question(
            method="GET", path=f"/v1/invoices/{uuid}", query=(("return_format", return_format),), accept="*/*"
        )
        return _body(await self._caller.ask(credentials, question, phase=Phase.READ, success=OK))

    async def actions(
        self, credentials: CompanyCredentials, uuid: UUID, *, types: Sequence[ActionType] = ()
    ) -> tuple[Action, ...] | Outcome:
        """Read what happened to an invoice; without types the operator leaves INFO out."""
        query = tuple((f"type{QUERY_ARRAY_SUFFIX}", kind) for kind in types)
        return _read(await self._get(credentials, f"/v1/invoices/{uuid}/actions", query), _ACTIONS)

    async def file(self, credentials: CompanyCredentials, uuid: UUID, file_id: str) -> bytes | Outcome:
        """Read a file of an invoice."""
        path = f"/v1/invoices/{uuid}/files/{quote(file_id, safe='')}"
        question = Question(method="GET", path=path, accept="*/*")
        return _body(await self._caller.ask(credentials, question, phase=Phase.READ, success=OK))

    async def reroute_einvoice(
        self, credentials: CompanyCredentials, uuid: UUID, *, recipient_eia: str, recipient_operator: str
    ) -> Outcome | None:
        """Send the invoice on by e-invoice. None = taken; not known to be idempotent."""
        body = {"recipient_eia": recipient_eia, "recipient_operator": recipient_operator}
        return await self._change(credentials, "PUT", f"/v1/invoices/{uuid}/reroute/einvoice", body)

    async def reroute_email(
        self, credentials: CompanyCredentials, uuid: UUID, *, recipient_email: str
    ) -> Outcome | None:
        """Send the invoice on by e-mail. None = taken; not known to be idempotent."""
        body = {"recipient_email": recipient_email}
        return await self._change(credentials, "PUT", f"/v1/invoices/{uuid}/reroute/email", body)

    async def reroute_print(
        self,
        credentials: CompanyCredentials,
        uuid: UUID,
        *,
        recipient_name: str,
        recipient_address1: str,
        recipient_post_code: str,
        recipient_post_office: str,
        recipient_country: str,
        recipient_address2: str | None = None,
        recipient_state: str | None = None,
    ) -> Outcome | None:
        """Send the invoice on as a letter; the country in two letters. None = taken; not known to be idempotent."""
        body = {
            "recipient_name": recipient_name,
            "recipient_address1": recipient_address1,
            "recipient_address2": recipient_address2,
            "recipient_post_code": recipient_post_code,
            "recipient_post_office": recipient_post_office,
            "recipient_state": recipient_state,
            "recipient_country": recipient_country,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return await self._change(credentials, "PUT", f"/v1/invoices/{uuid}/reroute/print", given)

    async def company_authorization(self, credentials: CompanyCredentials) -> CompanyAuthorization | Outcome:
        """Read whether the company may send."""
        return _read(await self._get(credentials, "/v1/company/authorization"), _AUTHORIZATION)

    async def oauth_current(self, credentials: CompanyCredentials) -> OAuthCurrent | Outcome:
        """Read who the company's token belongs to and what it may do."""
        return _read(await self._get(credentials, "/oauth2/current"), CURRENT)

    async def notifications(self, credentials: CompanyCredentials) -> tuple[Notification, ...] | Outcome:
        """Read the webhook subscriptions."""
        return _read(await self._get(credentials, "/v1/company/notifications"), _NOTIFICATIONS)

    async def notification(self, credentials: CompanyCredentials, notification_id: str) -> Notification | Outcome:
        """Read one webhook subscription."""
        return _read(await self._get(credentials, _notification_path(notification_id)), _NOTIFICATION)

    async def create_notification(
        self,
        credentials: CompanyCredentials,
        *,
        destination: str,
        events: Sequence[str],
        destination_type: Literal["WEBHOOK", "VENDOR_WEBHOOK"] = "WEBHOOK",
        vendor_key: str | None = None,
    ) -> Notification | Outcome:
        """Subscribe a URL to events."""
        body: dict[str, object] = {
            "destination_type": destination_type,
            "destination": destination,
            "events": list(events),
        }
        if vendor_key is not None:
            body["vendor_key"] = vendor_key
        question = _json_question("POST", "/v1/company/notifications", body)
        return _read(
            await self._caller.ask(credentials, question, phase=Phase.CHANGE, success=_CREATED),
            _NOTIFICATION,
            phase=Phase.CHANGE,
        )

    async def delete_notification(self, credentials: CompanyCredentials, notification_id: str) -> Outcome | None:
        """End a webhook subscription. None = done."""
        return await self._change(credentials, "DELETE", _notification_path(notification_id), None)

    async def resend_unacknowledged(self, credentials: CompanyCredentials) -> Outcome | None:
        """Ask for all unacknowledged webhooks again, at a later point. None = taken; experimental at the operator."""
        return await self._change(credentials, "POST", "/v1/company/notifications_resend_unacknowledged", {})

    async def outbound_errors(
        self,
        credentials: CompanyCredentials,
        *,
        happened_after: datetime,
        happened_before: datetime | None = None,
        page: int = 1,
    ) -> tuple[OutboundError, ...] | Outcome:
        """Read one page (100) of sending failures across a partner's companies."""
        query = [("happened_after", _text(happened_after)), ("page", str(page)), ("per_page", str(IDS_LIMIT))]
        if happened_before is not None:
            query.append(("happened_before", _text(happened_before)))
        path = "/v1/partner/invoice_delivery_actions/outbound_errors"
        return _read(await self._get(credentials, path, tuple(query)), _OUTBOUND_ERRORS)

    async def _get(
        self, credentials: CompanyCredentials, path: str, query: tuple[tuple[str, str], ...] = ()
    ) -> Answer | Outcome:
        question = Question(method="GET", path=path, query=query)
        return await self._caller.ask(credentials, question, phase=Phase.READ, success=OK)

    async def _change(
        self, credentials: CompanyCredentials, method: str, path: str, body: Mapping[str, object] | None
    ) -> Outcome | None:
        question = Question(method=method, path=path) if body is None else _json_question(method, path, body)
        answer = await self._caller.ask(credentials, question, phase=Phase.CHANGE, success=_NO_CONTENT)
        return answer if isinstance(answer, Outcome) else None


def _json_question(method: str, path: str, body: Mapping[str, object]) -> Question:
    return Question(method=method, path=path, content=json.dumps(body).encode(), content_type="application/json")


def _read(answer: Answer | Outcome, shape: TypeAdapter[T], *, phase: Phase = Phase.READ) -> T | Outcome:
    if isinstance(answer, Outcome):
        return answer
    told = answer.parse(shape)
    return judge_unreadable(phase, answer.status, why="the operator's answer cannot be read") if told is None else told


def _body(answer: Answer | Outcome) -> bytes | Outcome:
    return answer if isinstance(answer, Outcome) else answer.body


def _next_page(answer: Answer, *, page: int, full: bool) -> int | None:
    # Headers where there are any (contract section 3); else a page that is not full is the last one.
    told = answer.headers.get("x-next-page")
    if told is not None:
        return int(told) if told.strip().isdecimal() else None
    return page + 1 if full else None


def _notification_path(notification_id: str) -> str:
    return f"/v1/company/notifications/{quote(notification_id, safe='')}"


def _text(value: str | datetime) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value

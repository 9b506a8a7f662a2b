"""The operator port on the Maventa client: hands calls through and turns the client's types into the port's."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.decision import explain
from pipeline.domain.document_values import clean_text
from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome
from pipeline.domain.streamed import Content
from pipeline.domain.way import Way
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.probing import read_uuid
from pipeline.maventa.reading import InvoiceFilter
from pipeline.maventa.schemas import Action, ActionType, UploadOptions
from pipeline.services.arm import Listed
from pipeline.services.ports import IDS_PER_CALL, FailedSomewhere, Sighting

STATUS_LIMIT = 60
CAUSE_LIMIT = 500
ERROR_PAGES = 100
"""Of 100 rows each: more failures than that in one span are read in the next ones."""
ACTION_TYPES: tuple[ActionType, ...] = ("RECEIVED", "CREATED", "SENT", "DELIVERED", "INFO", "ERROR")
"""All of them: left out of the question, INFO is left out of the answer (swagger.json)."""
CHANNELS = frozenset({"EINVOICE", "EMAIL", "PRINT"})
LONG_AGO = datetime.min.replace(tzinfo=UTC)

log = logging.getLogger(__name__)


class MaventaOperator:
    """See pipeline.services.ports.Operator."""

    def __init__(self, client: MaventaClient) -> None:
        self._client = client

    async def upload(
        self,
        credentials: CompanyCredentials,
        *,
        uuid: UUID,
        content: Content,
        filename: str,
        is_zip: bool,
        options: Mapping[str, Any],
    ) -> Outcome:
        """See Operator.upload."""
        return await self._client.upload(
            credentials,
            uuid=uuid,
            content=content,
            filename=filename,
            content_type="application/zip" if is_zip else "application/xml",
            options=UploadOptions.from_json(options),
        )

    async def probe(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """See Operator.probe."""
        return await self._client.probe(credentials, uuids)

    async def statuses(self, credentials: CompanyCredentials, uuids: Sequence[UUID]) -> dict[UUID, Sighting] | Outcome:
        """See Operator.statuses."""
        answer = await self._client.statuses(credentials, uuids)
        if isinstance(answer, Outcome):
            return answer
        return {
            uuid: Sighting(
                status=clean_text(invoice.status or "", limit=STATUS_LIMIT) or "",
                number=invoice.number,
                total=invoice.sum_tax,
                channel=_channel(invoice.destination),
                actions=_in_order(invoice.actions) if invoice.actions is not None else None,
            )
            for uuid, invoice in answer.items()
        }

    async def actions(self, credentials: CompanyCredentials, uuid: UUID) -> tuple[OperatorAction, ...] | Outcome:
        """See Operator.actions."""
        answer = await self._client.actions(credentials, uuid, types=ACTION_TYPES)
        return answer if isinstance(answer, Outcome) else _in_order(answer)

    async def reroute(
        self, credentials: CompanyCredentials, uuid: UUID, *, way: Way, fields: Mapping[str, str]
    ) -> Outcome | None:
        """See Operator.reroute."""
        match way:
            case Way.EINVOICE:
                return await self._client.reroute_einvoice(credentials, uuid, **fields)
            case Way.EMAIL:
                return await self._client.reroute_email(credentials, uuid, **fields)
            case Way.PRINT:
                return await self._client.reroute_print(credentials, uuid, **fields)
            case _:
                raise ValueError(f"{way.value} is no reroute")

    async def outbound_errors(
        self, credentials: CompanyCredentials, *, after: datetime, before: datetime
    ) -> tuple[FailedSomewhere, ...] | Outcome:
        """See Operator.outbound_errors."""
        found: list[FailedSomewhere] = []
        for page in range(1, ERROR_PAGES + 1):
            answer = await self._client.outbound_errors(
                credentials, happened_after=after, happened_before=before, page=page
            )
            if isinstance(answer, Outcome):
                return answer
            ids = [(read_uuid(row.company_id or ""), read_uuid(row.invoice_id or "")) for row in answer]
            found += [FailedSomewhere(company_id=one, invoice_id=other) for one, other in ids if one and other]
            if len(answer) < IDS_PER_CALL:
                return tuple(found)
        log.error("too many pages of errors", extra={"event": "outbound_errors_cut", "pages": ERROR_PAGES})
        return tuple(found)

    async def sent_since(self, credentials: CompanyCredentials, *, since: datetime) -> tuple[Listed, ...] | Outcome:
        """See pipeline.services.arm.SentList."""
        found: list[Listed] = []
        page: int | None = 1
        while page is not None:
            answer = await self._client.list_invoices(
                credentials, InvoiceFilter(direction="SENT", created_at_start=since), page=page
            )
            if isinstance(answer, Outcome):
                return answer
            rows = [(read_uuid(row.id), _short(row.number)) for row in answer.invoices]
            found += [Listed(uuid=uuid, number=number) for uuid, number in rows if uuid is not None]
            page = answer.next_page
        return tuple(found)

    async def why_closed(self, credentials: CompanyCredentials) -> str | None:
        """See Operator.why_closed."""
        doubt = await self._client.check_access(credentials)
        return explain(doubt, "the operator does not let this company in") if doubt is not None else None


def _channel(destination: str | None) -> str | None:
    return destination.upper() if destination and destination.upper() in CHANNELS else None


def _in_order(actions: Sequence[Action]) -> tuple[OperatorAction, ...]:
    """Turn the operator's actions into ours, oldest first; those without an instant come first, in their order."""
    told = [
        OperatorAction(
            type=_short(action.type) or "",
            key=_short(action.key),
            channel=_short(action.channel),
            message=clean_text(action.message or "", limit=CAUSE_LIMIT) or None,
            happened_at=action.happened_at,
        )
        for action in actions
    ]
    return tuple(sorted(told, key=lambda action: action.happened_at or LONG_AGO))


def _short(text: str | None) -> str | None:
    return clean_text(text or "", limit=STATUS_LIMIT) or None

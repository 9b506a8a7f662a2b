"""The operator port on the Maventa client: hands calls through and turns the client's types into the port's."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.decision import explain
from pipeline.domain.document_values import clean_text
from pipeline.domain.outcome import Outcome
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.ports import Sighting

STATUS_LIMIT = 40
CAUSE_LIMIT = 500


class MaventaOperator:
    """See pipeline.services.ports.Operator."""

    def __init__(self, client: MaventaClient) -> None:
        self._client = client

    async def upload(
        self,
        credentials: CompanyCredentials,
        *,
        uuid: UUID,
        content: bytes,
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
            )
            for uuid, invoice in answer.items()
        }

    async def why_failed(self, credentials: CompanyCredentials, uuid: UUID) -> str | None:
        """See Operator.why_failed. Source: contract section 3, the message of the last ERROR action."""
        answer = await self._client.actions(credentials, uuid, types=("ERROR",))
        if isinstance(answer, Outcome):
            return None
        messages = [action.message for action in answer if action.type == "ERROR" and action.message]
        return clean_text(messages[-1], limit=CAUSE_LIMIT) if messages else None

    async def why_closed(self, credentials: CompanyCredentials) -> str | None:
        """See Operator.why_closed."""
        doubt = await self._client.check_access(credentials)
        return explain(doubt, "the operator does not let this company in") if doubt is not None else None

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

    async def why_closed(self, credentials: CompanyCredentials) -> str | None:
        """See Operator.why_closed."""
        doubt = await self._client.check_access(credentials)
        return explain(doubt, "the operator does not let this company in") if doubt is not None else None

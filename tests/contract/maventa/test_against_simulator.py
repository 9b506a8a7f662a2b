"""Every call of the client against a simulator that holds requests and answers to the operator's specification."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.caller import OperatorCredentials
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.reading import InvoiceFilter
from pipeline.maventa.schemas import UploadOptions
from pipeline.settings import Installation

SWAGGER = Path(__file__).resolve().parents[4] / "shared" / "maventa" / "swagger.json"
COMPANY = CompanyCredentials(
    company_id=UUID("00000000-0000-4000-8000-000000000001"),
    user_api_key="demo-user-key",
    vendor_api_key="demo-vendor-key",
    scopes=("eui", "partner:invoice_delivery_actions"),
)
CONTENT = (
    '<?xml version="1.0" encoding="ISO-8859-15"?>\n<Finvoice Version="3.0"><SellerPartyDetails>'
    "<SellerOrganisationName>Myyjä Oy</SellerOrganisationName></SellerPartyDetails><BuyerPartyDetails>"
    "<BuyerPartyIdentifier>7654321-2</BuyerPartyIdentifier><BuyerOrganisationName>Öljy Oy</BuyerOrganisationName>"
    "</BuyerPartyDetails><InvoiceDetails><InvoiceTypeCode>INV01</InvoiceTypeCode><InvoiceNumber>C-1</InvoiceNumber>"
    '<InvoiceDate Format="CCYYMMDD">20261101</InvoiceDate>'
    '<InvoiceTotalVatExcludedAmount AmountCurrencyIdentifier="EUR">10,00</InvoiceTotalVatExcludedAmount>'
    '<InvoiceTotalVatIncludedAmount AmountCurrencyIdentifier="EUR">12,40</InvoiceTotalVatIncludedAmount>'
    "</InvoiceDetails></Finvoice>\n"
).encode("iso-8859-15")
EVERYTHING = {
    "format": "FINVOICE30",
    "recipient_type": "consumer",
    "recipient_eia": "003776543212",
    "recipient_email": "a@example.invalid",
    "recipient_operator": "DABAFIHH",
    "disabled_routes": ["print", "email"],
    "sender_comment": "Kiitos! äöå €",
    "lang": "FI",
    "route_order": ["vipps", "email"],
    "recipient_phone_number": "+358401234567",
    "recipient_date_of_birth": "1970-01-31",
    "recipient_ssn": "010170-123X",
    "recipient_efaktura_id": "1",
    "b2cno_document_type": "INVOICE",
    "payment_instruction_identifier": "p",
    "print_settings": {
        "color": True,
        "letter_class": "ECONOMY",
        "prevent_digital_post": False,
        "print_own_image": True,
        "allow_kivra_fi": False,
    },
    "email_settings": {"xml_format": "FINVOICE30"},
    "prevent_routing": False,
}


@pytest.fixture(scope="module")
def operator() -> Iterator[str]:
    """The URL of a strict simulator; at the end, no request and no answer may have broken the specification."""
    if not SWAGGER.is_file():
        pytest.fail(f"the operator's specification is not beside the project: {SWAGGER}")
    command = [sys.executable, "-m", "simulator", "--port", "0", "--validate", str(SWAGGER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        yield url
        told = httpx.get(f"{url}/_simulator/violations", timeout=10).json()
        process.terminate()
    assert told["checked"]["requests"] > 20
    assert told["requests"] == []
    assert told["answers"] == []


def ask(url, work):
    def clock():
        return datetime.now(UTC)

    async def run():
        hosts = OperatorHosts.of(Installation.TEST, override_url=url)
        async with MaventaClient(hosts=hosts, token_store=InMemoryTokenStore(clock=clock), clock=clock) as client:
            return await work(client)

    return asyncio.run(run())


def upload(client, uuid, options=None):
    return client.upload(
        COMPANY,
        uuid=uuid,
        content=CONTENT,
        filename="lasku.xml",
        content_type="application/xml",
        options=UploadOptions.parse(options or {}),
    )


def test_every_upload_parameter_is_taken(operator):
    """An upload with every parameter of the specification is accepted, and breaks no rule of it."""
    assert set(EVERYTHING) == set(UploadOptions.model_fields)

    outcome = ask(operator, lambda client: upload(client, uuid4(), EVERYTHING))

    assert outcome.kind is OutcomeKind.ACCEPTED, outcome


def test_a_uuid_is_accepted_once_and_found(operator):
    """The same UUID again is refused, a probe finds it with its number, and an unknown UUID is proven absent."""
    uuid, unknown = uuid4(), uuid4()

    async def work(client):
        first, second = await upload(client, uuid), await upload(client, uuid)
        return first, second, await client.probe(COMPANY, [uuid, unknown])

    first, second, probed = ask(operator, work)

    assert (first.kind, second.kind) == (OutcomeKind.ACCEPTED, OutcomeKind.REFUSED)
    assert probed[uuid].kind is OutcomeKind.ALREADY_THERE
    assert (probed[uuid].operator_number, str(probed[uuid].operator_total)) == ("C-1", "12.4")
    assert probed[unknown].kind is OutcomeKind.ABSENT


def test_everything_can_be_read(operator):
    """List, show, other formats, actions, files, authorisation, token, and the partner's error list."""
    uuid = uuid4()

    async def work(client):
        await upload(client, uuid)
        day = datetime.now(UTC) - timedelta(days=1)
        chosen = InvoiceFilter(ids=(uuid,), status=("PENDING", "DELIVERED"), number="C-1", created_at_start=day)
        page = await client.list_invoices(COMPANY, chosen)
        shown = await client.show(COMPANY, uuid)
        return {
            "page": page,
            "shown": shown,
            "statuses": await client.statuses(COMPANY, [uuid]),
            "actions": await client.actions(COMPANY, uuid, types=("CREATED", "ERROR")),
            "file": await client.file(COMPANY, uuid, shown.files[0].id),
            "image": await client.show_as(COMPANY, uuid, return_format="ORIGINAL_OR_GENERATED_IMAGE"),
            "authorization": await client.company_authorization(COMPANY),
            "current": await client.oauth_current(COMPANY),
            "errors": await client.outbound_errors(COMPANY, happened_after=day),
            "access": await client.check_access(COMPANY),
        }

    told = ask(operator, work)

    assert not [name for name, answer in told.items() if isinstance(answer, Outcome)]
    assert [invoice.id for invoice in told["page"].invoices] == [str(uuid)]
    assert told["file"] == CONTENT
    assert told["actions"][0].type == "CREATED"
    assert told["authorization"].company_state == "VERIFIED"
    assert told["access"] is None


def test_everything_can_be_changed(operator):
    """The three reroutes, and webhook subscriptions made, read, re-triggered and removed."""
    uuid = uuid4()

    async def work(client):
        await upload(client, uuid)
        made = await client.create_notification(
            COMPANY, destination="http://127.0.0.1:9/hook", events=["DOCUMENTS.INVOICE.FAILED"]
        )
        answers = [
            await client.reroute_email(COMPANY, uuid, recipient_email="x@example.invalid"),
            await client.reroute_einvoice(COMPANY, uuid, recipient_eia="003776543212", recipient_operator="DABAFIHH"),
            await client.reroute_print(
                COMPANY,
                uuid,
                recipient_name="Öljy Oy",
                recipient_address1="Katu 1",
                recipient_post_code="00100",
                recipient_post_office="Helsinki",
                recipient_country="FI",
            ),
            await client.resend_unacknowledged(COMPANY),
        ]
        listed = await client.notifications(COMPANY)
        one = await client.notification(COMPANY, made.id)
        answers.append(await client.delete_notification(COMPANY, made.id))
        return made, listed, one, answers

    made, listed, one, answers = ask(operator, work)

    assert answers == [None] * 5
    assert made.id in [each.id for each in listed]
    assert one.events == made.events


def test_operator_credentials_get_a_token(operator):
    """The operator variant of the token works and its key appears in no repr."""
    keys = OperatorCredentials(
        client_id="demo-operator", client_secret="demo-operator-key", scopes=("operator:notifications",)
    )

    token = ask(operator, lambda client: client.operator_token(keys))

    assert not isinstance(token, Outcome), token
    assert "demo-operator-key" not in repr(keys)
    assert token.value not in repr(token)


def test_wrong_keys_concern_the_company(operator):
    """A company with wrong keys is not let in; nothing is said about its invoice."""
    wrong = CompanyCredentials(company_id=COMPANY.company_id, user_api_key="wrong", vendor_api_key="demo-vendor-key")

    async def work(client):
        return await client.upload(
            wrong,
            uuid=uuid4(),
            content=CONTENT,
            filename="a.xml",
            content_type="application/xml",
            options=UploadOptions(),
        )

    assert ask(operator, work).kind is OutcomeKind.UNAUTHORIZED

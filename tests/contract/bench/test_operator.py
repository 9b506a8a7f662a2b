"""The lean operator of the benches keeps the simulator's books: the same requests, the same answers and totals."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import OutcomeKind
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.schemas import UploadOptions
from pipeline.settings import Installation

ONE, TWO = (f"00000000-0000-4000-8000-{number:012d}" for number in (1, 2))
INVOICE = UUID("6a9dbf2e-5a0e-4f6e-9a55-50c4c8b5a001")
OTHER = UUID("6a9dbf2e-5a0e-4f6e-9a55-50c4c8b5a002")
UNKNOWN = UUID("6a9dbf2e-5a0e-4f6e-9a55-50c4c8b5a003")
XML = (
    b'<Finvoice Version="3.0"><SellerPartyDetails><SellerOrganisationName>M</SellerOrganisationName>'
    b"</SellerPartyDetails><BuyerPartyDetails><BuyerOrganisationName>K</BuyerOrganisationName></BuyerPartyDetails>"
    b'<InvoiceDetails><InvoiceNumber>1</InvoiceNumber><InvoiceDate Format="CCYYMMDD">20261101</InvoiceDate>'
    b'<InvoiceTotalVatIncludedAmount AmountCurrencyIdentifier="EUR">10,00</InvoiceTotalVatIncludedAmount>'
    b"</InvoiceDetails></Finvoice>"
)
BIG = XML.replace(b"</Finvoice>", b"<!--" + b"x\r\n" * 100_000 + b"--></Finvoice>")
PROGRAMS = {"simulator": ("simulator",), "lean": ("bench.operator", "--latency-ms", "0")}


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """A simulator and a lean operator."""
    with ExitStack() as stack:
        found = {}
        for name, (module, *options) in PROGRAMS.items():
            command = [sys.executable, "-m", module, "--port", "0", *options]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.terminate)
            assert process.stdout is not None
            found[name] = json.loads(process.stdout.readline())["url"]
        yield found


@pytest.fixture(params=PROGRAMS)
def url(request: pytest.FixtureRequest, urls: dict[str, str]) -> str:
    """Either of the two, with empty books."""
    chosen = urls[request.param]
    httpx.post(f"{chosen}/_simulator/reset").raise_for_status()
    return chosen


def test_same_requests_give_same_answers_and_books(urls):
    """Whatever is asked, both answer alike in what a sender reads, and count, hold and hash the same uploads."""
    played = {name: play(url) for name, url in urls.items()}

    assert played["lean"]["answers"] == played["simulator"]["answers"]
    assert played["lean"]["books"] == played["simulator"]["books"]
    assert played["lean"]["books"]["totals"] == {"uuids": 3, "uploads": 6, "held": 3, "doubled": 0}


def test_product_sends_and_probes(url):
    """The product's own client uploads, hears of a used UUID, finds what is there and proves what is not."""
    uuid, absent = uuid4(), uuid4()

    async def work():
        async with MaventaClient(
            hosts=OperatorHosts.of(Installation.TEST, override_url=url),
            token_store=InMemoryTokenStore(clock=lambda: datetime.now(UTC)),
        ) as client:
            uploads = [await upload(client, uuid) for _ in range(2)]
            return uploads, await client.probe(KEYS, [uuid, absent]), await client.check_access(KEYS)

    uploads, probed, doubt = asyncio.run(work())

    assert [each.kind for each in uploads] == [OutcomeKind.ACCEPTED, OutcomeKind.REFUSED]
    assert probed[uuid].kind is OutcomeKind.ALREADY_THERE
    assert probed[absent].kind is OutcomeKind.ABSENT
    assert doubt is None


def test_many_uploads_at_once_are_each_counted_once(url):
    """Uploads on many connections, larger than one read, end in the books with their own bytes."""
    uuids = [uuid4() for _ in range(40)]

    async def work():
        async with MaventaClient(
            hosts=OperatorHosts.of(Installation.TEST, override_url=url),
            token_store=InMemoryTokenStore(clock=lambda: datetime.now(UTC)),
        ) as client:
            return await asyncio.gather(*(upload(client, each, BIG) for each in uuids))

    outcomes = asyncio.run(work())

    ledger = httpx.get(f"{url}/_simulator/ledger").json()["invoices"]
    assert {each.kind for each in outcomes} == {OutcomeKind.ACCEPTED}
    assert ledger.keys() == {str(each) for each in uuids}
    assert {entry["uploads"] for entry in ledger.values()} == {1}
    assert len({entry["held_sha256"] for entry in ledger.values()}) == 1


KEYS = CompanyCredentials(company_id=UUID(ONE), user_api_key="demo-user-key", vendor_api_key="demo-vendor-key")


def upload(client, uuid, content=XML):
    return client.upload(
        KEYS, uuid=uuid, content=content, filename="l.xml", content_type="application/xml", options=UploadOptions()
    )


def play(url):
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
        http.post("/_simulator/reset").raise_for_status()
        keys = {"grant_type": "client_credentials", "client_secret": "demo-user-key", "scope": "eui"}
        first, second = (http.post("/oauth2/token", data=keys | {"client_id": each}) for each in (ONE, TWO))
        wrong = http.post("/oauth2/token", data=keys | {"client_id": ONE, "client_secret": "wrong"})
        one, two = ({"Authorization": f"Bearer {each.json()['access_token']}"} for each in (first, second))

        def send(content, headers, **fields):
            files = {"file": ("l.xml", content, "application/xml")} if content else {"nothing": b""}
            return http.post("/v1/invoices", data=fields, files=files, headers=headers)

        ids = [("ids[]", str(each)) for each in (INVOICE, OTHER, UNKNOWN)]
        answers = [
            wrong,
            send(XML, one, uuid=str(INVOICE)),
            send(XML, one, uuid=str(INVOICE).upper()),
            send(BIG, one, uuid=str(INVOICE), sender_comment="again, with other bytes"),
            send(BIG, two, uuid=str(OTHER)),
            send(XML, one, uuid=str(OTHER)),
            send(XML, one, uuid="no uuid"),
            send(None, one, uuid=str(UNKNOWN)),
            send(XML, {"Authorization": "Bearer nothing"}, uuid=str(UNKNOWN)),
            http.get("/v1/invoices", params=[*ids, ("direction", "SENT")], headers=one),
            http.get("/v1/invoices", params=ids, headers=one),
            http.get(f"/v1/invoices/{OTHER}", headers=two),
            http.get(f"/v1/invoices/{OTHER}", headers=one),
            http.get(f"/v1/invoices/{UNKNOWN}", headers=one),
            http.get("/v1/invoices", params=ids),
            http.get("/v1/nowhere", headers=one),
        ]
        without_uuid = send(XML, one)
        assert (without_uuid.status_code, UUID(without_uuid.json()["id"]).version) == (201, 4)
        ledger = http.get("/_simulator/ledger").json()
    return {"answers": [read(each) for each in answers], "books": books(ledger, minted=without_uuid.json()["id"])}


def read(answer):
    body = answer.json()
    rows = body if isinstance(body, list) else [body]
    fields = ("id", "code", "status")
    # A list of the simulator settles with time: what is compared is which invoices it shows.
    shown = [tuple(row.get(field) for field in (fields if answer.status_code == 201 else fields[:2])) for row in rows]
    return answer.status_code, shown


def books(ledger, *, minted):
    totals = ledger["totals"]
    entries = {
        "minted" if uuid == minted else uuid: {
            field: entry[field] for field in ("uploads", "sha256", "held", "held_sha256", "company_id")
        }
        for uuid, entry in ledger["invoices"].items()
    }
    return {
        "entries": entries,
        "requests": totals["requests"],
        "totals": {name: totals[name] for name in ("uuids", "uploads", "held", "doubled")},
    }

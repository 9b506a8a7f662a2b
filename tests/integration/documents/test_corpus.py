"""The published invoices of the corpus, read by us and, independently, by a tree parser."""

import io
import re
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pipeline.domain.document import DocumentKind, InvoiceFormat, InvoiceHeader, Recipient, inspect, read_recipient
from pipeline.services.gather import Found, gather

PROJECT = Path(__file__).resolve().parents[3]
CORPUS = PROJECT.parent / "shared" / "corpus"
EXPECTED_FILES = 40

UBL = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
CII = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}


def corpus_files() -> list[Path]:
    files = sorted(CORPUS.rglob("*.xml"))
    if len(files) < EXPECTED_FILES:
        pytest.fail(f"the corpus must lie in {CORPUS} with {EXPECTED_FILES} invoices, found {len(files)}")
    return files


@pytest.fixture(scope="module")
def invoices() -> list[Path]:
    return corpus_files()


def expected_ubl(root: ET.Element) -> dict[str, object]:
    def text(path: str) -> str | None:
        found = root.find(path, UBL)
        return found.text.strip() if found is not None and found.text else None

    party = "cac:{}/cac:Party/cac:PartyLegalEntity/cbc:RegistrationName"
    due = text("cbc:DueDate")
    return {
        "number": text("cbc:ID"),
        "issue_date": date.fromisoformat(text("cbc:IssueDate") or ""),
        "due_date": date.fromisoformat(due) if due else None,
        "currency": text("cbc:DocumentCurrencyCode"),
        "total": Decimal(text("cac:LegalMonetaryTotal/cbc:TaxInclusiveAmount") or ""),
        "seller_name": text(party.format("AccountingSupplierParty")),
        "buyer_name": text(party.format("AccountingCustomerParty")),
        "format": InvoiceFormat.XRECHNUNG_UBL,
    }


def expected_cii(root: ET.Element) -> dict[str, object]:
    def text(path: str) -> str | None:
        found = root.find(path, CII)
        return found.text.strip() if found is not None and found.text else None

    def day(path: str) -> date | None:
        found = text(f"{path}/udt:DateTimeString")
        return datetime.strptime(found, "%Y%m%d").date() if found else None  # noqa: DTZ007 - a day has no zone

    settlement = "rsm:SupplyChainTradeTransaction/ram:ApplicableHeaderTradeSettlement"
    agreement = "rsm:SupplyChainTradeTransaction/ram:ApplicableHeaderTradeAgreement"
    return {
        "number": text("rsm:ExchangedDocument/ram:ID"),
        "issue_date": day("rsm:ExchangedDocument/ram:IssueDateTime"),
        "due_date": day(f"{settlement}/ram:SpecifiedTradePaymentTerms/ram:DueDateDateTime"),
        "currency": text(f"{settlement}/ram:InvoiceCurrencyCode"),
        "total": Decimal(
            text(f"{settlement}/ram:SpecifiedTradeSettlementHeaderMonetarySummation/ram:GrandTotalAmount") or ""
        ),
        "seller_name": text(f"{agreement}/ram:SellerTradeParty/ram:Name"),
        "buyer_name": text(f"{agreement}/ram:BuyerTradeParty/ram:Name"),
        "format": InvoiceFormat.XRECHNUNG_CII,
    }


def expected(content: bytes) -> dict[str, object]:
    root = ET.fromstring(content)  # noqa: S314 - published files, read by a second parser on purpose
    return expected_cii(root) if "CrossIndustry" in root.tag else expected_ubl(root)


def texts_at(party: ET.Element, *paths: str) -> list[str]:
    """Return what stands at any of the paths, whatever the namespaces."""
    found = (element for path in paths for element in party.findall(re.sub(r"(?<=/)(?=\w)|^", "{*}", path)))
    return [element.text.strip() for element in found if element.text and element.text.strip()]


def expected_recipient(content: bytes) -> Recipient:
    root = ET.fromstring(content)  # noqa: S314 - published files, read by a second parser on purpose
    cii = "CrossIndustry" in root.tag
    buyer = root.find(".//{*}BuyerTradeParty") if cii else root.find("{*}AccountingCustomerParty/{*}Party")
    assert buyer is not None
    place, endpoint = (
        ("PostalTradeAddress", "URIUniversalCommunication/URIID") if cii else ("PostalAddress", "EndpointID")
    )

    def one(*paths: str) -> str | None:
        return next(iter(texts_at(buyer, *paths)), None)

    lines = ("LineOne", "LineTwo", "LineThree", "StreetName", "AdditionalStreetName", "AddressLine/Line")
    first, *more = texts_at(buyer, *(f"{place}/{line}" for line in lines)) or [None]
    return Recipient(
        name=one("Name", "PartyLegalEntity/RegistrationName"),
        email=one(endpoint),  # every one of them is of the scheme EM
        address1=first,
        address2=", ".join(filter(None, more)) or None,
        post_code=one(f"{place}/PostcodeCode", f"{place}/PostalZone"),
        post_office=one(f"{place}/CityName"),
        state=one(f"{place}/CountrySubDivisionName", f"{place}/CountrySubentity"),
        country=one(f"{place}/CountryID", f"{place}/Country/IdentificationCode"),
    )


def read(header: InvoiceHeader, names: dict[str, object]) -> dict[str, object]:
    return {name: getattr(header, name) for name in names}


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("invoice.pdf", b"%PDF-1.7 " + bytes(range(256)))
        archive.writestr("1_terms.xml", b"<terms/>")
    return buffer.getvalue()


def test_every_corpus_invoice_is_read(invoices):
    """Number, dates, total, currency, parties and format of every published invoice agree with a tree parser."""
    for path in invoices:
        content = path.read_bytes()

        document = inspect(content, filename=path.name)

        wanted = expected(content)
        assert read(document.header, wanted) == wanted, path.name
        assert document.header.recipient_email or document.header.recipient_eia, path.name


def test_zipped_corpus_reads_the_same(invoices):
    """A ZIP of a published invoice with attachments gives the header of the invoice alone."""
    for path in invoices:
        content = path.read_bytes()

        packed = inspect(zipped(path.name, content), filename="invoice.zip")

        assert packed.kind is DocumentKind.ZIP
        assert packed.header == inspect(content, filename=path.name).header, path.name


def test_every_corpus_recipient_is_read(invoices):
    """The buyer's name, e-mail and postal address of every published invoice agree with a tree parser, zipped or not."""
    for path in invoices:
        content = path.read_bytes()

        assert read_recipient(content) == expected_recipient(content), path.name
        assert read_recipient(zipped(path.name, content)) == expected_recipient(content), path.name


def test_corpus_can_be_printed(invoices):
    """All but the two that name no street carry what a letter needs."""
    letters = [read_recipient(path.read_bytes()) for path in invoices]

    complete = [all((who.name, who.address1, who.post_code, who.post_office, who.country)) for who in letters]
    assert complete.count(False) == 2


def test_corpus_folder_is_gathered(invoices):
    """The corpus folder gives each of its invoices once, and skips licence and notes."""
    found = [item for item in gather([str(CORPUS)], stdin=io.BytesIO()) if isinstance(item, Found)]

    assert [Path(item.path) for item in found] == invoices
    assert found[0].read() == invoices[0].read_bytes()

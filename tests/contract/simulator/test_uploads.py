import hashlib
import io
import zipfile
from uuid import uuid4

import pytest

from simulator import samples


def zipped(members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def test_upload_creates_one_pending_invoice(operator, uuid):
    """An upload answers 201 with the sender's UUID, PENDING, and what the XML says."""
    answer = operator.upload(uuid=uuid)

    body = answer.json()
    assert (answer.status_code, body["id"], body["status"]) == (201, uuid, "PENDING")
    assert (body["number"], body["sum"], body["sum_tax"], body["currency"]) == ("T-1", 1000.0, 1255.5, "EUR")
    assert (body["recipient"]["name"], body["date"], body["source_format"]) == (
        "Šakin Öljy € Oy", "2026-11-01", "FINVOICE30",
    )  # fmt: skip
    digest = hashlib.sha256(operator.finvoice).hexdigest()
    held = operator.held(uuid)
    assert (held["held"], held["uploads"], held["sha256"], held["held_sha256"]) == (1, 1, [digest], digest)


def test_upload_without_uuid_is_given_one(operator):
    """The operator invents a UUID when none is sent."""
    first, second = operator.upload().json()["id"], operator.upload().json()["id"]

    assert first != second
    assert operator.held(first)["held"] == 1


def test_upload_without_filename_is_refused(operator):
    """The file part must carry a filename."""
    files = {"file": (None, operator.finvoice, "application/xml")}

    answer = operator.http.post("/v1/invoices", files=files, headers=operator.bearer())

    assert answer.status_code == 400
    assert "filename" in answer.json()["details"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "PDF"), ("recipient_type", "b2c"), ("recipient_eia", "x" * 129), ("recipient_email", "x" * 256),
        ("recipient_operator", "x" * 129), ("disabled_routes", "fax"), ("disabled_routes[]", "fax"),
        ("sender_comment", "x" * 1025), ("uuid", "x" * 37), ("uuid", "no-uuid"), ("lang", "DE"), ("route_order", "post"),
        ("recipient_phone_number", "1" * 31), ("recipient_date_of_birth", "1.1.2000"),
        ("b2cno_document_type", "LETTER"), ("print_settings[color]", "blue"), ("print_settings[letter_class]", "FAST"),
        ("prevent_routing", "maybe"), ("email_settings[xml_format]", "PDF"),
    ],
)  # fmt: skip
def test_wrong_parameter_is_refused_and_creates_nothing(operator, name, value):
    """Every parameter is held to the enum, type and length of the specification."""
    answer = operator.upload(**{name: value})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameters")
    assert name.removesuffix("[]") in answer.json()["details"][0]
    assert operator.control("GET", "ledger/totals")["held"] == 0


def test_all_parameters_of_the_specification_are_taken(operator, uuid):
    """An upload with every parameter passes, and passes the specification too."""
    fields = {
        "format": "FINVOICE30", "recipient_type": "consumer", "recipient_eia": "003776543212",
        "recipient_email": "a@example.invalid", "recipient_operator": "DABAFIHH", "disabled_routes": ["print", "email"],
        "sender_comment": "Kiitos", "lang": "FI", "route_order": ["email", "print"], "recipient_phone_number": "+35840",
        "recipient_date_of_birth": "2000-01-31", "recipient_ssn": "x", "recipient_efaktura_id": "x",
        "b2cno_document_type": "INVOICE", "payment_instruction_identifier": "x", "print_settings[color]": "true",
        "print_settings[letter_class]": "ECONOMY", "print_settings[prevent_digital_post]": "false",
        "print_settings[print_own_image]": "true", "print_settings[allow_kivra_fi]": "false", "prevent_routing": "false",
        "email_settings[xml_format]": "FINVOICE30",
    }  # fmt: skip
    before = len(operator.control("GET", "violations")["requests"])

    assert operator.upload(uuid=uuid, **fields).status_code == 201
    assert operator.control("GET", "violations")["requests"][before:] == []


UBL_ZIP = zipped([("invoice.xml", samples.ubl(1, 1)), ("invoice.pdf", b"%PDF-1.4\n"), ("1_a.pdf", b"%PDF-1.4\n")])
TEAPPS = (
    "<INVOICE_CENTER><CONTENT_FRAME><BLOCK_RULES><FORMAT_VERSION>3.0</FORMAT_VERSION></BLOCK_RULES><INVOICES><INVOICE>"
    "<HEADER><INVOICE_ID>TE-7</INVOICE_ID><INVOICE_DATE><DATE><DAY>05</DAY><MONTH>11</MONTH><CENTURY>20</CENTURY>"
    "<DECADE_AND_YEAR>26</DECADE_AND_YEAR></DATE></INVOICE_DATE><CURRENCY><CODE>EUR</CODE></CURRENCY></HEADER>"
    "<PAYEE><CUSTOMER_INFORMATION><CUSTOMER_NAME>Myyjä</CUSTOMER_NAME></CUSTOMER_INFORMATION></PAYEE>"
    "<RECEIVER><CUSTOMER_INFORMATION><CUSTOMER_NAME>Ostaja</CUSTOMER_NAME></CUSTOMER_INFORMATION></RECEIVER>"
    '<SUMMARY><INVOICE_TOTAL><AMOUNT SIGN="+" VAT="INCLUDED">125,50</AMOUNT>'
    '<AMOUNT SIGN="+" VAT="EXCLUDED">100,00</AMOUNT></INVOICE_TOTAL></SUMMARY></INVOICE></INVOICES></CONTENT_FRAME>'
    "</INVOICE_CENTER>"
).encode()
CII = (
    '<rsm:CrossIndustryInvoice xmlns:rsm="r" xmlns:ram="a" xmlns:udt="u"><rsm:ExchangedDocumentContext>'
    "<ram:GuidelineSpecifiedDocumentContextParameter><ram:ID>urn:xeinkauf.de:kosit:xrechnung_3.0</ram:ID>"
    "</ram:GuidelineSpecifiedDocumentContextParameter></rsm:ExchangedDocumentContext><rsm:ExchangedDocument>"
    '<ram:ID>CII-9</ram:ID><ram:IssueDateTime><udt:DateTimeString format="102">20261105</udt:DateTimeString>'
    "</ram:IssueDateTime></rsm:ExchangedDocument><rsm:SupplyChainTradeTransaction><ram:ApplicableHeaderTradeAgreement>"
    "<ram:SellerTradeParty><ram:Name>Verk\u00e4ufer</ram:Name></ram:SellerTradeParty><ram:BuyerTradeParty>"
    "<ram:Name>K\u00e4ufer</ram:Name></ram:BuyerTradeParty></ram:ApplicableHeaderTradeAgreement>"
    "<ram:ApplicableHeaderTradeSettlement><ram:InvoiceCurrencyCode>EUR</ram:InvoiceCurrencyCode>"
    "<ram:SpecifiedTradeSettlementHeaderMonetarySummation><ram:TaxBasisTotalAmount>10.00</ram:TaxBasisTotalAmount>"
    "<ram:GrandTotalAmount>11.90</ram:GrandTotalAmount></ram:SpecifiedTradeSettlementHeaderMonetarySummation>"
    "</ram:ApplicableHeaderTradeSettlement></rsm:SupplyChainTradeTransaction></rsm:CrossIndustryInvoice>"
).encode()


def enveloped(finvoice):
    envelope = (
        '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Header>'
        "<eb:From xmlns:eb='x'>1</eb:From></SOAP-ENV:Header><SOAP-ENV:Body/></SOAP-ENV:Envelope>\n"
    )
    return envelope.encode() + finvoice


@pytest.mark.parametrize(
    ("content", "source_format", "number"),
    [
        (samples.finvoice(3, 4), "FINVOICE30", "30000004"),
        (enveloped(samples.finvoice(3, 5)), "FINVOICE30", "30000005"),
        (samples.ubl(3, 6), "PEPPOLBIS30", "30000006"),
        (samples.zipped(3, 7), "FINVOICE30", "30000007"),
        (UBL_ZIP, "PEPPOLBIS30", "10000001"),
        (TEAPPS, "TEAPPS30", "TE-7"),
        (CII, "XRECHNUNG30CII", "CII-9"),
    ],
    ids=["finvoice", "finvoice in soap", "ubl", "zip of finvoice", "zip of ubl", "teappsxml", "cii"],
)
def test_format_and_number_are_read(operator, content, source_format, number):
    """Format, number and totals come from the XML, whatever it is and however it is packed."""
    body = operator.upload(content).json()

    assert (body["source_format"], body["number"]) == (source_format, number)
    assert body["sum_tax"] > body["sum"] > 0
    assert body["sender"]["name"]
    assert body["date"].startswith("2026-")


PADDED_BOMB = zipped([("invoice.xml", samples.finvoice(1, 1) + b" " * 61_000_000)], compression=zipfile.ZIP_DEFLATED)


def bomb():
    declaration, _, rest = samples.finvoice(1, 1).partition(b"\n")
    entities = b'<!DOCTYPE Finvoice [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    return declaration + entities + rest.replace(b"<ArticleName>", b"<ArticleName>&b;")


@pytest.mark.parametrize(
    "content",
    [
        b" ", b"hello", b"<Finvoice>", bomb(), b"<Unknown/>", b"PK\x03\x04 broken", zipped([("a.txt", b"x")]),
        zipped([("a.xml", samples.ubl(1, 1)), ("b.xml", samples.ubl(1, 2))]), zipped([("../invoice.xml", b"<x/>")]),
        zipped([("invoice.xml", samples.ubl(1, 1)), ("more.zip", zipped([("x", b"x")]))]),
PADDED_BOMB,
        zipped([(f"{at}.txt", b"") for at in range(300)]),
    ],
    ids=[
        "empty", "text", "broken xml", "entity bomb", "unknown root", "broken zip", "no invoice", "two invoices",
        "path trick", "nested zip", "zip bomb", "many members",
    ],
)  # fmt: skip
def test_bad_file_is_refused_and_creates_nothing(operator, uuid, content):
    """What is not one readable invoice answers 400 and leaves nothing behind."""
    answer = operator.upload(content, uuid=uuid)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameters")
    assert operator.held(uuid)["held"] == 0


@pytest.mark.parametrize(("status", "expected"), [(400, 400), (422, 422), (0, 201)])
def test_minimum_information_is_checked_by_knob(operator, status, expected):
    """An invoice without a number is refused at once, with the status chosen by knob."""
    operator.control("PUT", "knobs", {"minimum_information_status": status})
    content = operator.finvoice.replace(b"<InvoiceNumber>T-1</InvoiceNumber>", b"")

    assert operator.upload(content).status_code == expected


@pytest.mark.parametrize("status", [422, 409, 400, 201])
def test_duplicate_uuid_never_creates_a_second_invoice(operator, uuid, status):
    """Whatever a duplicate answers, one invoice is held, with the first bytes."""
    operator.control("PUT", "knobs", {"duplicate_status": status})
    operator.upload(uuid=uuid)

    second = operator.upload(samples.ubl(1, 1), uuid=uuid)

    held = operator.held(uuid)
    assert second.status_code == status
    assert (held["held"], held["uploads"]) == (1, 2)
    assert held["held_sha256"] == held["sha256"][0] != held["sha256"][1]
    assert operator.control("GET", "ledger/totals")["doubled"] == 0
    if status == 201:
        assert (second.json()["id"], second.json()["number"]) == (uuid, "T-1")


@pytest.mark.parametrize("status", [422, 409, 400, 201])
def test_uuid_of_another_company_is_refused(operator, uuid, companies, status):
    """A UUID is used up for everybody, and the other company learns nothing of the invoice."""
    operator.control("PUT", "knobs", {"duplicate_status": status})
    operator.upload(uuid=uuid)

    answer = operator.upload(uuid=uuid, company=companies[1])

    assert answer.status_code == (422 if status == 201 else status)
    assert "number" not in answer.json()
    assert operator.held(uuid)["company_id"] == companies[0]


def test_broken_operator_shows_two_held(operator, uuid):
    """An operator made to hold duplicates shows them in the ledger: the count of doubles does count."""
    operator.control("PUT", "knobs", {"hold_duplicates": True})
    operator.upload(uuid=uuid)
    operator.upload(uuid=uuid)

    assert operator.held(uuid)["held"] == 2
    assert operator.control("GET", "ledger/totals")["doubled"] == 1


def test_too_large_request_is_refused(operator):
    """A request beyond the limit answers 413."""
    operator.control("PUT", "knobs", {"request_bytes_limit": 500})

    assert operator.upload().status_code == 413


def test_daily_limit_stops_the_company(operator, companies):
    """A company beyond its daily number is refused, the others go on."""
    operator.control("PUT", f"companies/{companies[0]}", {"daily_limit": 1})

    statuses = [operator.upload().status_code, operator.upload().status_code]

    assert statuses == [201, 403]
    assert operator.upload(company=companies[1]).status_code == 201


def test_duplicate_number_is_stopped_when_the_company_wants_it(operator, companies):
    """With stop_duplicate_numbers the same number within a week is refused."""
    operator.control("PUT", f"companies/{companies[0]}", {"stop_duplicate_numbers": True})

    assert [operator.upload().status_code, operator.upload().status_code] == [201, 400]


def test_documents_beyond_the_kept_bytes_are_known_by_hash(operator, uuid):
    """Without room for the bytes the invoice and its hash are there all the same."""
    operator.control("PUT", "knobs", {"document_bytes_kept": 10})
    body = operator.upload(uuid=uuid).json()

    answer = operator.call("GET", body["files"][0]["href"])

    assert answer.status_code == 404
    assert operator.held(uuid)["held_sha256"] == hashlib.sha256(operator.finvoice).hexdigest()


def test_files_come_back_byte_for_byte(operator):
    """The upload and each file of its ZIP can be fetched."""
    body = operator.upload(UBL_ZIP, uuid=str(uuid4()), filename="invoice.zip").json()

    contents = [operator.call("GET", file["href"]).content for file in body["files"]]

    assert [file["filename"] for file in body["files"]] == ["invoice.zip", "invoice.xml", "invoice.pdf", "1_a.pdf"]
    assert contents[:2] == [UBL_ZIP, samples.ubl(1, 1)]

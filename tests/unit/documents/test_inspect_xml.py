"""What inspection says about single XML documents, good and evil."""

import codecs
import hashlib
import re
from datetime import date
from decimal import Decimal

import pytest

from pipeline.domain import errors
from pipeline.domain.document import DocumentKind, DocumentLimits, InvoiceFormat, inspect

from .samples import FINVOICE_BODY, SOAP, UBL_NAMESPACES, finvoice, ubl

ENTITY_BOMB = (
    b"""<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><l>&b;</l>"""
)
XXE = b"""<?xml version="1.0"?>\n<!-- x --><!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]><r>&e;</r>"""
EXTERNAL_DTD = b"""<!DOCTYPE Finvoice SYSTEM "http://127.0.0.1:9/f.dtd"><Finvoice/>"""


def refused(
    content: bytes, *, limits: DocumentLimits | None = None, filename: str = "lasku.xml"
) -> errors.DocumentError:
    with pytest.raises(errors.DocumentError) as caught:
        inspect(content, filename=filename, limits=limits or DocumentLimits())
    return caught.value


def test_finvoice_header_is_read():
    """A Finvoice in ISO-8859-15 is read by number, parties, dates and total, its bytes untouched."""
    content = finvoice()

    document = inspect(content, filename="x.zip")

    header = document.header
    assert document.kind is DocumentKind.XML
    assert document.content is content
    assert document.sha256 == hashlib.sha256(content).digest()
    assert header.format is InvoiceFormat.FINVOICE
    assert (header.number, header.total, header.currency) == ("2026-17", Decimal("1240.50"), "EUR")
    assert (header.issue_date, header.due_date) == (date(2026, 11, 1), date(2026, 11, 15))
    assert (header.seller_name, header.seller_id) == ("Myyjä Öljy Oy", "1234567-8")
    assert (header.buyer_name, header.buyer_id) == ("Ostaja Å Ab", "8765432-1")
    assert (header.recipient_eia, header.recipient_email) == ("003798765432", "osto@example.fi")


def test_soap_envelope_is_accepted_in_front():
    """A Finvoice behind its SOAP envelope, two XML documents in one file, is one invoice."""
    document = inspect(SOAP.encode() + finvoice(), filename="f")

    assert document.header.number == "2026-17"
    assert document.header.seller_name == "Myyjä Öljy Oy"


def test_soap_encoding_serves_invoice_without_declaration():
    document = inspect((SOAP + FINVOICE_BODY).encode("iso-8859-15"), filename="f")

    assert document.header.buyer_name == "Ostaja Å Ab"


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        pytest.param(b"", errors.EmptyDocumentError, "empty", id="empty"),
        pytest.param(b" \r\n\t", errors.EmptyDocumentError, "empty", id="blanks"),
        pytest.param(codecs.BOM_UTF8, errors.EmptyDocumentError, "empty", id="only-bom"),
        pytest.param(b"%PDF-1.7", errors.NotAnInvoiceError, "a PDF", id="pdf"),
        pytest.param(b'{"a": 1}', errors.NotAnInvoiceError, "JSON", id="json"),
        pytest.param(b"hello", errors.NotAnInvoiceError, "neither XML nor ZIP", id="text"),
        pytest.param(b"<html><body/></html>", errors.NotAnInvoiceError, "web page", id="html"),
        pytest.param(SOAP.encode(), errors.NotAnInvoiceError, "SOAP envelope", id="soap-alone"),
        pytest.param(finvoice() + finvoice(), errors.SeveralInvoicesError, "split", id="two-finvoices"),
        pytest.param(b"<Finvoice/><Finvoice/>", errors.SeveralInvoicesError, "split", id="two-undeclared"),
        pytest.param((SOAP.encode() + finvoice()) * 2, errors.SeveralInvoicesError, "split", id="two-pairs"),
        pytest.param(b"<Finvoice><a></Finvoice>", errors.BrokenXmlError, "line 1, column 16", id="mismatch"),
        pytest.param(finvoice()[:-30], errors.BrokenXmlError, "cut off", id="truncated"),
        pytest.param(b"\n" + ubl(), errors.BrokenXmlError, "very first", id="blank-first"),
        pytest.param(b"<Finvoice/>x", errors.BrokenXmlError, "not well-formed", id="junk-behind"),
        pytest.param(b"<Finvoice>&nbsp;</Finvoice>", errors.BrokenXmlError, "undefined entity", id="entity"),
        pytest.param(b"<Finvoice>\0</Finvoice>", errors.BrokenXmlError, "not well-formed", id="nul"),
        pytest.param(
            SOAP.encode() + b"<Finvoice>\n<a></Finvoice>", errors.BrokenXmlError, "line 5", id="line-behind-soap"
        ),
        pytest.param(ENTITY_BOMB, errors.ForbiddenXmlError, "without DTD", id="entity-bomb"),
        pytest.param(XXE, errors.ForbiddenXmlError, "without DTD", id="xxe"),
        pytest.param(EXTERNAL_DTD, errors.ForbiddenXmlError, "without DTD", id="external-dtd"),
        pytest.param(codecs.BOM_UTF8 + XXE, errors.ForbiddenXmlError, "without DTD", id="xxe-bom"),
        pytest.param(XXE.decode().encode("utf-16"), errors.ForbiddenXmlError, "without DTD", id="xxe-utf16"),
        pytest.param(SOAP.encode() + XXE, errors.ForbiddenXmlError, "without DTD", id="xxe-behind-soap"),
        pytest.param(b"<a>" * 300 + b"</a>" * 300, errors.XmlTooComplexError, "200 deep", id="depth"),
        pytest.param(b"<a b='" + b"x" * 4_000_000 + b"'/>", errors.XmlTooComplexError, "too long", id="endless-tag"),
        pytest.param(
            b"<a>" + b"".join(b"<n%d/>" % number for number in range(90_000)) + b"</a>",
            errors.XmlTooComplexError,
            "names",
            id="endless-names",
        ),
    ],
)
def test_bad_xml_is_refused(content, error, text):
    """Whatever is no single well-formed invoice without DTD is refused in one line that names file and reason."""
    found = refused(content)

    assert type(found) is error
    assert text in str(found)
    assert str(found).startswith("lasku.xml: ")
    assert "\n" not in str(found)


def declared(encoding: str, content: bytes) -> bytes:
    return b'<?xml version="1.0" encoding="%s"?>\n<Finvoice>%s</Finvoice>' % (encoding.encode(), content)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(declared("UTF-8", "ä".encode("latin-1")), "line 2, byte 49", id="latin1-as-utf8"),
        pytest.param(b"<Finvoice>\xe4</Finvoice>", "UTF-8", id="latin1-undeclared"),
        pytest.param(declared("us-ascii", b"\xe4"), "ASCII", id="not-ascii"),
        pytest.param(declared("windows-1252", b"\x81"), "CP1252", id="hole-in-1252"),
        pytest.param(declared("ISO-8859-15", "Öljy".encode()), "written in UTF-8 (line 2, byte 55)", id="utf8-as-8859"),
        pytest.param(declared("windows-1252", "5 €".encode()), "written in UTF-8", id="utf8-as-1252"),
        pytest.param(declared("utf-16", b"a"), "UTF-16", id="8bit-as-utf16"),
        pytest.param(declared("shift_jis", b"a"), "not supported", id="multibyte"),
        pytest.param(declared("rot13", b"a"), "not supported", id="codec-trick"),
        pytest.param(declared("x-nonsense", b"a"), "not supported", id="nonsense"),
        pytest.param(codecs.BOM_UTF8 + declared("ISO-8859-1", b"a"), "mark", id="bom-against-declaration"),
        pytest.param("<Finvoice/>".encode("utf-32"), "UTF-32", id="utf32"),
        pytest.param(declared("utf-8", b"a").decode().encode("utf-16"), "not the one", id="utf16-as-utf8"),
    ],
)
def test_wrong_encoding_is_refused(content, text):
    """A document whose bytes and declared encoding disagree is refused, for its recipient would read garbage."""
    found = refused(content)

    assert type(found) is errors.WrongEncodingError
    assert text in str(found)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(finvoice("UTF-8"), id="utf8"),
        pytest.param(codecs.BOM_UTF8 + finvoice("UTF-8"), id="utf8-bom"),
        pytest.param(finvoice("UTF-16"), id="utf16"),
        pytest.param(
            codecs.BOM_UTF16_BE + finvoice("UTF-16")[2:].decode("utf-16-le").encode("utf-16-be"), id="utf16-be"
        ),
        pytest.param(finvoice("ISO-8859-1", body=FINVOICE_BODY.replace("€", "e")), id="latin1"),
        pytest.param(finvoice("windows-1252"), id="1252"),
        pytest.param(finvoice("ISO-8859-15"), id="latin9"),
        pytest.param(b"\n  " + FINVOICE_BODY.encode(), id="blanks-without-declaration"),
    ],
)
def test_encodings_are_read(content):
    header = inspect(content, filename="f").header

    assert header.seller_name == "Myyjä Öljy Oy"


def test_capital_before_blank_is_no_utf8():
    """`YHTEENSÄ` and a no-break blank in ISO-8859-1 happens to be valid UTF-8, and is not taken for it."""
    content = declared("ISO-8859-1", "<a>YHTEENSÄ\N{NO-BREAK SPACE}100</a>".encode("latin-1"))

    assert inspect(content, filename="f").content == content


def test_doctype_in_comment_is_no_dtd():
    content = b"<!-- no <!DOCTYPE x> here --><Finvoice><a><![CDATA[<!DOCTYPE html>]]></a></Finvoice>"

    assert inspect(content, filename="f").header.format is InvoiceFormat.FINVOICE


def test_credit_note_is_read_by_any_prefix():
    inner = (
        "<b:IssueDate>2026-02-30</b:IssueDate><b:DocumentCurrencyCode>sek</b:DocumentCurrencyCode>"
        '<a:AccountingCustomerParty><a:Party><b:EndpointID schemeID="0192">123456789</b:EndpointID>'
        "<a:PartyName><b:Name>First</b:Name></a:PartyName><a:PartyName><b:Name>Second</b:Name></a:PartyName>"
        "</a:Party></a:AccountingCustomerParty>"
        "<a:LegalMonetaryTotal><b:TaxInclusiveAmount>-1.234,50</b:TaxInclusiveAmount></a:LegalMonetaryTotal>"
    )

    header = inspect(ubl("C-1", root="CreditNote", inner=inner), filename="f").header

    assert (header.format, header.root, header.number) == (InvoiceFormat.UBL, "CreditNote", "C-1")
    assert (header.issue_date, header.currency, header.total) == (None, "SEK", Decimal("-1234.50"))
    assert (header.buyer_name, header.recipient_eia) == ("First", "0192:123456789")


@pytest.mark.parametrize(
    ("customization", "expected"),
    [
        ("urn:cen.eu:en16931:2017#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0", InvoiceFormat.PEPPOL_BIS),
        (
            "urn:www.cenbii.eu:transaction:biitrns010:ver2.0:extended:urn:www.difi.no:ehf:faktura:ver2.0",
            InvoiceFormat.EHF,
        ),
        ("urn:cen.eu:en16931:2017#compliant#urn:fdc:nen.nl:nlcius:v1.0", InvoiceFormat.SI_UBL),
        ("OIOUBL-2.02", InvoiceFormat.OIOUBL),
        ("urn:cen.eu:en16931:2017", InvoiceFormat.UBL),
    ],
)
def test_customization_names_format(customization, expected):
    content = ubl(inner=f"<b:CustomizationID>{customization}</b:CustomizationID>")

    assert inspect(content, filename="f").header.format is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f'<Invoice xmlns="urn:sfti:documents:BasicInvoice:1:0" {UBL_NAMESPACES}><ID>7</ID></Invoice>', "SVEFAKTURA"),
        (
            (
                "<p:FatturaElettronica xmlns:p='urn:p'><FatturaElettronicaBody><DatiGenerali><DatiGeneraliDocumento>"
                "<Numero>7</Numero></DatiGeneraliDocumento></DatiGenerali></FatturaElettronicaBody></p:FatturaElettronica>"
            ),
            "FATTURAPA",
        ),
        (
            (
                "<INVOICE_CENTER><CONTENT_FRAME><INVOICES><INVOICE><HEADER><INVOICE_ID>7</INVOICE_ID></HEADER>"
                "</INVOICE></INVOICES></CONTENT_FRAME></INVOICE_CENTER>"
            ),
            "TEAPPSXML",
        ),
        (f"<StandardBusinessDocument xmlns='urn:s'><H/>{ubl('7').decode()[21:]}</StandardBusinessDocument>", "UBL"),
        ("<Invoice><ID>7</ID></Invoice>", "UNKNOWN"),
    ],
)
def test_formats_are_recognised(content, expected):
    header = inspect(content.encode(), filename="f").header

    assert (header.format.value, header.number) == (expected, "7")


def test_unknown_xml_is_sendable():
    """An XML whose header cannot be read is a document all the same."""
    header = inspect(b"<Mystery><a>1</a></Mystery>", filename="f").header

    assert (header.format, header.root, header.number) == (InvoiceFormat.UNKNOWN, "Mystery", None)


def test_header_is_safe_to_print():
    """No header value carries control or direction characters, nor grows without bound."""
    header = inspect(ubl("\u202eA\u200b\tB" + "x" * 9000), filename="f").header

    assert header.number is not None
    assert header.number.isprintable()
    assert header.number.startswith("A B")
    assert len(header.number) == 200


def test_messages_are_safe_and_silent():
    """A message escapes the file's name and never repeats what the file says."""
    message = str(refused(b"<Secret>4711</Sicret>", filename="a\x1b[31m\nb.xml"))

    assert message.isprintable()
    assert not re.search("ecret|4711", message)


def test_large_document_is_streamed():
    """An attachment of megabytes inside the text is no reason to refuse, and its header is still read."""
    content = ubl("L-1", inner="<b:Note>" + "QUJD" * 1_500_000 + "</b:Note><b:IssueDate>2026-11-01</b:IssueDate>")

    header = inspect(content, filename="f").header

    assert (header.number, header.issue_date) == ("L-1", date(2026, 11, 1))


def test_too_large_is_refused():
    found = refused(ubl(), limits=DocumentLimits(max_bytes=50))

    assert type(found) is errors.DocumentTooLargeError
    assert "50 bytes" in str(found)

"""Where a document says an invoice can be sent instead: every format, one table; broken documents say nothing."""

import re
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.document import DocumentLimits, Recipient, inspect, read_recipient
from pipeline.domain.document_format import FAMILIES, path_tree

from .samples import FINVOICE_BODY, SOAP, UBL_NAMESPACES, finvoice, ubl, zipped

FINVOICE_ADDRESS = (
    "<{0}PostalAddressDetails><{0}StreetName>{1}</{0}StreetName><{0}StreetName/><{0}StreetName>2. krs</{0}StreetName>"
    "<{0}TownName>Espoo</{0}TownName><{0}PostCodeIdentifier>02100</{0}PostCodeIdentifier>"
    "<CountryCode>fi</CountryCode><{0}PostOfficeBoxIdentifier>{2}</{0}PostOfficeBoxIdentifier></{0}PostalAddressDetails>"
)
FINVOICE_BUYER = (
    "<BuyerPartyDetails><BuyerOrganisationName>Ostaja Å Ab</BuyerOrganisationName>"
    + FINVOICE_ADDRESS.format("Buyer", "Öljytie 1", "")
    + "</BuyerPartyDetails>"
)
FINVOICE_RECIPIENT = (
    "<InvoiceRecipientPartyDetails><InvoiceRecipientOrganisationName>Tilitoimisto Oy</InvoiceRecipientOrganisationName>"
    + FINVOICE_ADDRESS.format("InvoiceRecipient", "Kirjurinkatu 3", "77")
    + "</InvoiceRecipientPartyDetails>"
)
FINVOICE_SELLERS_OWN = (
    "<SellerInformationDetails><InvoiceRecipientDetails><InvoiceRecipientAddress>SELLER</InvoiceRecipientAddress>"
    "<InvoiceRecipientIntermediatorAddress>SELLERBIC</InvoiceRecipientIntermediatorAddress></InvoiceRecipientDetails>"
    "</SellerInformationDetails>"
)
FINVOICE_DELIVERY = (
    "<DeliveryPartyDetails><DeliveryOrganisationName>Varasto</DeliveryOrganisationName>"
    + FINVOICE_ADDRESS.format("Delivery", "Satamatie 9", "1")
    + "</DeliveryPartyDetails>"
)
TRANSMISSION = (
    "<MessageTransmissionDetails><MessageReceiverDetails><ToIdentifier>003798765432</ToIdentifier>"
    "<ToIntermediator>DABAFIHH</ToIntermediator></MessageReceiverDetails></MessageTransmissionDetails>"
)
BUYER_EMAIL = (
    "<BuyerCommunicationDetails><BuyerEmailaddressIdentifier>osto@example.fi</BuyerEmailaddressIdentifier>"
    "</BuyerCommunicationDetails>"
)
UBL_PLACE = (
    "<b:StreetName>Storgatan</b:StreetName><b:BuildingNumber>12</b:BuildingNumber>"
    "<b:AdditionalStreetName>Uppgång B</b:AdditionalStreetName><b:CityName>Umeå</b:CityName>"
    "<b:PostalZone>903 26</b:PostalZone><b:CountrySubentity>Västerbotten</b:CountrySubentity>"
    "<a:Country><b:IdentificationCode>SE</b:IdentificationCode></a:Country>"
)
UBL_BUYER = (
    '<a:Party><b:EndpointID schemeID="0007">5560000000</b:EndpointID><a:PartyName><b:Name>Butiken</b:Name></a:PartyName>'
    f"<a:PostalAddress>{UBL_PLACE}</a:PostalAddress>"
    "<a:PartyLegalEntity><b:RegistrationName>Köparen AB</b:RegistrationName></a:PartyLegalEntity>"
    "<a:Contact><b:ElectronicMail>inkop@example.se</b:ElectronicMail></a:Contact></a:Party>"
)
UBL_ELSEWHERE = (
    "<a:AccountingSupplierParty>" + UBL_BUYER.replace("Umeå", "Säljarstad") + "</a:AccountingSupplierParty>"
    "<a:Delivery><a:DeliveryLocation><a:Address>" + UBL_PLACE + "</a:Address></a:DeliveryLocation></a:Delivery>"
)
UMEA = Recipient(
    name="Köparen AB",
    eia="0007:5560000000",
    email="inkop@example.se",
    address1="Storgatan 12",
    address2="Uppgång B",
    post_code="903 26",
    post_office="Umeå",
    state="Västerbotten",
    country="SE",
)


def ubl_of(buyer: str) -> bytes:
    return ubl(inner=f"{UBL_ELSEWHERE}<a:AccountingCustomerParty>{buyer}</a:AccountingCustomerParty>")


def finvoice_of(*parts: str) -> bytes:
    return finvoice(body=f"<Finvoice Version='1.3'>{''.join(parts)}</Finvoice>")


ESPOO = Recipient(
    name="Ostaja Å Ab",
    eia="003798765432",
    operator="DABAFIHH",
    email="osto@example.fi",
    address1="Öljytie 1",
    address2="2. krs",
    post_code="02100",
    post_office="Espoo",
    country="FI",
)
FORMATS = [
    pytest.param(
        finvoice_of(TRANSMISSION, FINVOICE_SELLERS_OWN, FINVOICE_BUYER, FINVOICE_DELIVERY, BUYER_EMAIL),
        ESPOO,
        id="finvoice",
    ),
    pytest.param(
        finvoice_of(FINVOICE_SELLERS_OWN, FINVOICE_RECIPIENT, FINVOICE_BUYER),
        Recipient(
            name="Tilitoimisto Oy",
            address1="Kirjurinkatu 3",
            address2="2. krs, PO Box 77",
            post_code="02100",
            post_office="Espoo",
            country="FI",
        ),
        id="finvoice-recipient-wins",
    ),
    pytest.param(
        finvoice_of(
            "<InvoiceRecipientPartyDetails><InvoiceRecipientOrganisationName>Tilitoimisto</InvoiceRecipientOrganisationName>"
            "<InvoiceRecipientPostalAddressDetails><CountryCode>SE</CountryCode></InvoiceRecipientPostalAddressDetails>"
            "</InvoiceRecipientPartyDetails>",
            TRANSMISSION,
            FINVOICE_BUYER,
            BUYER_EMAIL,
        ),
        ESPOO,
        id="finvoice-recipient-without-address",
    ),
    pytest.param(ubl_of(UBL_BUYER), UMEA, id="ubl"),
    pytest.param(
        (
            f'<Invoice xmlns="urn:sfti:documents:BasicInvoice:1:0" {UBL_NAMESPACES}><a:BuyerParty><a:Party>'
            "<a:PartyName><b:Name>Köparen AB</b:Name></a:PartyName><a:Address><b:Postbox>Box 12</b:Postbox>"
            "<b:CityName>Umeå</b:CityName><b:PostalZone>903 26</b:PostalZone>"
            '<a:Country><a:IdentificationCode name="Sverige">SE</a:IdentificationCode></a:Country></a:Address>'
            "<a:Contact><b:ElectronicMail>inkop@example.se</b:ElectronicMail></a:Contact></a:Party></a:BuyerParty></Invoice>"
        ).encode(),
        Recipient(
            name="Köparen AB",
            email="inkop@example.se",
            address1="Box 12",
            post_code="903 26",
            post_office="Umeå",
            country="SE",
        ),
        id="svefaktura",
    ),
    pytest.param(
        (
            "<r:CrossIndustryInvoice xmlns:r='urn:r'><SupplyChainTradeTransaction><ApplicableHeaderTradeAgreement>"
            "<SellerTradeParty><Name>S</Name><PostalTradeAddress><CityName>S</CityName></PostalTradeAddress></SellerTradeParty>"
            "<BuyerTradeParty><Name>Käufer GmbH</Name><DefinedTradeContact><EmailURIUniversalCommunication>"
            "<URIID>kauf@example.de</URIID></EmailURIUniversalCommunication></DefinedTradeContact><PostalTradeAddress>"
            "<PostcodeCode>04109</PostcodeCode><LineOne>Ring 1</LineOne><LineTwo>Haus 2</LineTwo><LineThree>Tor 3</LineThree>"
            "<CityName>Leipzig</CityName><CountryID>DE</CountryID><CountrySubDivisionName>Sachsen</CountrySubDivisionName>"
            '</PostalTradeAddress><URIUniversalCommunication><URIID schemeID="0204">991-1</URIID></URIUniversalCommunication>'
            "</BuyerTradeParty></ApplicableHeaderTradeAgreement><ApplicableHeaderTradeDelivery><ShipToTradeParty>"
            "<Name>Lager</Name></ShipToTradeParty></ApplicableHeaderTradeDelivery></SupplyChainTradeTransaction>"
            "</r:CrossIndustryInvoice>"
        ).encode(),
        Recipient(
            name="Käufer GmbH",
            eia="0204:991-1",
            email="kauf@example.de",
            address1="Ring 1",
            address2="Haus 2, Tor 3",
            post_code="04109",
            post_office="Leipzig",
            state="Sachsen",
            country="DE",
        ),
        id="cii",
    ),
    pytest.param(
        (
            b"<p:FatturaElettronica xmlns:p='urn:p'><FatturaElettronicaHeader><DatiTrasmissione>"
            b"<CodiceDestinatario>0000000</CodiceDestinatario><PECDestinatario>acquisti@pec.example.it</PECDestinatario>"
            b"</DatiTrasmissione><CessionarioCommittente><DatiAnagrafici><Anagrafica><Nome>Ada</Nome><Cognome>Rossi</Cognome>"
            b"</Anagrafica></DatiAnagrafici><Sede><Indirizzo>Via Roma</Indirizzo><NumeroCivico>7</NumeroCivico><CAP>00100</CAP>"
            b"<Comune>Roma</Comune><Provincia>RM</Provincia><Nazione>IT</Nazione></Sede></CessionarioCommittente>"
            b"</FatturaElettronicaHeader></p:FatturaElettronica>"
        ),
        Recipient(
            name="Ada Rossi",
            email="acquisti@pec.example.it",
            address1="Via Roma 7",
            post_code="00100",
            post_office="Roma",
            state="RM",
            country="IT",
        ),
        id="fatturapa",
    ),
    pytest.param(
        (
            b"<INVOICE_CENTER><CONTENT_FRAME><INVOICES><INVOICE><PAYEE><CUSTOMER_INFORMATION><CUSTOMER_NAME>S</CUSTOMER_NAME>"
            b"<E-MAIL_ADDRESS>s@example.fi</E-MAIL_ADDRESS></CUSTOMER_INFORMATION></PAYEE><RECEIVER><CUSTOMER_INFORMATION>"
            b"<CUSTOMER_NAME>Ostaja Oy</CUSTOMER_NAME><ADDRESS><STREET_ADDRESS1>Tie 1</STREET_ADDRESS1>"
            b"<STREET_ADDRESS2>B 2</STREET_ADDRESS2><POSTAL_CODE>33100</POSTAL_CODE><POST_OFFICE>Tampere</POST_OFFICE>"
            b"<COUNTRY>Suomi</COUNTRY><COUNTRY_CODE>FI</COUNTRY_CODE></ADDRESS><E-MAIL_ADDRESS>o@example.fi</E-MAIL_ADDRESS>"
            b"</CUSTOMER_INFORMATION></RECEIVER></INVOICE></INVOICES></CONTENT_FRAME></INVOICE_CENTER>"
        ),
        Recipient(
            name="Ostaja Oy",
            email="o@example.fi",
            address1="Tie 1",
            address2="B 2",
            post_code="33100",
            post_office="Tampere",
            country="FI",
        ),
        id="teappsxml",
    ),
    pytest.param(
        (
            "<Interchange xmlns='http://www.e2b.no/XMLSchema'><Invoice><InvoiceHeader><Buyer><Name>Kjøper AS</Name>"
            "<StreetAddress><Address1>Gata 1</Address1></StreetAddress><PostalAddress><Address1>Postboks 5</Address1>"
            "<PostalCode>0150</PostalCode><PostalDistrict>Oslo</PostalDistrict><CountryCode>NO</CountryCode></PostalAddress>"
            "<ContactPerson><ContactInformation><EmailAddress>k@example.no</EmailAddress></ContactInformation></ContactPerson>"
            "</Buyer></InvoiceHeader></Invoice></Interchange>"
        ).encode(),
        Recipient(
            name="Kjøper AS",
            email="k@example.no",
            address1="Postboks 5",
            post_code="0150",
            post_office="Oslo",
            country="NO",
        ),
        id="e2b",
    ),
]


@pytest.mark.parametrize(("content", "expected"), FORMATS)
def test_recipient_is_read(content, expected):
    """Each format gives the buyer's addresses, never the seller's and never where the goods go."""
    assert read_recipient(content) == expected


@pytest.mark.parametrize(("content", "expected"), FORMATS)
def test_zip_reads_the_same(content, expected):
    """A ZIP with attachments gives the recipient of the invoice in it."""
    assert read_recipient(zipped(("terms.xml", b"<terms/>"), ("i.xml", content), ("i.pdf", b"%PDF"))) == expected


@pytest.mark.parametrize(("content", "expected"), FORMATS)
def test_header_says_the_same(content, expected):
    """The header's addresses are the recipient's: one reading, not two."""
    header = inspect(content, filename="f").header

    assert (header.recipient_eia, header.recipient_email) == (expected.eia, expected.email)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"%PDF-1.7", id="pdf"),
        pytest.param(b"<Mystery><a>1</a></Mystery>", id="unknown-root"),
        pytest.param(ubl_of(UBL_BUYER)[:-20], id="cut-off"),
        pytest.param(ubl_of(UBL_BUYER) * 2, id="two-invoices"),
        pytest.param(b"<!DOCTYPE x [<!ENTITY e 'v'>]>" + ubl_of(UBL_BUYER)[21:], id="dtd"),
        pytest.param(ubl_of(UBL_BUYER).replace(b"?>", b" encoding='shift_jis'?>"), id="encoding"),
        pytest.param(ubl_of(UBL_BUYER + "<a>" * 300 + "</a>" * 300), id="deep"),
        pytest.param(zipped(("a.xml", ubl_of(UBL_BUYER)), ("b.xml", ubl_of(UBL_BUYER))), id="zip-of-two"),
        pytest.param(zipped(("a.zip", zipped(("a.xml", ubl_of(UBL_BUYER))))), id="zip-in-zip"),
        pytest.param(zipped(("a.xml", ubl_of(UBL_BUYER)), ("bomb.bin", bytes(9_000_000))), id="bomb"),
        pytest.param(zipped(("a.xml", ubl_of(UBL_BUYER)))[:-30], id="zip-cut-off"),
    ],
)
def test_refused_document_says_nothing(content):
    """What inspection refuses gives an empty recipient and no exception."""
    assert read_recipient(content) == Recipient()


def test_limits_are_kept():
    assert read_recipient(ubl_of(UBL_BUYER), limits=DocumentLimits(max_bytes=50)) == Recipient()


@given(
    st.sampled_from([finvoice(), SOAP.encode() + finvoice(), ubl_of(UBL_BUYER), zipped(("a.xml", ubl()))]), st.data()
)
def test_damage_never_raises(seed, data):
    """A document with bytes overwritten gives a recipient, whatever it says."""
    at = data.draw(st.integers(0, len(seed) - 1))
    piece = data.draw(st.sampled_from([b"<", b">", b"\0", b"\xff", b"&", b"]]>", b"PK\x01\x02"]))

    assert isinstance(read_recipient(seed[:at] + piece + seed[at + len(piece) :]), Recipient)


@pytest.mark.parametrize(
    ("buyer", "expected"),
    [
        pytest.param('<b:EndpointID schemeID="EM">a@example.de</b:EndpointID>', ("a@example.de", None), id="em"),
        pytest.param(
            '<b:EndpointID schemeID="EM">a@x.de;b@x.de</b:EndpointID>'
            "<a:Contact><b:ElectronicMail>c@x.de</b:ElectronicMail></a:Contact>",
            ("c@x.de", None),
            id="list-gives-way",
        ),
        pytest.param(
            "<a:Contact><b:ElectronicMail>a@x.de, b@x.de</b:ElectronicMail></a:Contact>", (None, None), id="list"
        ),
        pytest.param(
            f"<a:Contact><b:ElectronicMail>{'a' * 252}@x.de</b:ElectronicMail></a:Contact>", (None, None), id="long"
        ),
        pytest.param(f"<b:EndpointID>{'1' * 128}</b:EndpointID>", (None, "1" * 128), id="eia-at-limit"),
        pytest.param(f"<b:EndpointID>{'1' * 129}</b:EndpointID>", (None, None), id="eia-over-limit"),
    ],
)
def test_addresses_fit_the_operator(buyer, expected):
    """An address the operator would not take, a list or one too long, is left out and never cut."""
    found = read_recipient(ubl_of(f"<a:Party>{buyer}</a:Party>"))

    assert (found.email, found.eia) == expected


def test_next_email_is_asked_when_unreadable():
    several = BUYER_EMAIL.replace("Buyer", "InvoiceRecipient").replace("osto@", "a@example.fi; b@")

    assert read_recipient(finvoice_of(several, BUYER_EMAIL)) == Recipient(email="osto@example.fi")


def test_long_operator_is_left_out():
    content = finvoice_of(TRANSMISSION.replace("DABAFIHH", "D" * 129))

    assert read_recipient(content) == Recipient(eia="003798765432")


@pytest.mark.parametrize(
    ("written", "expected"),
    [("SE", "SE"), (" se ", "SE"), ("SWE", None), ("752", None), ("Å1", None), ("ÅÄ", None), ("S", None)],
)
def test_country_is_two_letters(written, expected):
    found = read_recipient(ubl_of(UBL_BUYER.replace(">SE<", f">{written}<")))

    assert found.country == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("<b:StreetName>Storgatan 12</b:StreetName><b:BuildingNumber>12</b:BuildingNumber>", ("Storgatan 12", None), id="number-twice"),
        pytest.param("<b:StreetName>Storgatan 112</b:StreetName><b:BuildingNumber>12</b:BuildingNumber>", ("Storgatan 112 12", None), id="number-within"),
        pytest.param("<b:Postbox>55</b:Postbox>", ("PO Box 55", None), id="bare-box"),
        pytest.param("<b:StreetName>A</b:StreetName><b:AdditionalStreetName>A</b:AdditionalStreetName>", ("A", None), id="line-twice"),
        pytest.param("<a:AddressLine><b:Line>A</b:Line></a:AddressLine><a:AddressLine><b:Line>B</b:Line></a:AddressLine>", ("A", "B"), id="lines"),
        pytest.param("<b:CityName>A</b:CityName>", (None, None), id="no-street"),
    ],
)  # fmt: skip
def test_lines_are_put_together(written, expected):
    found = read_recipient(ubl_of(f"<a:Party><a:PostalAddress>{written}</a:PostalAddress></a:Party>"))

    assert (found.address1, found.address2) == expected


def test_addresses_are_not_mixed():
    """A receiver without street takes nothing from the address of another party."""
    receiver = FINVOICE_RECIPIENT.replace("Kirjurinkatu 3", "").replace("2. krs", "").replace(">77<", "><")

    found = read_recipient(finvoice_of(receiver, FINVOICE_BUYER))

    assert (found.name, found.address1, found.post_office) == ("Tilitoimisto Oy", None, "Espoo")


def test_values_are_safe_to_print():
    """No value carries control or direction characters, nor grows without bound."""
    hostile = re.sub(r">[^<>]+<", ">\u202eA\u200b\n" + "x" * 9000 + "<", UBL_BUYER)

    found = read_recipient(ubl_of(hostile))

    values = [value for field in fields(found) if (value := getattr(found, field.name)) is not None]
    assert values
    assert all(value.isprintable() and len(value) <= 255 for value in values)


def test_wanted_elements_hold_no_other():
    """No path leads through another: text is taken at one place at a time."""
    for family in FAMILIES:
        open_nodes = [path_tree(family)]
        while open_nodes:
            node = open_nodes.pop()
            assert not (node.path and node.children), node.path
            open_nodes.extend(node.children.values())


def test_shared_sample_is_read():
    assert read_recipient(FINVOICE_BODY.encode()) == Recipient(
        name="Ostaja Å Ab", eia="003798765432", email="osto@example.fi"
    )

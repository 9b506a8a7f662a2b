"""Documents made on the spot for the tests: small invoices of each format and ZIPs of them."""

import io
import zipfile

FINVOICE_BODY = """<Finvoice Version="3.0">
<MessageTransmissionDetails><MessageReceiverDetails><ToIdentifier>003798765432</ToIdentifier>
</MessageReceiverDetails></MessageTransmissionDetails>
<SellerPartyDetails><SellerPartyIdentifier>1234567-8</SellerPartyIdentifier>
<SellerOrganisationName>Myyjä Öljy Oy</SellerOrganisationName></SellerPartyDetails>
<BuyerPartyDetails><BuyerPartyIdentifier>8765432-1</BuyerPartyIdentifier>
<BuyerOrganisationName>Ostaja Å Ab</BuyerOrganisationName></BuyerPartyDetails>
<BuyerCommunicationDetails><BuyerEmailaddressIdentifier>osto@example.fi</BuyerEmailaddressIdentifier>
</BuyerCommunicationDetails>
<InvoiceDetails><InvoiceNumber>2026-17</InvoiceNumber><InvoiceDate Format="CCYYMMDD">20261101</InvoiceDate>
<InvoiceTotalVatIncludedAmount AmountCurrencyIdentifier="EUR">1 240,50</InvoiceTotalVatIncludedAmount>
<PaymentTermsDetails><InvoiceDueDate Format="CCYYMMDD">20261115</InvoiceDueDate></PaymentTermsDetails>
</InvoiceDetails><InvoiceRow><ArticleName>Öljy 5 €</ArticleName></InvoiceRow></Finvoice>
"""

SOAP = """<?xml version="1.0" encoding="ISO-8859-15"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/">
<SOAP-ENV:Header/><SOAP-ENV:Body/></SOAP-ENV:Envelope>
"""

UBL_NAMESPACES = (
    'xmlns:a="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2" '
    'xmlns:b="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"'
)


def finvoice(encoding: str = "ISO-8859-15", *, body: str = FINVOICE_BODY) -> bytes:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<?xml-stylesheet type="text/xsl" href="Finvoice.xsl"?>\n{body}'
    )
    return text.encode(encoding)


def ubl(number: str = "U-1", *, root: str = "Invoice", inner: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?><x:{root} xmlns:x="urn:oasis:names:specification:ubl:schema:xsd:{root}-2" '
        f"{UBL_NAMESPACES}><b:ID>{number}</b:ID>{inner}</x:{root}>"
    ).encode()


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content, compress_type=method)
    return buffer.getvalue()

"""Writes Peppol BIS Billing 3.0 (UBL 2.1) in UTF-8."""

from decimal import Decimal

from simulator.samples.content import Content, Party, Row
from simulator.samples.markup import leaf, tag

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACES = {
    "xmlns": "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2",
    "xmlns:cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "xmlns:cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
CUSTOMIZATION = "urn:cen.eu:en16931:2017#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0"
PROFILE = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"
OVT = "0216"  # Peppol's scheme for Finnish OVT codes
BUSINESS_ID = "0212"  # Peppol's scheme for Finnish business ids
CURRENCY = {"currencyID": "EUR"}


def write(content: Content) -> bytes:
    """Write an invoice as Peppol BIS 3.0 bytes."""
    root = tag(
        "Invoice",
        leaf("cbc:CustomizationID", CUSTOMIZATION),
        leaf("cbc:ProfileID", PROFILE),
        leaf("cbc:ID", content.number),
        leaf("cbc:IssueDate", content.issued.isoformat()),
        leaf("cbc:DueDate", content.due.isoformat()),
        leaf("cbc:InvoiceTypeCode", "380"),
        leaf("cbc:DocumentCurrencyCode", "EUR"),
        leaf("cbc:BuyerReference", content.buyer.name),
        tag("cac:AccountingSupplierParty", _party(content.seller)),
        tag("cac:AccountingCustomerParty", _party(content.buyer)),
        _means(content),
        _tax_total(content),
        _totals(content),
        *(_line(number, row) for number, row in enumerate(content.rows, 1)),
        **NAMESPACES,
    )
    return (DECLARATION + root + "\n").encode()


def _party(party: Party) -> str:
    return tag(
        "cac:Party",
        leaf("cbc:EndpointID", party.e_address, schemeID=OVT),
        tag("cac:PartyName", leaf("cbc:Name", party.name)),
        tag(
            "cac:PostalAddress",
            leaf("cbc:StreetName", party.street),
            leaf("cbc:CityName", party.town),
            leaf("cbc:PostalZone", party.post_code),
            tag("cac:Country", leaf("cbc:IdentificationCode", "FI")),
        ),
        tag("cac:PartyTaxScheme", leaf("cbc:CompanyID", party.vat_number), _scheme()),
        tag(
            "cac:PartyLegalEntity",
            leaf("cbc:RegistrationName", party.name),
            leaf("cbc:CompanyID", party.business_id, schemeID=BUSINESS_ID),
        ),
        tag("cac:Contact", leaf("cbc:ElectronicMail", party.email)),
    )


def _means(content: Content) -> str:
    return tag(
        "cac:PaymentMeans",
        leaf("cbc:PaymentMeansCode", "58"),
        leaf("cbc:PaymentID", content.reference),
        tag("cac:PayeeFinancialAccount", leaf("cbc:ID", content.iban)),
    )


def _tax_total(content: Content) -> str:
    subtotals = (
        tag(
            "cac:TaxSubtotal",
            leaf("cbc:TaxableAmount", _money(base), **CURRENCY),
            leaf("cbc:TaxAmount", _money(tax), **CURRENCY),
            _category("cac:TaxCategory", rate),
        )
        for rate, base, tax in content.taxes
    )
    return tag("cac:TaxTotal", leaf("cbc:TaxAmount", _money(content.tax), **CURRENCY), *subtotals)


def _totals(content: Content) -> str:
    return tag(
        "cac:LegalMonetaryTotal",
        leaf("cbc:LineExtensionAmount", _money(content.net), **CURRENCY),
        leaf("cbc:TaxExclusiveAmount", _money(content.net), **CURRENCY),
        leaf("cbc:TaxInclusiveAmount", _money(content.gross), **CURRENCY),
        leaf("cbc:PayableAmount", _money(content.gross), **CURRENCY),
    )


def _line(number: int, row: Row) -> str:
    return tag(
        "cac:InvoiceLine",
        leaf("cbc:ID", number),
        leaf("cbc:InvoicedQuantity", f"{row.quantity:f}", unitCode=row.unit),
        leaf("cbc:LineExtensionAmount", _money(row.net), **CURRENCY),
        tag("cac:Item", leaf("cbc:Name", row.name), _category("cac:ClassifiedTaxCategory", row.vat_rate)),
        tag("cac:Price", leaf("cbc:PriceAmount", f"{row.price:f}", **CURRENCY)),
    )


def _category(name: str, rate: Decimal) -> str:
    return tag(name, leaf("cbc:ID", "S" if rate else "Z"), leaf("cbc:Percent", f"{rate:f}"), _scheme())


def _scheme() -> str:
    return tag("cac:TaxScheme", leaf("cbc:ID", "VAT"))


def _money(amount: Decimal) -> str:
    return f"{amount:.2f}"

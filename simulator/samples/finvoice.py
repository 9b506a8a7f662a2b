"""Writes Finvoice 3.0 in ISO-8859-15 with decimal commas, as Finnish systems do."""

from datetime import date
from decimal import Decimal

from simulator.samples.content import Content, Party, Row
from simulator.samples.markup import leaf, tag

DECLARATION = '<?xml version="1.0" encoding="ISO-8859-15"?>\n'
CURRENCY = {"AmountCurrencyIdentifier": "EUR"}


def write(content: Content) -> bytes:
    """Write an invoice as Finvoice bytes."""
    root = tag(
        "Finvoice",
        _transmission(content),
        _seller(content.seller),
        tag("SellerInformationDetails", _account(content)),
        _buyer(content.buyer),
        tag("BuyerCommunicationDetails", leaf("BuyerEmailaddressIdentifier", content.buyer.email)),
        _details(content),
        *(_row(number, row) for number, row in enumerate(content.rows, 1)),
        _payment(content),
        Version="3.0",
    )
    return (DECLARATION + root + "\n").encode("iso-8859-15")


def _transmission(content: Content) -> str:
    seller, buyer = content.seller, content.buyer
    return tag(
        "MessageTransmissionDetails",
        tag(
            "MessageSenderDetails",
            leaf("FromIdentifier", seller.e_address),
            leaf("FromIntermediator", seller.operator),
        ),
        tag("MessageReceiverDetails", leaf("ToIdentifier", buyer.e_address), leaf("ToIntermediator", buyer.operator)),
        tag(
            "MessageDetails",
            leaf("MessageIdentifier", content.number),
            leaf("MessageTimeStamp", f"{content.issued.isoformat()}T08:00:00+02:00"),
        ),
    )


def _seller(party: Party) -> str:
    return tag(
        "SellerPartyDetails",
        leaf("SellerPartyIdentifier", party.business_id),
        leaf("SellerOrganisationName", party.name),
        leaf("SellerOrganisationTaxCode", party.vat_number),
        _address("Seller", party),
    )


def _buyer(party: Party) -> str:
    return tag(
        "BuyerPartyDetails",
        leaf("BuyerPartyIdentifier", party.business_id),
        leaf("BuyerOrganisationName", party.name),
        leaf("BuyerOrganisationTaxCode", party.vat_number),
        _address("Buyer", party),
    )


def _address(role: str, party: Party) -> str:
    return tag(
        f"{role}PostalAddressDetails",
        leaf(f"{role}StreetName", party.street),
        leaf(f"{role}TownName", party.town),
        leaf(f"{role}PostCodeIdentifier", party.post_code),
        leaf("CountryCode", "FI"),
        leaf("CountryName", "Suomi"),
    )


def _account(content: Content) -> str:
    return tag(
        "SellerAccountDetails",
        leaf("SellerAccountID", content.iban, IdentificationSchemeName="IBAN"),
        leaf("SellerBic", "NDEAFIHH", IdentificationSchemeName="BIC"),
    )


def _details(content: Content) -> str:
    return tag(
        "InvoiceDetails",
        leaf("InvoiceTypeCode", "INV01"),
        leaf("InvoiceTypeText", "LASKU"),
        leaf("OriginCode", "Original"),
        leaf("InvoiceNumber", content.number),
        _date("InvoiceDate", content.issued),
        leaf("InvoiceTotalVatExcludedAmount", _money(content.net), **CURRENCY),
        leaf("InvoiceTotalVatAmount", _money(content.tax), **CURRENCY),
        leaf("InvoiceTotalVatIncludedAmount", _money(content.gross), **CURRENCY),
        *(_vat(rate, base, tax) for rate, base, tax in content.taxes),
        tag(
            "PaymentTermsDetails",
            leaf(
                "PaymentTermsFreeText",
                f"{(content.due - content.issued).days} pv netto, viivästyskorko 8 %, muistutus 5 €",
            ),
            _date("InvoiceDueDate", content.due),
        ),
    )


def _vat(rate: Decimal, base: Decimal, tax: Decimal) -> str:
    return tag(
        "VatSpecificationDetails",
        leaf("VatBaseAmount", _money(base), **CURRENCY),
        leaf("VatRatePercent", _plain(rate)),
        leaf("VatCode", "S" if rate else "Z"),
        leaf("VatRateAmount", _money(tax), **CURRENCY),
    )


def _row(number: int, row: Row) -> str:
    return tag(
        "InvoiceRow",
        leaf("RowPositionIdentifier", number),
        leaf("ArticleName", row.name),
        leaf("DeliveredQuantity", _plain(row.quantity), QuantityUnitCode=row.unit),
        leaf("UnitPriceAmount", _plain(row.price), **CURRENCY),
        leaf("RowVatRatePercent", _plain(row.vat_rate)),
        leaf("RowVatCode", "S" if row.vat_rate else "Z"),
        leaf("RowVatExcludedAmount", _money(row.net), **CURRENCY),
    )


def _payment(content: Content) -> str:
    return tag(
        "EpiDetails",
        tag("EpiIdentificationDetails", _date("EpiDate", content.issued), leaf("EpiReference", "")),
        tag(
            "EpiPartyDetails",
            tag("EpiBfiPartyDetails", leaf("EpiBfiIdentifier", "NDEAFIHH", IdentificationSchemeName="BIC")),
            tag(
                "EpiBeneficiaryPartyDetails",
                leaf("EpiNameAddressDetails", content.seller.name[:35]),
                leaf("EpiAccountID", content.iban, IdentificationSchemeName="IBAN"),
            ),
        ),
        tag(
            "EpiPaymentInstructionDetails",
            leaf("EpiRemittanceInfoIdentifier", content.reference, IdentificationSchemeName="SPY"),
            leaf("EpiInstructedAmount", _money(content.gross), **CURRENCY),
            leaf("EpiCharge", "", ChargeOption="SHA"),
            _date("EpiDateOptionDate", content.due),
        ),
    )


def _date(name: str, day: date) -> str:
    return leaf(name, day.strftime("%Y%m%d"), Format="CCYYMMDD")


def _money(amount: Decimal) -> str:
    return f"{amount:.2f}".replace(".", ",")


def _plain(number: Decimal) -> str:
    return f"{number:f}".replace(".", ",")

"""Where each invoice format keeps what the operator reads: tables of element paths below the root, by local name."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Family:
    """One way of writing invoices: its name, its paths and the last names of these paths."""

    name: str
    paths: dict[str, str]
    leaves: frozenset[str]


def _family(name: str, paths: dict[str, str]) -> Family:
    return Family(name, paths, frozenset(path.rpartition("/")[2].partition("@")[0] for path in paths))


# Source: Finvoice 3.0 implementation guidelines (Finance Finland), element names.
FINVOICE: Final = _family(
    "FINVOICE",
    {
        "MessageTransmissionDetails/MessageSenderDetails/FromIdentifier": "sender_eia",
        "MessageTransmissionDetails/MessageReceiverDetails/ToIdentifier": "recipient_eia",
        "MessageTransmissionDetails/MessageReceiverDetails/ToIntermediator": "recipient_operator",
        "SellerPartyDetails/SellerPartyIdentifier": "sender_bid",
        "SellerPartyDetails/SellerOrganisationName": "sender_name",
        "SellerPartyDetails/SellerPostalAddressDetails/CountryCode": "sender_country",
        "BuyerPartyDetails/BuyerPartyIdentifier": "recipient_bid",
        "BuyerPartyDetails/BuyerOrganisationName": "recipient_name",
        "BuyerPartyDetails/BuyerPostalAddressDetails/CountryCode": "recipient_country",
        "BuyerCommunicationDetails/BuyerEmailaddressIdentifier": "recipient_email",
        "InvoiceDetails/InvoiceNumber": "number",
        "InvoiceDetails/InvoiceDate": "date",
        "InvoiceDetails/InvoiceTotalVatExcludedAmount": "sum",
        "InvoiceDetails/InvoiceTotalVatIncludedAmount": "sum_tax",
        "InvoiceDetails/PaymentTermsDetails/InvoiceDueDate": "date_due",
        "EpiDetails/EpiPaymentInstructionDetails/EpiRemittanceInfoIdentifier": "reference",
    },
)
# Source: element names as TEAPPSXML senders write them; the sign stands in an attribute and is not needed here.
_TEAPPS = "CONTENT_FRAME/INVOICES/INVOICE/"
TEAPPS: Final = _family(
    "TEAPPS",
    {
        "CONTENT_FRAME/BLOCK_RULES/FORMAT_VERSION": "version",
        _TEAPPS + "HEADER/INVOICE_ID": "number",
        _TEAPPS + "HEADER/CURRENCY/CODE": "currency",
        **{
            f"{_TEAPPS}HEADER/{element}/DATE/{part}": f"{name}_{short}"
            for element, name in (("INVOICE_DATE", "date"), ("DUE_DATE", "date_due"))
            for part, short in (
                ("DAY", "day"),
                ("MONTH", "month"),
                ("CENTURY", "century"),
                ("DECADE_AND_YEAR", "decade"),
            )
        },
        **{
            f"{_TEAPPS}{element}/CUSTOMER_INFORMATION/{part}": f"{role}_{name}"
            for element, role in (("PAYEE", "sender"), ("RECEIVER", "recipient"))
            for part, name in (
                ("CUSTOMER_NAME", "name"),
                ("ORGANIZATION_NUMBER", "bid"),
                ("PARTY_IDENTIFICATION_ID", "bid"),
                ("ADDRESS/COUNTRY_CODE", "country"),
                ("E-MAIL_ADDRESS", "email"),
            )
        },
        _TEAPPS + "PAYEE/DETAILS_OF_PAYMENT/FI_PAYMENT_REFERENCE": "reference",
        _TEAPPS + "SUMMARY/INVOICE_TOTAL/AMOUNT@EXCLUDED": "sum",
        _TEAPPS + "SUMMARY/INVOICE_TOTAL/AMOUNT@INCLUDED": "sum_tax",
    },
)
# Source: OASIS UBL 2.1, Peppol BIS Billing 3.0.
_UBL_PARTY = {
    "EndpointID": "eia",
    "PartyName/Name": "name",
    "PartyLegalEntity/RegistrationName": "name",
    "PartyLegalEntity/CompanyID": "bid",
    "PostalAddress/Country/IdentificationCode": "country",
    "Contact/ElectronicMail": "email",
}
UBL: Final = _family(
    "UBL",
    {
        "CustomizationID": "profile",
        "ID": "number",
        "IssueDate": "date",
        "DueDate": "date_due",
        "DocumentCurrencyCode": "currency",
        "PaymentMeans/PaymentID": "reference",
        "LegalMonetaryTotal/TaxExclusiveAmount": "sum",
        "LegalMonetaryTotal/TaxInclusiveAmount": "sum_tax",
        **{
            f"{element}/Party/{path}": f"{role}_{name}"
            for element, role in (("AccountingSupplierParty", "sender"), ("AccountingCustomerParty", "recipient"))
            for path, name in _UBL_PARTY.items()
        },
    },
)
# Source: UN/CEFACT Cross Industry Invoice D16B as EN 16931-3-3 maps it.
_TRADE = "SupplyChainTradeTransaction/"
_SETTLEMENT = _TRADE + "ApplicableHeaderTradeSettlement/"
CII: Final = _family(
    "CII",
    {
        "ExchangedDocumentContext/GuidelineSpecifiedDocumentContextParameter/ID": "profile",
        "ExchangedDocument/ID": "number",
        "ExchangedDocument/IssueDateTime/DateTimeString": "date",
        _SETTLEMENT + "InvoiceCurrencyCode": "currency",
        _SETTLEMENT + "PaymentReference": "reference",
        _SETTLEMENT + "SpecifiedTradePaymentTerms/DueDateDateTime/DateTimeString": "date_due",
        _SETTLEMENT + "SpecifiedTradeSettlementHeaderMonetarySummation/TaxBasisTotalAmount": "sum",
        _SETTLEMENT + "SpecifiedTradeSettlementHeaderMonetarySummation/GrandTotalAmount": "sum_tax",
        **{
            f"{_TRADE}ApplicableHeaderTradeAgreement/{element}/{path}": f"{role}_{name}"
            for element, role in (("SellerTradeParty", "sender"), ("BuyerTradeParty", "recipient"))
            for path, name in (
                ("Name", "name"),
                ("SpecifiedLegalOrganization/ID", "bid"),
                ("URIUniversalCommunication/URIID", "eia"),
                ("PostalTradeAddress/CountryID", "country"),
                ("DefinedTradeContact/EmailURIUniversalCommunication/URIID", "email"),
            )
        },
    },
)
FAMILIES: Final[dict[str, Family]] = {
    "Finvoice": FINVOICE,
    "INVOICE_CENTER": TEAPPS,
    "Invoice": UBL,
    "CreditNote": UBL,
    "CrossIndustryInvoice": CII,
}
# Attributes of the elements above that carry a fact of their own: attribute -> {field it stands on: field it gives}.
ATTRIBUTES: Final[dict[str, dict[str, str]]] = {
    "AmountCurrencyIdentifier": {"sum": "currency", "sum_tax": "currency"},
}

"""Where each invoice format keeps the values of its header. Tables only: nothing here reads a document.

A path is written with local names from below the root, because prefixes differ from file to file. The first path of a
field that has a value wins. Source: EN 16931-3-2 (UBL) and -3-3 (CII) bindings, Finvoice 3.0 implementation guide,
SFTI Svefaktura 1.0, FatturaPA 1.2.2. TEAPPSXML and e2b are read as far as published examples show them.
"""

from collections.abc import Mapping
from typing import Final

Paths = Mapping[str, tuple[str, ...]]

_UBL_SELLER = "AccountingSupplierParty/Party"
_UBL_BUYER = "AccountingCustomerParty/Party"

UBL: Final[Paths] = {
    "customization": ("CustomizationID",),
    "number": ("ID",),
    "issue_date": ("IssueDate",),
    "due_date": ("DueDate", "PaymentMeans/PaymentDueDate", "PaymentTerms/PaymentDueDate"),
    "currency": ("DocumentCurrencyCode",),
    "total": ("LegalMonetaryTotal/TaxInclusiveAmount", "LegalMonetaryTotal/PayableAmount"),
    "seller_name": (f"{_UBL_SELLER}/PartyLegalEntity/RegistrationName", f"{_UBL_SELLER}/PartyName/Name"),
    "seller_id": (
        f"{_UBL_SELLER}/PartyLegalEntity/CompanyID",
        f"{_UBL_SELLER}/PartyIdentification/ID",
        f"{_UBL_SELLER}/PartyTaxScheme/CompanyID",
    ),
    "buyer_name": (f"{_UBL_BUYER}/PartyLegalEntity/RegistrationName", f"{_UBL_BUYER}/PartyName/Name"),
    "buyer_id": (
        f"{_UBL_BUYER}/PartyLegalEntity/CompanyID",
        f"{_UBL_BUYER}/PartyIdentification/ID",
        f"{_UBL_BUYER}/PartyTaxScheme/CompanyID",
    ),
    "recipient_eia": (f"{_UBL_BUYER}/EndpointID",),
    "recipient_email": (f"{_UBL_BUYER}/Contact/ElectronicMail",),
}

_CII_DOCUMENT = "ExchangedDocument"
_CII_TRADE = "SupplyChainTradeTransaction"
_CII_SELLER = f"{_CII_TRADE}/ApplicableHeaderTradeAgreement/SellerTradeParty"
_CII_BUYER = f"{_CII_TRADE}/ApplicableHeaderTradeAgreement/BuyerTradeParty"
_CII_PAYMENT = f"{_CII_TRADE}/ApplicableHeaderTradeSettlement"

CII: Final[Paths] = {
    "customization": ("ExchangedDocumentContext/GuidelineSpecifiedDocumentContextParameter/ID",),
    "number": (f"{_CII_DOCUMENT}/ID",),
    "issue_date": (f"{_CII_DOCUMENT}/IssueDateTime/DateTimeString",),
    "due_date": (f"{_CII_PAYMENT}/SpecifiedTradePaymentTerms/DueDateDateTime/DateTimeString",),
    "currency": (f"{_CII_PAYMENT}/InvoiceCurrencyCode",),
    "total": (f"{_CII_PAYMENT}/SpecifiedTradeSettlementHeaderMonetarySummation/GrandTotalAmount",),
    "seller_name": (f"{_CII_SELLER}/Name",),
    "seller_id": (
        f"{_CII_SELLER}/SpecifiedLegalOrganization/ID",
        f"{_CII_SELLER}/ID",
        f"{_CII_SELLER}/GlobalID",
        f"{_CII_SELLER}/SpecifiedTaxRegistration/ID",
    ),
    "buyer_name": (f"{_CII_BUYER}/Name",),
    "buyer_id": (
        f"{_CII_BUYER}/SpecifiedLegalOrganization/ID",
        f"{_CII_BUYER}/ID",
        f"{_CII_BUYER}/GlobalID",
        f"{_CII_BUYER}/SpecifiedTaxRegistration/ID",
    ),
    "recipient_eia": (f"{_CII_BUYER}/URIUniversalCommunication/URIID",),
    "recipient_email": (f"{_CII_BUYER}/DefinedTradeContact/EmailURIUniversalCommunication/URIID",),
}

FINVOICE: Final[Paths] = {
    "number": ("InvoiceDetails/InvoiceNumber",),
    "issue_date": ("InvoiceDetails/InvoiceDate",),
    "due_date": (
        "InvoiceDetails/PaymentTermsDetails/InvoiceDueDate",
        "EpiDetails/EpiPaymentInstructionDetails/EpiDateOptionDate",
    ),
    "total": (
        "InvoiceDetails/InvoiceTotalVatIncludedAmount",
        "EpiDetails/EpiPaymentInstructionDetails/EpiInstructedAmount",
    ),
    "seller_name": ("SellerPartyDetails/SellerOrganisationName",),
    "seller_id": ("SellerPartyDetails/SellerPartyIdentifier", "SellerPartyDetails/SellerOrganisationTaxCode"),
    "buyer_name": ("BuyerPartyDetails/BuyerOrganisationName",),
    "buyer_id": ("BuyerPartyDetails/BuyerPartyIdentifier", "BuyerPartyDetails/BuyerOrganisationTaxCode"),
    # SellerInformationDetails/InvoiceRecipientDetails looks like it, yet is where the *seller* takes its own invoices.
    "recipient_eia": ("MessageTransmissionDetails/MessageReceiverDetails/ToIdentifier",),
    "recipient_operator": ("MessageTransmissionDetails/MessageReceiverDetails/ToIntermediator",),
    # The invoice's recipient may be another than the buyer.
    "recipient_email": (
        "InvoiceRecipientCommunicationDetails/InvoiceRecipientEmailaddressIdentifier",
        "BuyerCommunicationDetails/BuyerEmailaddressIdentifier",
    ),
}

SVEFAKTURA: Final[Paths] = {
    "number": ("ID",),
    "issue_date": ("IssueDate",),
    "due_date": ("PaymentMeans/DuePaymentDate",),
    "currency": ("InvoiceCurrencyCode",),
    "total": ("LegalTotal/TaxInclusiveTotalAmount",),
    "seller_name": ("SellerParty/Party/PartyName/Name",),
    "seller_id": ("SellerParty/Party/PartyTaxScheme/CompanyID", "SellerParty/Party/PartyIdentification/ID"),
    "buyer_name": ("BuyerParty/Party/PartyName/Name",),
    "buyer_id": ("BuyerParty/Party/PartyTaxScheme/CompanyID", "BuyerParty/Party/PartyIdentification/ID"),
    "recipient_email": ("BuyerParty/Party/Contact/ElectronicMail",),
}

_FPA_GENERAL = "FatturaElettronicaBody/DatiGenerali/DatiGeneraliDocumento"
_FPA_SELLER = "FatturaElettronicaHeader/CedentePrestatore/DatiAnagrafici"
_FPA_BUYER = "FatturaElettronicaHeader/CessionarioCommittente/DatiAnagrafici"
_FPA_SENDING = "FatturaElettronicaHeader/DatiTrasmissione"

FATTURAPA: Final[Paths] = {
    "number": (f"{_FPA_GENERAL}/Numero",),
    "issue_date": (f"{_FPA_GENERAL}/Data",),
    "due_date": ("FatturaElettronicaBody/DatiPagamento/DettaglioPagamento/DataScadenzaPagamento",),
    "currency": (f"{_FPA_GENERAL}/Divisa",),
    "total": (f"{_FPA_GENERAL}/ImportoTotaleDocumento",),
    "seller_name": (f"{_FPA_SELLER}/Anagrafica/Denominazione", f"{_FPA_SELLER}/Anagrafica/Cognome"),
    "seller_id": (f"{_FPA_SELLER}/IdFiscaleIVA/IdCodice", f"{_FPA_SELLER}/CodiceFiscale"),
    "buyer_name": (f"{_FPA_BUYER}/Anagrafica/Denominazione", f"{_FPA_BUYER}/Anagrafica/Cognome"),
    "buyer_id": (f"{_FPA_BUYER}/IdFiscaleIVA/IdCodice", f"{_FPA_BUYER}/CodiceFiscale"),
    "recipient_eia": (f"{_FPA_SENDING}/CodiceDestinatario",),
    "recipient_email": (f"{_FPA_SENDING}/PECDestinatario",),
}

_TEAPPS = "CONTENT_FRAME/INVOICES/INVOICE"

TEAPPSXML: Final[Paths] = {
    "number": (f"{_TEAPPS}/HEADER/INVOICE_ID",),
    "issue_date": (f"{_TEAPPS}/HEADER/INVOICE_DATE/DATE",),
    "due_date": (f"{_TEAPPS}/HEADER/DUE_DATE/DATE",),
    "currency": (f"{_TEAPPS}/HEADER/CURRENCY/CODE",),
    "total": (f"{_TEAPPS}/SUMMARY/INVOICE_TOTAL/AMOUNT",),
    "seller_name": (f"{_TEAPPS}/PAYEE/CUSTOMER_INFORMATION/CUSTOMER_NAME",),
    "buyer_name": (
        f"{_TEAPPS}/RECEIVER/CUSTOMER_INFORMATION/CUSTOMER_NAME",
        f"{_TEAPPS}/PAYER/CUSTOMER_INFORMATION/CUSTOMER_NAME",
        f"{_TEAPPS}/CUSTOMER_INFORMATION/CUSTOMER_NAME",
    ),
    "recipient_email": (
        f"{_TEAPPS}/RECEIVER/CUSTOMER_INFORMATION/E-MAIL_ADDRESS",
        f"{_TEAPPS}/RECEIVER/CUSTOMER_INFORMATION/CONTACT_INFORMATION/E-MAIL_ADDRESS",
        f"{_TEAPPS}/PAYER/CUSTOMER_INFORMATION/E-MAIL_ADDRESS",
        f"{_TEAPPS}/CUSTOMER_INFORMATION/E-MAIL_ADDRESS",
    ),
}

E2B: Final[Paths] = {
    "number": ("Invoice/InvoiceHeader/InvoiceNumber",),
    "issue_date": ("Invoice/InvoiceHeader/InvoiceDate",),
    "due_date": ("Invoice/InvoiceHeader/Payment/DueDate",),
    "currency": ("Invoice/InvoiceHeader/Payment/Currency",),
    "total": ("Invoice/InvoiceSummary/InvoiceTotals/GrossAmount",),
    "seller_name": ("Invoice/InvoiceHeader/Supplier/Name",),
    "seller_id": ("Invoice/InvoiceHeader/Supplier/OrgNumber",),
    "buyer_name": ("Invoice/InvoiceHeader/Buyer/Name",),
    "buyer_id": ("Invoice/InvoiceHeader/Buyer/OrgNumber",),
    "recipient_email": ("Invoice/InvoiceHeader/Buyer/ContactPerson/ContactInformation/EmailAddress",),
}

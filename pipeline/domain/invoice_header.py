"""What people search an invoice by: number, parties, date, total, format. Knows nothing of XML or of sending."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class InvoiceFormat(StrEnum):
    """The family a document belongs to, as far as its root and customization id tell."""

    FINVOICE = "FINVOICE"
    TEAPPSXML = "TEAPPSXML"
    UBL = "UBL"
    PEPPOL_BIS = "PEPPOL_BIS"
    XRECHNUNG_UBL = "XRECHNUNG_UBL"
    CII = "CII"
    XRECHNUNG_CII = "XRECHNUNG_CII"
    SVEFAKTURA = "SVEFAKTURA"
    FATTURAPA = "FATTURAPA"
    EHF = "EHF"
    OIOUBL = "OIOUBL"
    SI_UBL = "SI_UBL"
    E2B = "E2B"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceHeader:
    """Values for people and for search, cut and stripped for display; None where the document does not say.

    Never required for sending. Source: names after EN 16931 (BT numbers below).
    """

    format: InvoiceFormat = InvoiceFormat.UNKNOWN
    root: str = ""
    """Local name of the root element of the invoice, without its prefix."""
    number: str | None = None
    """BT-1."""
    issue_date: date | None = None
    """BT-2."""
    due_date: date | None = None
    """BT-9."""
    currency: str | None = None
    """BT-5, three capital letters."""
    total: Decimal | None = None
    """BT-112: with VAT, as the document writes it; a credit note keeps its own sign."""
    seller_name: str | None = None
    """BT-27."""
    seller_id: str | None = None
    """BT-30, else BT-29, else BT-31: register, other or VAT identifier."""
    buyer_name: str | None = None
    """BT-44."""
    buyer_id: str | None = None
    """BT-47, else BT-46, else BT-48."""
    recipient_email: str | None = None
    """BT-49 when it is an e-mail address, else BT-58."""
    recipient_eia: str | None = None
    """BT-49: electronic address of the buyer with its scheme (`0192:123456789`), or the Finnish e-invoice address."""


UNKNOWN_HEADER = InvoiceHeader()

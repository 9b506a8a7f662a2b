"""Which invoice format a root element belongs to, and what its paths mean. Reads text already taken out of the XML."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from pipeline.domain import document_paths as paths
from pipeline.domain.document_values import (
    clean_text,
    read_amount,
    read_currency,
    read_date,
    read_eia,
    read_email,
)
from pipeline.domain.invoice_header import InvoiceFormat, InvoiceHeader

Attributes = Mapping[str, str]

CURRENCY_ATTRIBUTES: Final = ("currencyID", "AmountCurrencyIdentifier", "amountCurrencyID", "CURRENCY")
EMAIL_SCHEME: Final = "EM"
"""EAS code of an electronic address that is an e-mail address. Source: CEF EAS code list."""
BANK_SCHEME: Final = "SEPA"
"""Marks a bank's creditor reference among the seller's identifiers (EN 16931 BT-90); it does not name the seller."""


class PathNode:
    """One element name in the tree of wanted paths; `path` is set where a value is wanted."""

    __slots__ = ("children", "path")

    def __init__(self) -> None:
        """Start as a name that leads somewhere but is not wanted itself."""
        self.children: dict[str, PathNode] = {}
        self.path: str | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    """Text and attributes of the first element on a path that had any text."""

    text: str
    attributes: Attributes


@dataclass(frozen=True, eq=False)
class FormatFamily:
    """A root element, the namespace that proves it (a part of it is enough), and where its header lies."""

    format: InvoiceFormat
    root: str
    namespace_part: str
    paths: paths.Paths


FAMILIES: Final = (
    FormatFamily(InvoiceFormat.FINVOICE, "Finvoice", "", paths.FINVOICE),
    FormatFamily(InvoiceFormat.UBL, "Invoice", "ubl:schema:xsd:Invoice", paths.UBL),
    FormatFamily(InvoiceFormat.UBL, "CreditNote", "ubl:schema:xsd:CreditNote", paths.UBL),
    FormatFamily(InvoiceFormat.SVEFAKTURA, "Invoice", "sfti:documents:BasicInvoice", paths.SVEFAKTURA),
    FormatFamily(InvoiceFormat.CII, "CrossIndustryInvoice", "", paths.CII),
    FormatFamily(InvoiceFormat.FATTURAPA, "FatturaElettronica", "", paths.FATTURAPA),
    FormatFamily(InvoiceFormat.TEAPPSXML, "INVOICE_CENTER", "", paths.TEAPPSXML),
    FormatFamily(InvoiceFormat.E2B, "Interchange", "e2b.no", paths.E2B),
    # Without a known namespace the paths are worth a try, but the format stays unknown.
    FormatFamily(InvoiceFormat.UNKNOWN, "Invoice", "", paths.UBL),
    FormatFamily(InvoiceFormat.UNKNOWN, "CreditNote", "", paths.UBL),
)

_CUSTOMIZATIONS: Final = (
    ("xrechnung", InvoiceFormat.XRECHNUNG_UBL),
    ("nlcius", InvoiceFormat.SI_UBL),
    ("simplerinvoicing", InvoiceFormat.SI_UBL),
    ("ehf", InvoiceFormat.EHF),
    ("difi.no", InvoiceFormat.EHF),
    ("oioubl", InvoiceFormat.OIOUBL),
    ("peppol", InvoiceFormat.PEPPOL_BIS),
)


def family_of(root: str, namespace: str) -> FormatFamily | None:
    """Return the family of a root element, or None when no invoice format is known by that name."""
    for family in FAMILIES:
        if family.root == root and family.namespace_part in namespace:
            return family
    return None


@cache
def path_tree(family: FormatFamily) -> PathNode:
    """Return the wanted paths of a family as a tree to walk while parsing; shared, so never changed afterwards."""
    top = PathNode()
    for candidates in family.paths.values():
        for path in candidates:
            node = top
            for name in path.split("/"):
                node = node.children.setdefault(name, PathNode())
            node.path = path
    return top


def build_header(family: FormatFamily, root: str, captured: Mapping[str, Captured]) -> InvoiceHeader:
    """Turn captured text into a header; whatever cannot be read stays None."""

    def first(field: str) -> Captured | None:
        found = (captured[path] for path in family.paths.get(field, ()) if path in captured)
        return next(found, None)

    def text(field: str) -> str:
        value = first(field)
        return value.text if value else ""

    total, address = first("total"), first("recipient_eia")
    scheme = address.attributes.get("schemeID") if address else None
    is_email = scheme == EMAIL_SCHEME
    return InvoiceHeader(
        format=_refine(family.format, text("customization")),
        root=root,
        number=clean_text(text("number")),
        issue_date=read_date(text("issue_date")),
        due_date=read_date(text("due_date")),
        currency=read_currency(text("currency")) or _currency_of(total),
        total=read_amount(total.text) if total else None,
        seller_name=clean_text(text("seller_name")),
        seller_id=clean_text(text("seller_id")),
        buyer_name=clean_text(text("buyer_name")),
        buyer_id=clean_text(text("buyer_id")),
        recipient_email=(read_email(address.text) if address and is_email else None)
        or read_email(text("recipient_email")),
        recipient_eia=read_eia(address.text, scheme=scheme) if address and not is_email else None,
    )


def _currency_of(total: Captured | None) -> str | None:
    if total is None:
        return None
    marked = (total.attributes[name] for name in CURRENCY_ATTRIBUTES if name in total.attributes)
    return read_currency(next(marked, ""))


def _refine(family_format: InvoiceFormat, customization: str) -> InvoiceFormat:
    lowered = customization.lower()
    if family_format is InvoiceFormat.CII:
        return InvoiceFormat.XRECHNUNG_CII if "xrechnung" in lowered else InvoiceFormat.CII
    if family_format is not InvoiceFormat.UBL:
        return family_format
    return next((known for mark, known in _CUSTOMIZATIONS if mark in lowered), InvoiceFormat.UBL)

"""Which invoice format a root element belongs to, and what its paths mean. Reads text already taken out of the XML."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Final

from pipeline.domain import document_letter as letters
from pipeline.domain import document_paths as paths
from pipeline.domain.document_values import (
    clean_text,
    read_amount,
    read_currency,
    read_date,
)
from pipeline.domain.invoice_header import InvoiceFormat, InvoiceHeader

Attributes = Mapping[str, str]

CURRENCY_ATTRIBUTES: Final = ("currencyID", "AmountCurrencyIdentifier", "amountCurrencyID", "CURRENCY")
BANK_SCHEME: Final = "SEPA"
"""Marks a bank's creditor reference among the seller's identifiers (EN 16931 BT-90); it does not name the seller."""


class PathNode:
    """One element name in the tree of wanted paths; `path` is set where a value is wanted, `times` says how often."""

    __slots__ = ("children", "path", "times")

    def __init__(self) -> None:
        """Start as a name that leads somewhere but is not wanted itself."""
        self.children: dict[str, PathNode] = {}
        self.path: str | None = None
        self.times = 1

    def free_path(self, taken: Container[str]) -> str | None:
        """Return the path under which the next value is kept, or None when none is wanted any more."""
        if self.path is None or self.path not in taken:
            return self.path
        again = (f"{self.path}[{number}]" for number in range(2, self.times + 1))
        return next((path for path in again if path not in taken), None)


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
    letters: tuple[letters.Letter, ...]


FAMILIES: Final = (
    FormatFamily(InvoiceFormat.FINVOICE, "Finvoice", "", paths.FINVOICE, letters.FINVOICE),
    FormatFamily(InvoiceFormat.UBL, "Invoice", "ubl:schema:xsd:Invoice", paths.UBL, letters.UBL),
    FormatFamily(InvoiceFormat.UBL, "CreditNote", "ubl:schema:xsd:CreditNote", paths.UBL, letters.UBL),
    FormatFamily(
        InvoiceFormat.SVEFAKTURA, "Invoice", "sfti:documents:BasicInvoice", paths.SVEFAKTURA, letters.SVEFAKTURA
    ),
    FormatFamily(InvoiceFormat.CII, "CrossIndustryInvoice", "", paths.CII, letters.CII),
    FormatFamily(InvoiceFormat.FATTURAPA, "FatturaElettronica", "", paths.FATTURAPA, letters.FATTURAPA),
    FormatFamily(InvoiceFormat.TEAPPSXML, "INVOICE_CENTER", "", paths.TEAPPSXML, letters.TEAPPSXML),
    FormatFamily(InvoiceFormat.E2B, "Interchange", "e2b.no", paths.E2B, letters.E2B),
    # Without a known namespace the paths are worth a try, but the format stays unknown.
    FormatFamily(InvoiceFormat.UNKNOWN, "Invoice", "", paths.UBL, letters.UBL),
    FormatFamily(InvoiceFormat.UNKNOWN, "CreditNote", "", paths.UBL, letters.UBL),
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
    postal = (path for letter in family.letters for path in letter.paths())
    for wanted in chain(chain.from_iterable(family.paths.values()), postal):
        path, _, number = wanted.removesuffix("]").partition("[")
        node = top
        for name in path.split("/"):
            node = node.children.setdefault(name, PathNode())
        node.path, node.times = path, max(node.times, int(number or 1))
    return top


def build_header(
    family: FormatFamily, root: str, captured: Mapping[str, Captured], *, eia: str | None, email: str | None
) -> InvoiceHeader:
    """Turn captured text into a header; whatever cannot be read stays None."""

    def first(field: str) -> Captured | None:
        # A loop and no generator: asked ten times for each invoice there is.
        for path in family.paths.get(field, ()):
            if path in captured:
                return captured[path]
        return None

    def text(field: str) -> str:
        value = first(field)
        return value.text if value else ""

    total = first("total")
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
        recipient_email=email,
        recipient_eia=eia,
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

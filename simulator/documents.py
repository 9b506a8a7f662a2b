"""Reads number, parties, totals, dates and format from an invoice's XML.

Covers Finvoice, TEAPPSXML, UBL and CII; other formats are taken when the sender names them. Works on paths of local
names through expat, which is both fast and, with document types refused, safe against entity bombs and XXE.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final
from xml.parsers import expat

from simulator.errors import invalid_parameters
from simulator.paths import ATTRIBUTES, FAMILIES, Family

DEPTH_LIMIT = 200
TEXT_LIMIT = 4096  # no field that is read is longer
SOAP_END: Final = re.compile(rb"</(?:[A-Za-z0-9_-]+:)?Envelope\s*>")
SOAP_START: Final = re.compile(rb"<(?:[A-Za-z0-9_-]+:)?Envelope[\s>]")
DIGITS_OF_DATE = 8


@dataclass(frozen=True, slots=True)
class Facts:
    """What the operator reads from an invoice; empty text where the invoice says nothing."""

    source_format: str
    family: str
    number: str = ""
    reference: str = ""
    date: str = ""
    date_due: str = ""
    currency: str = ""
    sum: Decimal | None = None
    sum_tax: Decimal | None = None
    sender: dict[str, str] = field(default_factory=dict)
    recipient: dict[str, str] = field(default_factory=dict)
    recipient_email: str = ""

    def missing(self) -> list[str]:
        """Name what the minimum-information check does not find."""
        wanted = {
            "invoice number": self.number, "invoice date": self.date, "currency": self.currency,
            "sender name": self.sender.get("name"), "recipient name": self.recipient.get("name"),
            "sum with tax": "" if self.sum_tax is None else "there",
        }  # fmt: skip
        return [name for name, value in wanted.items() if not value] if self.family else []


def read(xml: bytes, stated_format: str | None) -> Facts:
    """Read the facts of an invoice.

    Raises: Refusal 400 for what is not well-formed, carries a document type, or has an unknown root and no format.
    """
    reader = _Reader()
    reader.feed(_without_envelope(xml))
    family = FAMILIES.get(reader.root)
    if family is None:
        if not stated_format:
            raise invalid_parameters("format of the invoice could not be detected")
        return Facts(source_format=stated_format, family="")
    found = reader.found
    return Facts(
        source_format=stated_format or _format(family.name, reader),
        family=family.name,
        number=found.get("number", ""),
        reference=found.get("reference", ""),
        date=_date(found, "date"),
        date_due=_date(found, "date_due"),
        currency=found.get("currency", ""),
        sum=_amount(found.get("sum", "")),
        sum_tax=_amount(found.get("sum_tax", "")),
        sender=_party(found, "sender"),
        recipient=_party(found, "recipient"),
        recipient_email=found.get("recipient_email", ""),
    )


def _without_envelope(xml: bytes) -> bytes:
    """Cut a SOAP envelope off that Finvoice senders put in front of the invoice."""
    if not SOAP_START.search(xml[:2000]):
        return xml
    end = SOAP_END.search(xml)
    rest = xml[end.end() :].lstrip() if end else b""
    return rest or xml


class _Reader:
    """One pass over the XML that keeps the first value of every path asked for."""

    def __init__(self) -> None:
        self.root = ""
        self.version = ""
        self.found: dict[str, str] = {}
        self._family: Family | None = None
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._key = ""

    def feed(self, xml: bytes) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(xml, True)
        except (expat.ExpatError, ValueError, LookupError) as exc:
            raise invalid_parameters(f"file is not well-formed XML: {exc}") from exc

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self._path:
            self.root, self.version = name, attributes.get("Version", "")
            self._family = FAMILIES.get(name)
        self._path.append(name)
        if len(self._path) > DEPTH_LIMIT:
            raise invalid_parameters("XML is nested too deeply")
        family = self._family
        if family is not None and name in family.leaves:
            self._open(family, attributes)

    def _open(self, family: Family, attributes: dict[str, str]) -> None:
        path = "/".join(self._path[1:])
        key = family.paths.get(path + "@" + attributes["VAT"]) if "VAT" in attributes else family.paths.get(path)
        if key is None or key in self.found:
            return
        self._key, self._text = key, []
        for attribute, target in ATTRIBUTES.items():
            if attribute in attributes and key in target:
                self.found.setdefault(target[key], attributes[attribute])

    def _end(self, _tag: str) -> None:
        self._path.pop()
        if self._text is not None:
            self.found[self._key] = "".join(self._text).strip()[:TEXT_LIMIT]
            self._text = None

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    @staticmethod
    def _doctype(*_: object) -> None:
        raise invalid_parameters("XML with a document type is not taken")


def _format(family: str, reader: _Reader) -> str:
    profile = reader.found.get("profile", "").lower()
    if family == "FINVOICE":
        return {"1": "FINVOICE13", "2": "FINVOICE20"}.get(reader.version[:1], "FINVOICE30")
    if family == "TEAPPS":
        return "TEAPPS27" if reader.found.get("version", "").startswith("2") else "TEAPPS30"
    if "xrechnung" in profile or family == "CII":
        version = "23" if "xrechnung_2" in profile else "30"
        return f"XRECHNUNG{version}{'EXT' if '#conformant#' in profile else ''}{family}"
    return "PEPPOLBIS20" if "ver2.0" in profile else "PEPPOLBIS30"


def _date(found: dict[str, str], name: str) -> str:
    """Give a date as YYYY-MM-DD, whether written so, as CCYYMMDD, or in TEAPPSXML's four elements."""
    text = found.get(name, "")
    if f"{name}_century" in found:
        parts = (found.get(f"{name}_{part}", "").rjust(2, "0") for part in ("century", "decade", "month", "day"))
        text = "".join(parts)
    digits = text[:10].replace("-", "")
    if len(digits) != DIGITS_OF_DATE or not digits.isdecimal():
        return ""
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def _amount(text: str) -> Decimal | None:
    """Read an amount with decimal point or decimal comma."""
    try:
        value = Decimal(text.replace("\u00a0", "").replace(" ", "").replace(",", "."))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _party(found: dict[str, str], role: str) -> dict[str, str]:
    names = ("eia", "bid", "name", "country", "operator")
    return {name: found[f"{role}_{name}"] for name in names if found.get(f"{role}_{name}")}

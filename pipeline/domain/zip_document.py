"""The one invoice inside a ZIP: which entry it is, and that all the others may stay. Unpacks nothing to disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from pipeline.domain.document_limits import DocumentLimits
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import (
    DocumentError,
    DocumentTooLargeError,
    NestedZipError,
    ZipWithoutInvoiceError,
    ZipWithSeveralInvoicesError,
)
from pipeline.domain.xml_document import XmlReading, read_xml
from pipeline.domain.zip_entries import Unpacker, ZipEntry, list_entries

ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_XML_STARTS: Final = (b"<?xml", b"\xef\xbb\xbf<?xml", b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0?\0", b"\0<\0?")
_OFFICE_SUFFIXES: Final = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp")
"""Office files are ZIPs inside, yet ordinary attachments (EN 16931 BT-125 names xlsx and ods); nobody unpacks them."""
_MAC_FOLDER: Final = "__MACOSX/"
"""macOS adds a folder of binary twins, `._invoice.xml` among them, that are no XML."""
_SHOWN_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    reading: XmlReading


def read_zip(content: bytes, *, filename: str, limits: DocumentLimits) -> XmlReading:
    """Check every entry of a ZIP and return what was read of the one invoice in it.

    Entries with a known invoice root count first; without any, a lone XML is taken for the invoice.
    Raises: DocumentError in one of its kinds, and nothing else.
    """
    unpacker = Unpacker(content, filename=filename, limits=limits)
    candidates = []
    for entry in list_entries(content, filename=filename, limits=limits):
        reading = _read_entry(unpacker, entry, filename=filename, limits=limits)
        if reading is not None:
            candidates.append(_Candidate(entry.name, reading))
    return _choose(candidates, filename=filename)


def _choose(candidates: list[_Candidate], *, filename: str) -> XmlReading:
    invoices = [candidate for candidate in candidates if candidate.reading.recognised] or candidates
    if len(invoices) == 1:
        return invoices[0].reading
    where = shown_name(filename)
    if not invoices:
        raise ZipWithoutInvoiceError(f"{where}: no XML invoice in the ZIP; put exactly one into it")
    names = ", ".join(shown_name(candidate.name) for candidate in invoices[:_SHOWN_NAMES])
    more = f" and {len(invoices) - _SHOWN_NAMES} more" if len(invoices) > _SHOWN_NAMES else ""
    raise ZipWithSeveralInvoicesError(
        f"{where}: {len(invoices)} XML files could be the invoice ({names}{more}); make one ZIP for each invoice"
    )


def _read_entry(unpacker: Unpacker, entry: ZipEntry, *, filename: str, limits: DocumentLimits) -> XmlReading | None:
    name, where = entry.name.lower(), shown_name(filename, entry.name)
    pieces = unpacker.unpack(entry)
    first = next(pieces, b"")
    office = name.endswith(_OFFICE_SUFFIXES)
    if name.endswith(".zip") or (first.startswith(ZIP_MAGICS) and not office):
        raise NestedZipError(f"{where}: a ZIP inside the ZIP; put the files themselves into one ZIP")
    named_xml = name.endswith(".xml") and not entry.name.startswith(_MAC_FOLDER)
    if not named_xml and not first.startswith(_XML_STARTS):
        _drain(pieces)
        return None
    if entry.size > limits.max_bytes:
        raise DocumentTooLargeError(f"{where}: larger than {limits.max_bytes:,} bytes; send a smaller invoice")
    try:
        return read_xml(b"".join(chain((first,), pieces)), where=where, limits=limits)
    except DocumentError:
        # Only a file that calls itself .xml must be one: a stylesheet or web page beside the invoice is an attachment.
        if named_xml:
            raise
        _drain(pieces)
        return None


def _drain(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass

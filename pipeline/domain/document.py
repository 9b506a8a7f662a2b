"""A document: the bytes of one invoice as they will be sent, checked and named. Knows neither storage nor operator."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.document_limits import DEFAULT_LIMITS, DocumentLimits
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import DocumentError, DocumentTooLargeError, EmptyDocumentError
from pipeline.domain.invoice_header import InvoiceFormat, InvoiceHeader
from pipeline.domain.recipient import Recipient
from pipeline.domain.xml_document import XmlReading, read_xml
from pipeline.domain.xml_encoding import looks_like_xml
from pipeline.domain.zip_document import ZIP_MAGICS, read_zip

__all__ = [
    "DEFAULT_LIMITS",
    "Document",
    "DocumentKind",
    "DocumentLimits",
    "InvoiceFormat",
    "InvoiceHeader",
    "Recipient",
    "inspect",
    "looks_like_document",
    "read_recipient",
]


class DocumentKind(StrEnum):
    """How the bytes are packed, told by their content and never by a file name."""

    XML = "XML"
    ZIP = "ZIP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Immutable bytes that passed inspection, with their SHA-256 and what people search them by."""

    content: bytes = field(repr=False)
    sha256: bytes
    """32 bytes, over `content` exactly as given."""
    size: int
    kind: DocumentKind
    filename: str
    """As the caller gave it; not made safe for a screen."""
    header: InvoiceHeader


def inspect(
    content: bytes, *, filename: str, limits: DocumentLimits = DEFAULT_LIMITS, sha256: bytes | None = None
) -> Document:
    """Check a document to its last byte and read its header; change nothing.

    `filename` serves messages only; `sha256` is given by those who had to know it before.
    Raises: DocumentError in one of its kinds, one line each, and nothing else.
    """
    kind, reading = _read(content, filename=filename, limits=limits)
    return Document(
        content=content,
        sha256=sha256 or hashlib.sha256(content).digest(),
        size=len(content),
        kind=kind,
        filename=filename,
        header=reading.header(),
    )


def read_recipient(content: bytes, *, limits: DocumentLimits = DEFAULT_LIMITS) -> Recipient:
    """Read where an invoice can be sent instead; raise nothing.

    `content` is what inspect() takes, held to the same bounds; what it would refuse says nothing of a recipient.
    """
    try:
        return _read(content, filename="", limits=limits)[1].recipient()
    except DocumentError:
        return Recipient()


def _read(content: bytes, *, filename: str, limits: DocumentLimits) -> tuple[DocumentKind, XmlReading]:
    where = shown_name(filename)
    if not content:
        raise EmptyDocumentError(f"{where}: the file is empty; export the invoice again")
    if len(content) > limits.max_bytes:
        raise DocumentTooLargeError(
            f"{where}: larger than {limits.max_bytes:,} bytes; send fewer or smaller attachments"
        )
    if content.startswith(ZIP_MAGICS):
        return DocumentKind.ZIP, read_zip(content, filename=filename, limits=limits)
    return DocumentKind.XML, read_xml(content, where=where, limits=limits)


def looks_like_document(start: bytes) -> bool:
    """Say whether the first bytes of a file are worth an inspection: XML or ZIP by content."""
    return start.startswith(ZIP_MAGICS) or looks_like_xml(start)

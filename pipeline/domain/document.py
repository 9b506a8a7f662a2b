"""A document: the bytes of one invoice as they will be sent, checked and named. Knows neither storage nor operator."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.document_limits import DEFAULT_LIMITS, DocumentLimits
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import DocumentTooLargeError, EmptyDocumentError
from pipeline.domain.invoice_header import InvoiceFormat, InvoiceHeader
from pipeline.domain.xml_document import read_xml
from pipeline.domain.xml_encoding import looks_like_xml
from pipeline.domain.zip_document import ZIP_MAGICS, read_zip

__all__ = [
    "DEFAULT_LIMITS",
    "Document",
    "DocumentKind",
    "DocumentLimits",
    "InvoiceFormat",
    "InvoiceHeader",
    "inspect",
    "looks_like_document",
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


def inspect(content: bytes, *, filename: str, limits: DocumentLimits = DEFAULT_LIMITS) -> Document:
    """Check a document to its last byte and read its header; change nothing.

    `filename` serves messages only. Raises: DocumentError in one of its kinds, one line each, and nothing else.
    """
    where = shown_name(filename)
    if not content:
        raise EmptyDocumentError(f"{where}: the file is empty; export the invoice again")
    if len(content) > limits.max_bytes:
        raise DocumentTooLargeError(
            f"{where}: larger than {limits.max_bytes:,} bytes; send fewer or smaller attachments"
        )
    if content.startswith(ZIP_MAGICS):
        kind, header = DocumentKind.ZIP, read_zip(content, filename=filename, limits=limits)
    else:
        kind, header = DocumentKind.XML, read_xml(content, where=where, limits=limits).header
    return Document(
        content=content,
        sha256=hashlib.sha256(content).digest(),
        size=len(content),
        kind=kind,
        filename=filename,
        header=header,
    )


def looks_like_document(start: bytes) -> bool:
    """Say whether the first bytes of a file are worth an inspection: XML or ZIP by content."""
    return start.startswith(ZIP_MAGICS) or looks_like_xml(start)

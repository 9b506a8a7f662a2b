"""One XML invoice read in a single streaming pass: well-formed to the last byte, header and recipient on the way.

Knows formats only through document_format; never builds a tree, never changes a byte, never follows a reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from pipeline.domain.document_format import (
    BANK_SCHEME,
    Attributes,
    Captured,
    FormatFamily,
    PathNode,
    build_header,
    family_of,
    path_tree,
)
from pipeline.domain.document_limits import DocumentLimits
from pipeline.domain.document_recipient import build_recipient, read_addresses
from pipeline.domain.errors import (
    BrokenXmlError,
    EmptyDocumentError,
    ForbiddenXmlError,
    NotAnInvoiceError,
    SeveralInvoicesError,
    WrongEncodingError,
    XmlTooComplexError,
)
from pipeline.domain.invoice_header import InvoiceFormat, InvoiceHeader
from pipeline.domain.recipient import Recipient
from pipeline.domain.xml_encoding import (
    XML_BLANKS,
    check_bytes_fit,
    check_declared,
    check_not_utf8_in_disguise,
    declared_encoding,
    looks_like_xml,
    refuse_doctype,
    refuse_other_kinds,
    utf16_of,
)

CHUNK_BYTES: Final = 256 * 1024
"""Large enough for most invoices in one call; small enough to notice an endless tag or name list early."""
MAX_CAPTURED_CHARACTERS: Final = 4096
"""More than any header value; the rest of an endless value is parsed but not kept."""

_SOAP_NAMESPACES: Final = ("schemas.xmlsoap.org/soap/envelope", "www.w3.org/2003/05/soap-envelope")
_WRAPPER: Final = "StandardBusinessDocument"
_MISPLACED_DECLARATION: Final = expat.errors.codes[expat.errors.XML_ERROR_MISPLACED_XML_PI]
_JUNK_BEHIND: Final = expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
_NOT_FINISHED: Final = {
    expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION],
}
_ENCODING_REFUSED: Final = {
    expat.errors.codes[expat.errors.XML_ERROR_INCORRECT_ENCODING],
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
}
_NO_WISH: Final = PathNode()


@dataclass(frozen=True, slots=True)
class XmlReading:
    """What one pass over an XML document found; made into a header or a recipient when asked for."""

    root: str
    family: FormatFamily | None
    captured: Mapping[str, Captured]

    @property
    def recognised(self) -> bool:
        """Tell a known invoice root from any other XML."""
        return self.family is not None and self.family.format is not InvoiceFormat.UNKNOWN

    def header(self) -> InvoiceHeader:
        """Return what people search the invoice by."""
        if self.family is None:
            return InvoiceHeader(root=self.root)
        eia, email = read_addresses(self.family, self.captured)
        return build_header(self.family, self.root, self.captured, eia=eia, email=email)

    def recipient(self) -> Recipient:
        """Return where the invoice can be sent instead."""
        return build_recipient(self.family, self.captured) if self.family else Recipient()


def read_xml(content: bytes, *, where: str, limits: DocumentLimits) -> XmlReading:
    """Check an XML document to its last byte and read its header and recipient.

    A SOAP envelope in front of a Finvoice makes two XML documents in one file; each is checked in its own encoding.
    `where` names the file in messages. Raises: DocumentError in one of its kinds, and nothing else.
    """
    if not content.strip(XML_BLANKS + b"\0\xff\xfe\xef\xbb\xbf"):
        raise EmptyDocumentError(f"{where}: the file is empty; export the invoice again")
    first = _Pass(content, where=where, limits=limits, first_line=1)
    rest_at = first.run()
    if rest_at is None and not first.is_soap:
        return first.reading()
    if rest_at is None:
        raise NotAnInvoiceError(
            f"{where}: a SOAP envelope without an invoice behind it; the file is cut off, export it again"
        )
    second = _Pass(
        content[rest_at:],
        where=where,
        limits=limits,
        first_line=content.count(b"\n", 0, rest_at) + 1,
        fallback_encoding=declared_encoding(content),
    )
    if second.run() is not None or second.is_soap:
        raise _several(where)
    return second.reading()


def _several(where: str) -> SeveralInvoicesError:
    return SeveralInvoicesError(
        f"{where}: another XML document follows behind the invoice; split the file, one invoice in each"
    )


class _Pass:
    """One expat parser over one XML document, with the wanted paths walked along as a tree."""

    def __init__(
        self,
        content: bytes,
        *,
        where: str,
        limits: DocumentLimits,
        first_line: int,
        fallback_encoding: str | None = None,
    ) -> None:
        self._content, self._where, self._limits, self._first_line = content, where, limits, first_line
        self._fallback_encoding = fallback_encoding
        self._root = self._namespace = ""
        self._family: FormatFamily | None = None
        self._open: list[PathNode] = []
        self._closed = False
        self._captured: dict[str, Captured] = {}
        self._capturing: str | None = None
        self._texts: list[str] = []
        self._kept = 0
        self._attributes: Attributes = {}
        self._names: dict[str, str] = {}

    @property
    def is_soap(self) -> bool:
        """Say whether the root is a SOAP envelope, which in Finvoice stands in front of the invoice."""
        return self._root == "Envelope" and any(known in self._namespace for known in _SOAP_NAMESPACES)

    def reading(self) -> XmlReading:
        """Return what was found; only meaningful after run() came to the end."""
        if self._root.lower() == "html":
            raise NotAnInvoiceError(f"{self._where}: this is a web page, not an invoice; send the XML invoice")
        return XmlReading(self._root, self._family, self._captured)

    def run(self) -> int | None:
        """Parse to the end and return None, or the offset of a second document behind a SOAP envelope."""
        content, where = self._content, self._where
        check_declared(content, where=where)
        if not looks_like_xml(content):
            refuse_other_kinds(content, where=where)
        refuse_doctype(content, where=where)
        parser = self._parser()
        try:
            self._feed(parser)
        except expat.ExpatError as exc:
            if not (self._closed and self.is_soap):
                raise self._explained(exc) from exc
            end = parser.ErrorByteIndex
            check_not_utf8_in_disguise(content[:end], where=where)
            return end
        except (LookupError, ValueError) as exc:
            # What pyexpat raises for encodings it cannot turn into a table of 256 characters.
            raise WrongEncodingError(
                f"{where}: declares an encoding that is not supported; export it as UTF-8"
            ) from exc
        finally:
            # Parser and handlers hold each other; untied, the content is freed at once and not by the next collection.
            parser.StartElementHandler = parser.EndElementHandler = None
            parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
        check_not_utf8_in_disguise(content, where=where)
        return None

    def _parser(self) -> expat.XMLParserType:
        own = utf16_of(self._content) or declared_encoding(self._content)
        parser = expat.ParserCreate(None if own else self._fallback_encoding, intern=self._names)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat = parser
        return parser

    def _feed(self, parser: expat.XMLParserType) -> None:
        content, limits = self._content, self._limits
        if len(content) <= CHUNK_BYTES:
            parser.Parse(content, True)
            return
        window = memoryview(content)
        for start in range(0, len(content), CHUNK_BYTES):
            end = start + CHUNK_BYTES
            parser.Parse(window[start:end], end >= len(content))
            # An unfinished token is scanned again with every chunk: without a bound that is quadratic.
            if end - parser.CurrentByteIndex > limits.max_token_bytes and end < len(content):
                raise self._too_complex("one tag or comment is too long")
            if len(self._names) > limits.max_distinct_names:
                raise self._too_complex("too many different element names")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        opened = self._open
        depth = len(opened)
        if depth >= self._limits.max_depth:
            raise self._too_complex(f"elements are nested more than {self._limits.max_depth} deep")
        if depth < 2 and self._family is None:  # noqa: PLR2004 - the root, or the first level inside its wrapper
            opened.append(self._enter_root(name, name.rpartition(":")[2], attributes, depth))
            return
        # Called for every element there is, and nearly all of them lie where nothing is wanted.
        wishes = opened[-1].children
        node = wishes.get(name.rpartition(":")[2], _NO_WISH) if wishes else _NO_WISH
        opened.append(node)
        if node.path is None:
            return
        path = node.free_path(self._captured)
        if path is not None and attributes.get("schemeID") != BANK_SCHEME:
            self._capturing = path
            self._texts, self._kept, self._attributes = [], 0, attributes
            self._expat.CharacterDataHandler = self._text

    def _enter_root(self, name: str, local: str, attributes: dict[str, str], depth: int) -> PathNode:
        if depth == 1 and self._root != _WRAPPER:
            return _NO_WISH
        prefix = name.rpartition(":")[0]
        namespace = attributes.get(f"xmlns:{prefix}" if prefix else "xmlns", "")
        family = family_of(local, namespace)
        if depth == 0 or family is not None:
            self._root, self._namespace, self._family = local, namespace, family
        return path_tree(family) if family else _NO_WISH

    def _text(self, text: str) -> None:
        if self._kept < MAX_CAPTURED_CHARACTERS:
            self._texts.append(text[:MAX_CAPTURED_CHARACTERS])
            self._kept += len(text)

    def _end(self, _name: str) -> None:
        node = self._open.pop()
        if node.path is not None:
            self._expat.CharacterDataHandler = None
            text = "".join(self._texts).strip()
            if text and self._capturing:
                self._captured[self._capturing] = Captured(text, self._attributes)
            self._capturing, self._texts = None, []
        elif not self._open:
            self._closed = True

    def _refuse_doctype(self, *_declared: object) -> None:
        # Second line of defence: refuse_doctype() has walked the prologue before the parser started.
        raise ForbiddenXmlError(f"{self._where}: carries a DTD (DOCTYPE), which invoices must not have")

    def _too_complex(self, reason: str) -> XmlTooComplexError:
        return XmlTooComplexError(f"{self._where}: {reason}; this is no invoice as any program writes it")

    def _explained(self, exc: expat.ExpatError) -> Exception:
        where = self._where
        check_bytes_fit(self._content, where=where)
        if self._closed and exc.code in {_JUNK_BEHIND, _MISPLACED_DECLARATION}:
            rest = self._content[self._expat.ErrorByteIndex :]
            if rest.startswith((b"<", b"\xef\xbb\xbf<")):
                return _several(where)
        if exc.code in _ENCODING_REFUSED:
            return WrongEncodingError(f"{where}: the declared encoding is not the one it is written in; correct it")
        line = self._first_line + exc.lineno - 1
        if exc.code == _MISPLACED_DECLARATION and not self._root:
            return BrokenXmlError(
                f"{where}: blanks or other bytes stand before <?xml, which must be the very first; remove them"
            )
        if exc.code in _NOT_FINISHED:
            return BrokenXmlError(
                f"{where}: the XML ends in the middle (line {line}); the file is cut off, export it again"
            )
        reason = expat.errors.messages.get(exc.code, "not well-formed")
        return BrokenXmlError(
            f"{where}: not well-formed XML at line {line}, column {exc.offset + 1} ({reason}); export the invoice again"
        )

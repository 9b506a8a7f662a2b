"""What the first bytes of an XML document say about its encoding, and whether the rest agrees. Changes no byte."""

import codecs
import re
from typing import Final

from pipeline.domain.errors import ForbiddenXmlError, NotAnInvoiceError, WrongEncodingError

XML_BLANKS: Final = b" \t\r\n"

_EIGHT_BIT: Final = {"iso-8859-1": "iso8859-1", "iso-8859-15": "iso8859-15", "windows-1252": "cp1252"}
ENCODINGS: Final = {
    **_EIGHT_BIT,
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "latin1": "iso8859-1",
    "iso8859-1": "iso8859-1",
    "iso8859-15": "iso8859-15",
    "cp1252": "cp1252",
}
"""Declared names we read, in small letters, and Python's names for them. Others are refused: few readers know them."""

_DECLARATION: Final = re.compile(rb"<\?xml\s[^>]{0,200}?\bencoding\s*=\s*[\"']([^\"'>]{0,60})[\"']")
_UTF16_MARKS: Final = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_UTF16_STARTS: Final = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))

_UTF8_LETTER: Final = re.compile(rb"[\xc2\xc3][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
"""Sequences that are everyday letters and signs in UTF-8 and next to impossible in the 8-bit encodings.

Two-byte sequences with the leads C4 to DF are left out on purpose: in ISO-8859-x they read as a capital with a no-break
blank or a quotation mark behind it ("YHTEENSÄ" and a no-break blank), which honest documents do contain.
"""


def utf16_of(content: bytes) -> str | None:
    """Return Python's name of the UTF-16 flavour the first bytes prove, or None for 8-bit documents."""
    return next((name for mark, name in (*_UTF16_MARKS, *_UTF16_STARTS) if content.startswith(mark)), None)


def looks_like_xml(content: bytes) -> bool:
    """Say whether the first visible character is `<`, in any encoding an XML parser would recognise."""
    if utf16_of(content):
        return content[:4].strip(b"\0\xff\xfe").startswith((b"<", b" ", b"\t", b"\r", b"\n"))
    return content[:4096].removeprefix(codecs.BOM_UTF8).lstrip(XML_BLANKS).startswith(b"<")


def declared_encoding(content: bytes) -> str | None:
    """Return the encoding the XML declaration names, in small letters, or None without one.

    Expects an 8-bit document: a UTF-16 document has said what it is before its declaration can be read.
    """
    found = _DECLARATION.match(content.removeprefix(codecs.BOM_UTF8)[:400])
    return found.group(1).decode("ascii", "replace").lower() if found else None


def check_declared(content: bytes, *, where: str) -> None:
    """Refuse encodings no reader is sure to know, before a parser meets them.

    Raises: WrongEncodingError.
    """
    if content.startswith((codecs.BOM_UTF32_BE, b"\xff\xfe\0\0", b"\0\0\0<", b"<\0\0\0")):
        raise WrongEncodingError(f"{where}: written in UTF-32, which XML readers do not know; export it as UTF-8")
    if utf16_of(content):
        return
    declared = declared_encoding(content)
    if declared is not None and declared not in ENCODINGS:
        raise WrongEncodingError(
            f"{where}: declares an encoding that is not supported; export it as UTF-8, UTF-16, ISO-8859-1, "
            "ISO-8859-15 or Windows-1252"
        )
    if content.startswith(codecs.BOM_UTF8) and declared not in {None, "utf-8", "utf8"}:
        raise WrongEncodingError(
            f"{where}: starts with a UTF-8 mark but declares another encoding; make the declaration say UTF-8"
        )


def refuse_doctype(content: bytes, *, where: str) -> None:
    """Refuse a DTD by walking the prologue ourselves, so that no parser ever sees an entity declaration.

    A handler of the parser would be too late: Python's expat goes on to the end of the chunk after a handler raised.
    Raises: ForbiddenXmlError.
    """
    utf16 = utf16_of(content)
    # In UTF-16 the mark is refused anywhere: walking in two-byte steps is not worth the one comment that may hold it.
    found = "<!DOCTYPE".encode(utf16) in content if utf16 else _prologue_ends_with_doctype(content)
    if found:
        raise ForbiddenXmlError(
            f"{where}: carries a DTD (DOCTYPE), which invoices must not have; export it without DTD and entities"
        )


def _prologue_ends_with_doctype(content: bytes) -> bool:
    at = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    while True:
        at = content.find(b"<", at)
        if at < 0:
            return False
        if content.startswith(b"<?", at):
            closing, width = content.find(b"?>", at + 2), 2
        elif content.startswith(b"<!--", at):
            closing, width = content.find(b"-->", at + 4), 3
        else:
            # Only `<!DOCTYPE` may begin with `<!` here, so any other such thing is refused by the parser anyway.
            return content.startswith(b"<!D", at)
        if closing < 0:
            return False
        at = closing + width


def check_bytes_fit(content: bytes, *, where: str) -> None:
    """Refuse bytes that are not of the declared encoding; asked only after a parser gave up on the document.

    Raises: WrongEncodingError naming line and byte.
    """
    declared = declared_encoding(content) or "utf-8"
    name = utf16_of(content) or ENCODINGS.get(declared, "utf-8")
    if name.startswith("utf-16") and utf16_of(content) is None:
        raise WrongEncodingError(
            f"{where}: declares UTF-16 but is written in an 8-bit encoding; make the declaration say what it is"
        )
    try:
        content.decode(name)
    except UnicodeDecodeError as exc:
        raise WrongEncodingError(
            f"{where}: line {_line_of(content, exc.start)}, byte {exc.start} is not {name.upper()} as declared; "
            "correct the declaration or export it again"
        ) from exc


def check_not_utf8_in_disguise(content: bytes, *, where: str) -> None:
    """Refuse a document that declares an 8-bit encoding but is UTF-8: its recipient would read `Ã¤` for `ä`.

    All non-ASCII bytes must form valid UTF-8 and one of them must be an everyday letter or sign. Text in ISO-8859-x
    meets that only if every ä, ö or é were followed by a control character or sign; a false alarm needs a document
    whose only non-ASCII text is a quoted `Ã¤`. Real UTF-8 with nothing but rare letters slips through instead.
    Raises: WrongEncodingError naming line and byte.
    """
    declared = declared_encoding(content)
    if declared is None or ENCODINGS.get(declared) not in _EIGHT_BIT.values() or content.isascii():
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return
    if found := _UTF8_LETTER.search(content):
        raise WrongEncodingError(
            f"{where}: declares {declared.upper()} but is written in UTF-8 (line {_line_of(content, found.start())}, "
            f"byte {found.start()}); make the declaration say UTF-8, else its recipient reads garbage"
        )


def refuse_other_kinds(content: bytes, *, where: str) -> None:
    """Say what a file is that is neither XML nor ZIP.

    Raises: NotAnInvoiceError.
    """
    for magic, kind in _OTHER_KINDS:
        if content.startswith(magic):
            raise NotAnInvoiceError(
                f"{where}: this is {kind}, not an invoice; send the XML, or a ZIP with the XML and its attachments"
            )
    raise NotAnInvoiceError(f"{where}: neither XML nor ZIP; send the XML invoice, or a ZIP with it")


_OTHER_KINDS: Final = (
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"\xd0\xcf\x11\xe0", "an Office file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"UNA", "EDIFACT"),
    (b"UNB", "EDIFACT"),
)


def _line_of(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1

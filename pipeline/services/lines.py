"""Lines: documents asked to be submitted, each with its terms. Says where the bytes are; reads files of none."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import DocumentError
from pipeline.domain.zip_document import ZIP_MAGICS
from pipeline.domain.zip_of_many import PackedInvoice, PackedOther, unpack_many
from pipeline.services.gather import STDIN_PATH, Found, Gathered, Skipped, Unreadable, open_file
from pipeline.services.wanted import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One document to be submitted: its bytes, or the file that has them."""

    path: str
    """What a person knows it by; may hold bytes of a file name that are no text."""
    name: str
    """The file name it goes out under, before it is made safe."""
    terms: Terms
    number: int | None = None
    """Of the manifest's line."""
    file: str | None = None
    content: bytes | None = field(default=None, repr=False)
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLine:
    """What was found and cannot be, or is not meant to be, submitted."""

    path: str
    message: str
    number: int | None = None
    skipped: bool = False


AnyLine = Line | NoLine


def lines_of(gathered: Iterable[Gathered], terms: Terms, *, unpack: DocumentLimits | None = None) -> Iterator[AnyLine]:
    """Yield a line for each thing found; the same terms for all.

    With `unpack`, the bounds for what is in them, a ZIP is a parcel: each of its entries is a line. Without, it is one
    invoice with attachments, as the operator takes it.
    """
    for found in gathered:
        if isinstance(found, Found) and unpack is not None:
            yield from _unpacked(found, terms, unpack)
        elif isinstance(found, Found):
            yield _line(found, terms)
        elif isinstance(found, Skipped):
            yield NoLine(path=found.path, message=found.reason, skipped=True)
        else:
            yield _refused(found)


def _line(found: Found, terms: Terms) -> AnyLine:
    if found.path != STDIN_PATH:
        return Line(path=found.path, name=found.name, terms=terms, file=found.path, size=found.size)
    try:
        content = found.read()
    except DocumentError as exc:
        return _refused(Unreadable(found.path, exc))
    return _of_content(found, terms, content)


def _of_content(found: Found, terms: Terms, content: bytes) -> Line:
    return Line(path=found.path, name=found.name, terms=terms, content=content, size=len(content))


def _refused(found: Unreadable) -> NoLine:
    return NoLine(path=found.path, message=str(found.error))


def _unpacked(found: Found, terms: Terms, limits: DocumentLimits) -> Iterator[AnyLine]:
    try:
        with _opened(found) as file:
            if file.read(len(ZIP_MAGICS[0])) not in ZIP_MAGICS:
                file.seek(0)
                content = file.read() if found.path == STDIN_PATH else None
                yield _of_content(found, terms, content) if content is not None else _line(found, terms)
                return
            for each in unpack_many(file, filename=found.name, limits=limits):
                yield _entry(found, each, terms)
    except DocumentError as exc:
        yield _refused(Unreadable(found.path, exc))


def _opened(found: Found) -> BinaryIO:
    return io.BytesIO(found.read()) if found.path == STDIN_PATH else open_file(found.path)


def _entry(found: Found, entry: PackedInvoice | PackedOther, terms: Terms) -> AnyLine:
    path = f"{found.path} > {entry.name}"
    if isinstance(entry, PackedInvoice):
        content = entry.content
        return Line(path=path, name=entry.name, terms=terms, content=content, size=len(content))
    if entry.error is None:
        return NoLine(path=path, message="neither XML nor ZIP", skipped=True)
    return NoLine(path=path, message=str(entry.error))

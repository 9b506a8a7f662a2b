"""A ZIP of many invoices, each entry one of its own, read entry by entry. Unpacks nothing to disk.

The operator takes a ZIP too, but as ONE invoice with its attachments (zip_document.py). Content cannot tell the two
apart for certain, so the caller says which is meant.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from pipeline.domain.document import DocumentLimits, looks_like_document
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import (
    BrokenZipError,
    DocumentError,
    DocumentTooLargeError,
    UnsafeZipNameError,
    ZipBombError,
)
from pipeline.domain.zip_entries import check_packing, unsafe_reason

MOST_ENTRIES: Final = 100_000
"""The directory is held while entries are read, at under a kilobyte each."""
MOST_DIRECTORY_BYTES: Final = MOST_ENTRIES * 300
"""Names are short; a directory of gigabytes is an attack on whoever reads it."""
_SNIFFED_BYTES: Final = 4096
_DOCUMENT_SUFFIXES: Final = (".xml", ".zip")
_MAC_FOLDER: Final = "__MACOSX/"
_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\x05\x06"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_LOCATOR64_MAGIC: Final = b"PK\x06\x07"
_LONGEST_COMMENT: Final = 65_535
_IN_END64: Final = 0xFFFF
_BAD_ZIP: Final = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, struct.error, EOFError)


@dataclass(frozen=True, slots=True)
class PackedInvoice:
    """One entry, unpacked."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PackedOther:
    """One entry that is no invoice, or cannot be taken for one."""

    name: str
    error: DocumentError | None
    """None for what is merely something else, a PDF or a text beside the invoices."""


def unpack_many(file: BinaryIO, *, filename: str, limits: DocumentLimits) -> Iterator[PackedInvoice | PackedOther]:
    """Yield the entries of a ZIP in the order of its directory, one unpacked at a time; folders are left out.

    An entry that is encrypted, damaged, too large or doubled is told and stops no other.
    Raises: BrokenZipError, ZipBombError: the ZIP as a whole, before anything of it was yielded.
    """
    where = shown_name(filename)
    size = _check_directory(file, where)
    try:
        opened = zipfile.ZipFile(file)
    except _BAD_ZIP as exc:
        raise BrokenZipError(f"{where}: the ZIP is cut off or damaged; make it again") from exc
    with opened:
        infos = [info for info in opened.infolist() if not info.is_dir()]
        _check_bomb(sum(info.file_size for info in infos), size, where=where, limits=limits)
        seen: set[str] = set()
        for info in infos:
            yield _entry(opened, info, seen, filename=filename, limits=limits)


def _entry(
    opened: zipfile.ZipFile, info: zipfile.ZipInfo, seen: set[str], *, filename: str, limits: DocumentLimits
) -> PackedInvoice | PackedOther:
    name = info.orig_filename
    try:
        content = _read(opened, info, seen, where=shown_name(filename, name), limits=limits)
    except DocumentError as exc:
        return PackedOther(name, exc)
    return PackedOther(name, None) if content is None else PackedInvoice(name, content)


def _read(
    opened: zipfile.ZipFile, info: zipfile.ZipInfo, seen: set[str], *, where: str, limits: DocumentLimits
) -> bytes | None:
    name = info.orig_filename
    if reason := unsafe_reason(name, info):
        raise UnsafeZipNameError(f"{where}: {reason}; name entries plainly, like invoice.xml")
    if name.casefold() in seen:
        raise UnsafeZipNameError(f"{where}: two entries of the ZIP have this name; give each its own")
    seen.add(name.casefold())
    if name.startswith(_MAC_FOLDER):
        return None
    check_packing(info, where=where)
    named = name.lower().endswith(_DOCUMENT_SUFFIXES)
    try:
        with opened.open(info) as entry:
            start = entry.read(_SNIFFED_BYTES)
            if not named and not looks_like_document(start):
                return None
            if info.file_size > limits.max_bytes:
                raise DocumentTooLargeError(f"{where}: larger than {limits.max_bytes:,} bytes; send a smaller invoice")
            _check_bomb(info.file_size, info.compress_size, where=where, limits=limits)
            # No more than the directory says is ever given, and the checksum is compared at the end.
            content = start + entry.read()
    except (*_BAD_ZIP, RuntimeError, OSError, zlib.error) as exc:
        raise BrokenZipError(f"{where}: damaged in the ZIP; make the ZIP again") from exc
    if len(content) != info.file_size:
        raise BrokenZipError(f"{where}: its size in the ZIP is wrong; make the ZIP again")
    return content


def _check_bomb(unpacked: int, packed: int, *, where: str, limits: DocumentLimits) -> None:
    # Entries that overlap, the way of the worst bombs, add up to far more than the file has.
    if unpacked > limits.ratio_free_bytes and unpacked > packed * limits.max_ratio:
        raise ZipBombError(
            f"{where}: unpacks to more than {limits.max_ratio} times its size, as ZIP bombs do; send the XML unpacked"
        )


def _check_directory(file: BinaryIO, where: str) -> int:
    """Return the size of the file, once its directory is known to be of a size that can be read."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _LONGEST_COMMENT - _END.size - _LOCATOR64.size))
    tail = file.read()
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise BrokenZipError(f"{where}: the ZIP is cut off or damaged; make it again")
    _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
    locator = tail[max(0, at - _LOCATOR64.size) : at]
    if locator.startswith(_LOCATOR64_MAGIC) and len(locator) == _LOCATOR64.size:
        file.seek(min(_LOCATOR64.unpack(locator)[2], size))
        end64 = file.read(_END64.size)
        if len(end64) < _END64.size:
            raise BrokenZipError(f"{where}: the ZIP is cut off or damaged; make it again")
        entries, directory = max(entries % _IN_END64, _END64.unpack(end64)[7]), _END64.unpack(end64)[8]
    if entries > MOST_ENTRIES or directory > MOST_DIRECTORY_BYTES:
        raise ZipBombError(f"{where}: the ZIP has more than {MOST_ENTRIES:,} entries; split it into several")
    file.seek(0)
    return size

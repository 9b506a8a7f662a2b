"""The directory of a ZIP checked before anything is unpacked, and its entries unpacked within bounds.

Knows nothing of invoices. Sizes, methods and names are believed only where both places of the format that state them
agree: two readers of one ZIP must not see two different invoices.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.domain.document_limits import DocumentLimits
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import (
    BrokenZipError,
    EncryptedZipError,
    UnsafeZipNameError,
    UnsupportedZipError,
    ZipBombError,
)

CHUNK_BYTES: Final = 256 * 1024

_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
"""Flag bits: encrypted, strongly encrypted, encrypted directory (APPNOTE 4.4.4)."""
_UTF8_NAME: Final = 0x800
_METHOD_AES: Final = 99
_METHODS: Final = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_STRAY_MAGICS: Final = 16
"""The magic of a directory entry may turn up inside compressed bytes by chance; so many are forgiven when counting."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One file in a ZIP: its name, and where its packed bytes lie."""

    name: str
    method: int
    data_at: int
    packed_size: int
    size: int
    crc: int


def list_entries(content: bytes, *, filename: str, limits: DocumentLimits) -> list[ZipEntry]:
    """Return the files of a ZIP in the order of its directory, folders left out.

    Raises: BrokenZipError, ZipBombError, EncryptedZipError, UnsupportedZipError, UnsafeZipNameError.
    """
    where = shown_name(filename)
    # Counted in the raw bytes: the directory's own count can lie, and a million entries are costly to read.
    if content.count(_CENTRAL_MAGIC) > limits.max_entries + _STRAY_MAGICS:
        raise _too_many(where, limits)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            infos, directory_at = opened.infolist(), opened.start_dir
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, struct.error, EOFError) as exc:
        raise BrokenZipError(f"{where}: the ZIP is cut off or damaged; make it again") from exc
    if len(infos) > limits.max_entries:
        raise _too_many(where, limits)
    _check_names(infos, filename=filename)
    entries = [_entry(content, info, filename=filename) for info in infos]
    _check_layout(entries, infos, directory_at=directory_at, where=where)
    files = [entry for entry, info in zip(entries, infos, strict=True) if not info.is_dir() or info.file_size]
    _check_sizes(sum(entry.size for entry in files), len(content), where=where, limits=limits)
    return files


class Unpacker:
    """Unpacks entries of one ZIP piece by piece; counts real bytes over all of them, whatever the directory says."""

    def __init__(self, content: bytes, *, filename: str, limits: DocumentLimits) -> None:
        """Keep the ZIP's bytes; nothing is unpacked yet."""
        self._content, self._filename, self._limits = content, filename, limits
        self._unpacked = 0

    def unpack(self, entry: ZipEntry) -> Iterator[bytes]:
        """Yield the bytes of an entry, at most 256 KiB at a time, and check size and CRC at the end.

        Raises: ZipBombError, BrokenZipError.
        """
        size = crc = 0
        where = shown_name(self._filename, entry.name)
        for piece in self._pieces(entry, where):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            self._unpacked += len(piece)
            if size > entry.size:
                raise BrokenZipError(f"{where}: unpacks to more than the ZIP says; make the ZIP again")
            _check_sizes(self._unpacked, len(self._content), where=shown_name(self._filename), limits=self._limits)
            yield piece
        if size != entry.size or crc != entry.crc:
            raise BrokenZipError(f"{where}: damaged in the ZIP (size or checksum differs); make the ZIP again")

    def _pieces(self, entry: ZipEntry, where: str) -> Iterator[bytes]:
        packed = memoryview(self._content)[entry.data_at : entry.data_at + entry.packed_size]
        if entry.method == zipfile.ZIP_STORED:
            yield from (bytes(packed[at : at + CHUNK_BYTES]) for at in range(0, len(packed), CHUNK_BYTES))
            return
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for at in range(0, len(packed), CHUNK_BYTES):
                waiting: bytes | memoryview = packed[at : at + CHUNK_BYTES]
                while waiting and not inflater.eof:
                    if piece := inflater.decompress(waiting, CHUNK_BYTES):
                        yield piece
                    waiting = inflater.unconsumed_tail
            while not inflater.eof and (piece := inflater.decompress(b"", CHUNK_BYTES)):
                yield piece
        except zlib.error as exc:
            raise BrokenZipError(f"{where}: damaged in the ZIP; make the ZIP again") from exc
        if not inflater.eof or inflater.unused_data:
            raise BrokenZipError(f"{where}: its packed size in the ZIP is wrong; make the ZIP again")


def check_packing(info: zipfile.ZipInfo, *, where: str) -> None:
    """Refuse what not every reader can unpack. Raises: EncryptedZipError, UnsupportedZipError."""
    if info.flag_bits & _ENCRYPTED or info.compress_type == _METHOD_AES:
        raise EncryptedZipError(f"{where}: encrypted; make the ZIP without a password")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise UnsupportedZipError(f"{where}: packed with {method}; make the ZIP with ordinary Deflate compression")


def _entry(content: bytes, info: zipfile.ZipInfo, *, filename: str) -> ZipEntry:
    where = shown_name(filename, info.orig_filename)
    check_packing(info, where=where)
    at = info.header_offset
    raw = content[at : at + _LOCAL_HEADER.size]
    if at < 0 or len(raw) < _LOCAL_HEADER.size or not raw.startswith(_LOCAL_MAGIC):
        raise BrokenZipError(f"{where}: the ZIP's directory points to a wrong place; make the ZIP again")
    _, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL_HEADER.unpack(raw)
    name_at = at + _LOCAL_HEADER.size
    name = content[name_at : name_at + name_length].decode("utf-8" if flags & _UTF8_NAME else "cp437", "replace")
    if flags & _ENCRYPTED:
        raise EncryptedZipError(f"{where}: encrypted; make the ZIP without a password")
    if name != info.orig_filename or method != info.compress_type:
        raise BrokenZipError(f"{where}: the ZIP names this entry in two ways; make the ZIP again")
    data_at = name_at + name_length + extra_length
    return ZipEntry(name, method, data_at, info.compress_size, info.file_size, info.CRC)


def _check_layout(entries: list[ZipEntry], infos: list[zipfile.ZipInfo], *, directory_at: int, where: str) -> None:
    spans = sorted(
        (info.header_offset, entry.data_at + entry.packed_size) for entry, info in zip(entries, infos, strict=True)
    )
    if spans and spans[0][0] != 0:
        raise BrokenZipError(f"{where}: other bytes stand before the first entry of the ZIP; make the ZIP again")
    starts = [start for start, _ in spans[1:]] + [directory_at]
    if any(end > next_start for (_, end), next_start in zip(spans, starts, strict=False)):
        raise ZipBombError(f"{where}: entries of the ZIP overlap, as only hostile ZIPs do; make the ZIP again")


def _check_names(infos: list[zipfile.ZipInfo], *, filename: str) -> None:
    seen: set[str] = set()
    for info in infos:
        name = info.orig_filename
        where = shown_name(filename, name)
        if reason := unsafe_reason(name, info):
            raise UnsafeZipNameError(f"{where}: {reason}; name entries plainly, like invoice.xml")
        if name.casefold() in seen:
            raise UnsafeZipNameError(f"{where}: two entries of the ZIP have this name; give each its own")
        seen.add(name.casefold())


def unsafe_reason(name: str, info: zipfile.ZipInfo) -> str | None:
    """Say why the name of an entry cannot be trusted, None when it can."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "this entry is a link or device, no file"
    if not name or "\0" in name or not name.isprintable():
        return "the entry's name is empty or has control characters"
    if "\\" in name or name.startswith("/") or name[1:2] == ":":
        return "the entry's name is a path of its own (backslash, drive or leading slash)"
    if ".." in name.split("/"):
        return "the entry's name leads out of the ZIP"
    return None


def _check_sizes(unpacked: int, packed: int, *, where: str, limits: DocumentLimits) -> None:
    if unpacked > limits.max_unpacked_bytes:
        raise ZipBombError(f"{where}: unpacks to more than {limits.max_unpacked_bytes:,} bytes; send fewer attachments")
    if unpacked > limits.ratio_free_bytes and unpacked > packed * limits.max_ratio:
        raise ZipBombError(
            f"{where}: unpacks to more than {limits.max_ratio} times its size, as ZIP bombs do; send the XML unpacked"
        )


def _too_many(where: str, limits: DocumentLimits) -> ZipBombError:
    return ZipBombError(f"{where}: the ZIP has more than {limits.max_entries} entries; send fewer attachments")

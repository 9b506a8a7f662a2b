"""Opens an uploaded file: one XML, or a ZIP with one invoice XML and attachments. Trusts nothing in it."""

import io
import zipfile
import zlib
from dataclasses import dataclass

from simulator.errors import invalid_parameters

MEMBERS_LIMIT = 200
MEMBER_BYTES_LIMIT = 60_000_000  # print takes attachments of up to 50 MB each
TOTAL_BYTES_LIMIT = 300_000_000
READ_STEP = 65_536
TYPES = {
    "pdf": "application/pdf", "xml": "application/xml", "zip": "application/zip", "tif": "image/tiff",
    "jpg": "image/jpeg", "gif": "image/gif", "png": "image/png", "txt": "text/plain", "html": "text/html",
}  # fmt: skip
ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Upload:
    """What came in: the invoice's XML and the names of everything around it."""

    xml: bytes
    is_zip: bool
    members: tuple[str, ...]  # names inside the ZIP, in order; empty for a single XML


def opened(content: bytes) -> Upload:
    """Find the invoice XML in what was uploaded, ZIP or XML told apart by content.

    Raises: Refusal 400 for an empty file or a ZIP that cannot be taken.
    """
    if not content.strip():
        raise invalid_parameters("file is empty")
    if not content.startswith(b"PK"):
        return Upload(content, is_zip=False, members=())
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _from_zip(archive)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeDecodeError, OSError) as exc:
        raise invalid_parameters("file is not a readable ZIP") from exc


def member(content: bytes, name: str) -> bytes | None:
    """Read one file out of an upload that was accepted before; None if it is not there."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _read(archive, archive.getinfo(name)) if name in archive.namelist() else None


def media_type(filename: str) -> str:
    """Tell the media type by the end of the name."""
    return TYPES.get(filename.rpartition(".")[2].lower(), "application/octet-stream")


def _from_zip(archive: zipfile.ZipFile) -> Upload:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    _check(infos)
    invoices = [info for info in infos if info.filename.lower().endswith(".xml")]
    if len(invoices) > 1:  # attachments may be XML too; the invoice then is the one called so
        named = [
            info for info in invoices if info.filename.lower().rpartition("/")[2] in ("invoice.xml", "finvoice.xml")
        ]
        invoices = named or invoices
    if len(invoices) != 1:
        raise invalid_parameters(f"ZIP holds {len(invoices)} invoice XML files instead of one")
    return Upload(_read(archive, invoices[0]), is_zip=True, members=tuple(info.filename for info in infos))


def _check(infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MEMBERS_LIMIT:
        raise invalid_parameters(f"ZIP holds {len(infos)} files, at most {MEMBERS_LIMIT} are taken")
    if sum(info.file_size for info in infos) > TOTAL_BYTES_LIMIT:
        raise invalid_parameters("ZIP grows too large when opened")
    for info in infos:
        if info.flag_bits & ENCRYPTED:
            raise invalid_parameters("ZIP is encrypted")
        if info.filename.lower().endswith(".zip"):
            raise invalid_parameters("ZIP holds another ZIP")
        if info.filename.startswith("/") or ".." in info.filename.replace("\\", "/").split("/"):
            raise invalid_parameters("ZIP holds a file name that leaves its folder")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read with a limit of our own: the size that the ZIP states is a claim."""
    parts: list[bytes] = []
    size = 0
    with archive.open(info) as stream:
        while chunk := stream.read(READ_STEP):
            size += len(chunk)
            if size > MEMBER_BYTES_LIMIT:
                raise invalid_parameters("a file in the ZIP grows too large when opened")
            parts.append(chunk)
    return b"".join(parts)

"""What inspection says about ZIPs, good and evil; every evil one is built here."""

import io
import stat
import struct
import zipfile

import pytest

from pipeline.domain import errors
from pipeline.domain.document import DocumentKind, DocumentLimits, InvoiceFormat, inspect

from .samples import finvoice, ubl, zipped

SMALL = DocumentLimits(max_unpacked_bytes=100_000, max_entries=5, ratio_free_bytes=20_000, max_ratio=50)


def refused(content: bytes, *, limits: DocumentLimits = SMALL) -> errors.DocumentError:
    with pytest.raises(errors.DocumentError) as caught:
        inspect(content, filename="lasku.zip", limits=limits)
    return caught.value


def linked(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def patched(content: bytes, magic: bytes, offset: int, new: bytes) -> bytes:
    at = content.index(magic) + offset
    return content[:at] + new + content[at + len(new) :]


def encrypted() -> bytes:
    plain = zipped(("invoice.xml", ubl()))
    return patched(patched(plain, b"PK\x03\x04", 6, b"\1\0"), b"PK\x01\x02", 8, b"\1\0")


def with_method(method: int) -> bytes:
    plain = zipped(("invoice.xml", ubl()))
    code = struct.pack("<H", method)
    return patched(patched(plain, b"PK\x03\x04", 8, code), b"PK\x01\x02", 10, code)


def overlapping() -> bytes:
    plain = zipped(("a.xml", ubl()), ("b.txt", b"b" * 900))
    second = plain.rindex(b"PK\x01\x02")
    return plain[: second + 42] + struct.pack("<L", 0) + plain[second + 46 :]


def overlapping_tail() -> bytes:
    """Two entries, the first of which claims the bytes of the second as its own."""
    inner = zipped(("b.txt", b"b"), method=zipfile.ZIP_STORED)
    body = inner[: inner.index(b"PK\x01\x02")]
    outer = zipped(("a.txt", body), ("b.txt", b"b"), method=zipfile.ZIP_STORED)
    second = outer.rindex(b"PK\x01\x02")
    return outer[: second + 42] + struct.pack("<L", 30 + 5) + outer[second + 46 :]


def declaring_less() -> bytes:
    plain = zipped(("invoice.xml", ubl()), ("a.txt", b"0" * 50_000))
    at = plain.rindex(b"PK\x01\x02") + 24
    return plain[:at] + struct.pack("<L", 10) + plain[at + 4 :]


def doubled() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return zipped(("invoice.xml", ubl()), ("invoice.xml", ubl("2")))


def test_zip_is_one_invoice():
    """A ZIP with the invoice, its image, other XML, a stylesheet, a folder and an Office file is one invoice."""
    office = zipped(("[Content_Types].xml", b"<Types/>"))
    content = zipped(
        ("folder/", b""),
        ("folder/lasku.xml", finvoice()),
        ("lasku.pdf", b"%PDF-1.7"),
        ("log.xml", b"<log/>"),
        ("Finvoice.xsl", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY nbsp "x">]><xsl/>'),
        ("table.xlsx", office),
        ("__MACOSX/folder/._lasku.xml", b"\0\5\x16\7"),
    )

    document = inspect(content, filename="x.xml")

    assert document.kind is DocumentKind.ZIP
    assert document.content is content
    assert (document.header.format, document.header.number) == (InvoiceFormat.FINVOICE, "2026-17")


@pytest.mark.parametrize("name", ["invoice.xml", "INVOICE.XML", "invoice.dat"])
def test_lone_unknown_xml_is_taken(name):
    content = zipped((name, b'<?xml version="1.0"?><Mystery/>'), ("a.pdf", b"%PDF"))

    assert inspect(content, filename="f").header.root == "Mystery"


def test_streamed_zip64_entry_is_read():
    """Entries written to a pipe carry their sizes behind the data and often Zip64 fields; both are read."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("invoice.xml", "w", force_zip64=True) as entry,
    ):
        entry.write(ubl("Z-64"))

    assert inspect(buffer.getvalue(), filename="f").header.number == "Z-64"


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        pytest.param(zipped(), errors.ZipWithoutInvoiceError, "no XML invoice", id="empty"),
        pytest.param(zipped(("a.pdf", b"%PDF")), errors.ZipWithoutInvoiceError, "no XML invoice", id="no-xml"),
        pytest.param(
            zipped(("a.xml", ubl()), ("b.xml", finvoice())),
            errors.ZipWithSeveralInvoicesError,
            "a.xml, b.xml",
            id="two",
        ),
        pytest.param(
            zipped(("a.xml", b"<l/>"), ("b.xml", b"<m/>")),
            errors.ZipWithSeveralInvoicesError,
            "2 XML",
            id="two-unknown",
        ),
        pytest.param(zipped(("a.xml", b"<Finvoice>")), errors.BrokenXmlError, "lasku.zip > a.xml", id="broken-inside"),
        pytest.param(zipped(("a.xml", b"<!DOCTYPE a><a/>")), errors.ForbiddenXmlError, "DTD", id="dtd-inside"),
        pytest.param(zipped(("a.xml", b"")), errors.EmptyDocumentError, "lasku.zip > a.xml", id="empty-inside"),
        pytest.param(zipped(("a.xml", ubl()), ("b.zip", b"x")), errors.NestedZipError, "b.zip", id="nested-by-name"),
        pytest.param(
            zipped(("a.xml", ubl()), ("b.pdf", zipped())), errors.NestedZipError, "b.pdf", id="nested-by-content"
        ),
        pytest.param(encrypted(), errors.EncryptedZipError, "password", id="encrypted"),
        pytest.param(with_method(9), errors.UnsupportedZipError, "Deflate64", id="deflate64"),
        pytest.param(with_method(77), errors.UnsupportedZipError, "method 77", id="unheard-of"),
        pytest.param(
            zipped(("a.xml", ubl()), method=zipfile.ZIP_BZIP2), errors.UnsupportedZipError, "bzip2", id="bzip2"
        ),
        pytest.param(zipped(("a.xml", ubl()), method=zipfile.ZIP_LZMA), errors.UnsupportedZipError, "LZMA", id="lzma"),
        pytest.param(zipped(("a", b"0" * 90_000)), errors.ZipBombError, "50 times", id="ratio"),
        pytest.param(
            zipped(("a", bytes(range(256)) * 400), method=zipfile.ZIP_STORED),
            errors.ZipBombError,
            "100,000",
            id="total",
        ),
        pytest.param(zipped(*((str(n), b"") for n in range(9))), errors.ZipBombError, "5 entries", id="entries"),
        pytest.param(zipped(*((str(n), b"") for n in range(99))), errors.ZipBombError, "5 entries", id="many-entries"),
        pytest.param(overlapping(), errors.BrokenZipError, "two ways", id="same-place"),
        pytest.param(overlapping_tail(), errors.ZipBombError, "overlap", id="overlap"),
        pytest.param(declaring_less(), errors.BrokenZipError, "more than the ZIP says", id="lying-size"),
        pytest.param(zipped(("../a.xml", ubl())), errors.UnsafeZipNameError, "leads out", id="dotdot"),
        pytest.param(zipped(("/a.xml", ubl())), errors.UnsafeZipNameError, "path of its own", id="absolute"),
        pytest.param(zipped(("C:a.xml", ubl())), errors.UnsafeZipNameError, "path of its own", id="drive"),
        pytest.param(zipped(("a\\b.xml", ubl())), errors.UnsafeZipNameError, "path of its own", id="backslash"),
        pytest.param(zipped(("a\x1b.xml", ubl())), errors.UnsafeZipNameError, "control", id="control"),
        pytest.param(
            zipped(("abc.xml", ubl())).replace(b"abc.xml", b"a\0c.xml"), errors.UnsafeZipNameError, "control", id="nul"
        ),
        pytest.param(zipped((linked("a.xml"), b"/etc/passwd")), errors.UnsafeZipNameError, "link", id="symlink"),
        pytest.param(doubled(), errors.UnsafeZipNameError, "two entries", id="double"),
        pytest.param(zipped(("A.xml", ubl()), ("a.XML", ubl())), errors.UnsafeZipNameError, "two entries", id="case"),
        pytest.param(zipped(("a.xml", ubl()))[:-30], errors.BrokenZipError, "cut off", id="truncated"),
        pytest.param(b"PK\x03\x04 not really", errors.BrokenZipError, "cut off", id="only-magic"),
        pytest.param(
            zipped(("a.xml", ubl()), method=zipfile.ZIP_STORED).replace(b"U-1", b"U-2"),
            errors.BrokenZipError,
            "checksum",
            id="crc",
        ),
        pytest.param(
            zipped(("a.xml", ubl())) + zipped(("a.xml", ubl("2"))),
            errors.BrokenZipError,
            "before the first",
            id="two-zips",
        ),
        pytest.param(
            zipped(("a.xml", ubl())).replace(b"a.xml", b"b.xml", 1), errors.BrokenZipError, "two ways", id="two-names"
        ),
    ],
)
def test_bad_zip_is_refused(content, error, text):
    """Whatever is no safe ZIP with exactly one invoice is refused in one line that names file, entry and reason."""
    found = refused(content)

    assert type(found) is error
    assert text in str(found)
    assert str(found).startswith("lasku.zip")
    assert str(found).isprintable()


def test_lying_bomb_is_stopped_early():
    """A bomb that declares a small size is stopped by what it really unpacks to, not by what it says."""
    plain = zipped(("invoice.xml", ubl()), ("a.txt", b"0" * 50_000_000))
    at = plain.rindex(b"PK\x01\x02") + 24
    lying = plain[:at] + struct.pack("<L", 10) + plain[at + 4 :]

    assert "more than the ZIP says" in str(refused(lying, limits=DocumentLimits()))

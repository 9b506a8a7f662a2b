"""Packs an invoice and a small PDF into a ZIP whose bytes are always the same."""

import io
import zipfile

TIMESTAMP = (2026, 1, 1, 0, 0, 0)  # ZIP members carry a time; a fixed one keeps the bytes equal
ORDINARY_FILE = 0o100644 << 16


def write(xml: bytes, number: str) -> bytes:
    """Pack invoice.xml, invoice.pdf and an attachment, named as the operator asks (a-z 0-9 . _)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        _add(archive, "invoice.xml", xml)
        _add(archive, "invoice.pdf", picture(f"Lasku {number}"))
        _add(archive, "1_toimitusehdot.pdf", picture("Toimitusehdot"))
    return stream.getvalue()


def picture(text: str) -> bytes:
    """Draw a PDF of one page with one line of text."""
    drawing = b"BT /F1 18 Tf 60 780 Td (" + text.encode("latin-1", "replace") + b") Tj ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    )
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    return body + head + table + trailer


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, TIMESTAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # what the machine is called must not change the bytes
    info.external_attr = ORDINARY_FILE
    archive.writestr(info, content)

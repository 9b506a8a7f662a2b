"""The body of an upload: form fields first, the file last, untouched. Knows nothing of what fields mean."""

import re
from collections.abc import Callable, Sequence

DEFAULT_FILENAMES = {"application/xml": "invoice.xml", "application/zip": "invoice.zip"}
FILENAME_LIMIT = 255

_UNSAFE_IN_HEADER = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"\\]')
"""What would end or bend a quoted header value (RFC 7578, section 4.2), and file system bytes that are no text."""


def header_safe_filename(filename: str, *, content_type: str) -> str:
    """Make a file's own name safe inside a header: no folders, no control characters, no quotes.

    Letters outside ASCII stay; they go out as UTF-8 (RFC 7578, section 5.1).
    """
    last = re.split(r"[/\\]", filename)[-1]
    safe = _UNSAFE_IN_HEADER.sub("_", last).strip()
    if not safe.strip("._ "):
        return DEFAULT_FILENAMES.get(content_type, "invoice")
    return safe[-FILENAME_LIMIT:]


def encode_upload(
    *,
    fields: Sequence[tuple[str, str]],
    filename: str,
    content: bytes | bytearray,
    content_type: str,
    make_boundary: Callable[[], str],
) -> tuple[bytes, str]:
    """Return the multipart body and its Content-Type. The content is copied once and never changed.

    Built here, in one piece: httpx's own encoder makes a stream, which the fast transport has to pull piece by piece.
    """
    texts = [(name, value.encode()) for name, value in fields]
    boundary = make_boundary()
    while boundary.encode() in content or any(boundary.encode() in value for _, value in texts):
        boundary = make_boundary()
    delimiter = f"--{boundary}\r\n".encode()
    pieces: list[bytes | bytearray] = [
        piece
        for name, value in texts
        for piece in (delimiter, f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode(), value, b"\r\n")
    ]
    safe_name = header_safe_filename(filename, content_type=content_type)
    head = (
        f'Content-Disposition: form-data; name="file"; filename="{safe_name}"\r\nContent-Type: {content_type}\r\n\r\n'
    )
    pieces += [delimiter, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"

"""The body of an upload: form fields first, the file last, untouched. Knows nothing of what fields mean."""

import re
from collections.abc import AsyncIterator, Callable, Sequence

from pipeline.domain.streamed import Content, Streamed

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
    content: Content,
    content_type: str,
    make_boundary: Callable[[], str],
) -> tuple[Content, str]:
    """Return the multipart body and its Content-Type. The content is copied once and never changed.

    Built here, in one piece: httpx's own encoder makes a stream, which the fast transport has to pull piece by piece.
    That is left to what is streamed, which cannot be searched for the boundary: chance must be enough to avoid it.
    """
    texts = [(name, value.encode()) for name, value in fields]
    boundary = make_boundary()
    known = content if isinstance(content, bytes) else b""
    while boundary.encode() in known or any(boundary.encode() in value for _, value in texts):
        boundary = make_boundary()
    delimiter = f"--{boundary}\r\n".encode()
    pieces = [
        piece
        for name, value in texts
        for piece in (delimiter, f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode(), value, b"\r\n")
    ]
    safe_name = header_safe_filename(filename, content_type=content_type)
    head = (
        f'Content-Disposition: form-data; name="file"; filename="{safe_name}"\r\nContent-Type: {content_type}\r\n\r\n'
    )
    before, after = b"".join([*pieces, delimiter, head.encode()]), f"\r\n--{boundary}--\r\n".encode()
    return _frame(before, content, after), f"multipart/form-data; boundary={boundary}"


def _frame(before: bytes, content: Content, after: bytes) -> Content:
    if isinstance(content, bytes):
        return b"".join([before, content, after])

    async def read() -> AsyncIterator[bytes]:
        yield before
        async for piece in content.read():
            yield piece
        yield after

    return Streamed(size=len(before) + content.size + len(after), read=read)

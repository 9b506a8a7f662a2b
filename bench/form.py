"""Reads an upload's multipart body with as few steps as can be. Knows bytes, not invoices."""

from dataclasses import dataclass
from uuid import UUID

UUID_LENGTH = 36


class FormError(ValueError):
    """The body is not what an upload looks like; says what the operator would say."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload carries that the books need."""

    uuid: str | None
    content: memoryview


def read_upload(body: bytes, content_type: bytes) -> Upload:
    """Find UUID and document in a multipart body without copying the document. Raises: FormError."""
    mark = _mark(content_type)
    uuid: str | None = None
    content: memoryview | None = None
    start = body.find(mark)
    while True:
        if start < 0:
            raise FormError("multipart body is cut off")
        start += len(mark)
        if body.startswith(b"--", start):
            break
        head_end = body.find(b"\r\n\r\n", start)
        end = body.find(b"\r\n" + mark, head_end + 2)
        if head_end < 0 or end < 0:
            raise FormError("multipart body is cut off")
        head = body[start:head_end]
        if b'name="file"' in head:
            content = _document(body, head, head_end + 4, end, known=content)
        elif b'name="uuid"' in head:
            uuid = _uuid(body[head_end + 4 : end])
        start = end + 2
    if content is None:
        raise FormError("file is missing")
    return Upload(uuid, content)


def _mark(content_type: bytes) -> bytes:
    kind, _, boundary = content_type.partition(b"boundary=")
    if not kind.lower().startswith(b"multipart/form-data") or not boundary:
        raise FormError("body is not multipart/form-data")
    return b"--" + boundary.strip().strip(b'"')


def _document(body: bytes, head: bytes, start: int, end: int, *, known: memoryview | None) -> memoryview:
    if known is not None:
        raise FormError("file was sent more than once")
    if b'filename="' not in head or b'filename=""' in head:
        raise FormError("file has no filename in its Content-Disposition")
    return memoryview(body)[start:end]


def _uuid(text: bytes) -> str:
    try:
        if len(text) <= UUID_LENGTH:
            return str(UUID(text.decode("ascii")))
    except ValueError:
        pass
    raise FormError("uuid is not a UUID of at most 36 characters")

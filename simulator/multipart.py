"""Reads multipart/form-data bodies for real. Knows bytes and headers, not invoices.

Written by hand because the body is already in memory and bounded, and because a contract test wants to see whether the
file part carried a filename at all, which ready-made parsers smooth over.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from simulator.errors import Refusal, invalid_parameters

PARTS_LIMIT = 200
HEADER_BYTES_LIMIT = 8192
PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    filename: str | None
    content_type: str
    content: bytes

    @property
    def text(self) -> str:
        """The content as text; what is not UTF-8 cannot be a parameter."""
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise invalid_parameters(f"{self.name} is not UTF-8") from exc


def parse(body: bytes, content_type: str) -> list[Part]:
    """Split a body into its parts.

    Raises: Refusal 400 when the body is not what the content type promises.
    """
    boundary = header_parameters(content_type).get("boundary", "")
    if not boundary:
        raise invalid_parameters("multipart body without a boundary")
    mark = b"--" + boundary.encode("latin-1", "replace")
    start = _first_mark(body, mark)
    parts: list[Part] = []
    while not body.startswith(b"--", start):
        end = body.find(b"\r\n" + mark, start)
        if end < 0 or len(parts) >= PARTS_LIMIT:
            raise invalid_parameters("multipart body is cut off or has too many parts")
        parts.append(_part(body, start, end))
        start = end + 2 + len(mark)
    return parts


def header_parameters(value: str) -> dict[str, str]:
    """Read the `; name=value` parameters of a header, names in lower case."""
    found: dict[str, str] = {}
    for name, quoted, plain in PARAMETER.findall(value):
        found[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
    return found


def _first_mark(body: bytes, mark: bytes) -> int:
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at < 2 and not body.startswith(mark):  # noqa: PLR2004 - find() said -1
        raise invalid_parameters("multipart body without its boundary")
    return at + len(mark)


def _part(body: bytes, start: int, end: int) -> Part:
    head_end = body.find(b"\r\n\r\n", start, min(end + 4, start + HEADER_BYTES_LIMIT))
    if head_end < 0:
        raise invalid_parameters("a part of the multipart body has no header")
    headers = _headers(body[start:head_end])
    disposition = headers.get("content-disposition", "")
    parameters = header_parameters(disposition)
    if not disposition.lower().startswith("form-data") or "name" not in parameters:
        raise Refusal(400, "invalid_parameters", "Request parameters are invalid", ["a part has no name"])
    content_type = headers.get("content-type", "")
    return Part(parameters["name"], _filename(parameters), content_type, body[head_end + 4 : end])


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("utf-8", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _filename(parameters: dict[str, str]) -> str | None:
    extended = parameters.get("filename*")  # RFC 5987: charset'language'percent-encoded
    if extended is not None and extended.count("'") >= 2:  # noqa: PLR2004
        return unquote(extended.split("'", 2)[2])
    return parameters.get("filename")

"""NDJSON manifests: a JSON object a line, each an invoice with terms of its own. A bad line is told and passed over."""

import base64
import binascii
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import BinaryIO, Final
from uuid import UUID

from pipeline.domain.document import DocumentLimits
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import InvalidInputError
from pipeline.maventa.schemas import UploadOptions
from pipeline.services.gather import Unreadable, find_file
from pipeline.services.lines import AnyLine, Line, NoLine
from pipeline.services.routing_options import OPTION_NAMES, read_routing
from pipeline.services.wanted import Terms

SOURCES: Final = ("path", "content", "content_base64")
OWN_FIELDS: Final = (*SOURCES, "filename", "uuid", "reference", "batch", "deadline", "not_before", "priority")
MORE_THAN_CONTENT: Final = 2
"""A line may be so many times as long as a document: base64 takes 4 bytes for 3, JSON a backslash before each quote."""
SPARE_BYTES: Final = 65_536
KEPT_OPTIONS: Final = 256
"""Different sets of options remembered: lines mostly carry the same few, and reading them is slower than the rest."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds for a line that does not say otherwise."""

    terms: Terms
    routing: Mapping[str, object]
    """Options under their flat names; a line's own come on top, name by name."""


def read_manifest(
    stream: BinaryIO, *, name: str, folder: str, defaults: Defaults, limits: DocumentLimits
) -> Iterator[AnyLine]:
    """Yield what each line asks for, good or bad; blank lines are passed over. Holds one line at a time.

    `folder` is where relative paths begin; `name` is what people know the manifest by.
    """
    reader = _Reader(name, folder, defaults, limits)
    longest = MORE_THAN_CONTENT * limits.max_bytes + SPARE_BYTES
    number = 0
    while raw := stream.readline(longest):
        number += 1
        if len(raw) == longest and not raw.endswith(b"\n"):
            _pass_over(stream, longest)
            yield reader.refused(number, f"longer than {longest:,} bytes; name a file by its path instead")
        elif raw.strip():
            yield reader.line(number, raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw)


def _pass_over(stream: BinaryIO, longest: int) -> None:
    while (more := stream.readline(longest)) and not more.endswith(b"\n"):
        pass


class _Reader:
    def __init__(self, name: str, folder: str, defaults: Defaults, limits: DocumentLimits) -> None:
        self._name, self._folder, self._defaults, self._limits = name, folder, defaults, limits
        self._options: dict[str, UploadOptions] = {}

    def refused(self, number: int, reason: str, path: str | None = None) -> NoLine:
        where = f"{shown_name(self._name)} line {number}"
        return NoLine(path=path or f"{self._name}:{number}", number=number, message=f"{where}: {reason}")

    def line(self, number: int, raw: bytes) -> AnyLine:
        try:
            fields = _fields(raw)
            return self._with_source(number, fields, self._terms(fields))
        except InvalidInputError as exc:
            return self.refused(number, str(exc))

    def _terms(self, fields: Mapping[str, object]) -> Terms:
        given: dict[str, object] = {
            "reference": _text(fields, "reference"),
            "batch": _text(fields, "batch"),
            "uuid": _read(fields, "uuid", UUID, "a UUID"),
            "deadline": _read(fields, "deadline", _instant, "an instant with its time zone, like 2026-12-01T06:00Z"),
            "not_before": _read(fields, "not_before", _instant, "an instant with its time zone"),
            "priority": _priority(fields),
        }
        own = {name: value for name, value in given.items() if value is not None}
        # replace() takes each by its name, and each was read as what that name is.
        return replace(self._defaults.terms, options=self._routing(fields), **own)  # type: ignore[arg-type]

    def _routing(self, fields: Mapping[str, object]) -> UploadOptions:
        own = {name: value for name, value in fields.items() if name in OPTION_NAMES and value is not None}
        if not own:
            return self._defaults.terms.options
        key = json.dumps(own, sort_keys=True)
        if key not in self._options:
            if len(self._options) >= KEPT_OPTIONS:
                self._options.clear()
            self._options[key] = read_routing({**self._defaults.routing, **own})
        return self._options[key]

    def _with_source(self, number: int, fields: Mapping[str, object], terms: Terms) -> AnyLine:
        sources = [name for name in SOURCES if fields.get(name) is not None]
        if len(sources) != 1:
            raise InvalidInputError(f"needs one of {', '.join(SOURCES)}, and has {len(sources)} of them")
        value, filename = _text(fields, sources[0]) or "", _text(fields, "filename")
        if sources[0] == "path":
            return self._with_file(number, value, filename, terms)
        content = _utf8(value) if sources[0] == "content" else _decoded(value)
        label = f"{self._name}:{number}"
        return Line(
            path=label,
            name=filename or f"line-{number}.xml",
            terms=terms,
            number=number,
            content=content,
            size=len(content),
        )

    def _with_file(self, number: int, given: str, filename: str | None, terms: Terms) -> AnyLine:
        path = os.path.join(self._folder, given) if given else ""  # noqa: PTH118 - keeps what was written, `..` too
        found = find_file(path, limits=self._limits)
        if isinstance(found, Unreadable):
            return self.refused(number, str(found.error), path)
        return Line(path=path, name=filename or found.name, terms=terms, number=number, file=path, size=found.size)


def _fields(raw: bytes) -> dict[str, object]:
    try:
        pairs = json.loads(raw.decode(), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError("no JSON object in UTF-8 on one line; check it") from exc
    if not isinstance(pairs, _Pairs):
        raise InvalidInputError("no JSON object; write {...} with the fields of one invoice")
    fields = dict(pairs)
    unknown = sorted(name for name in fields if name not in OWN_FIELDS and name not in OPTION_NAMES)
    if unknown:
        raise InvalidInputError(f"no field is called {', '.join(map(shown_name, unknown))}; check its spelling")
    if len(fields) != len(pairs):
        raise InvalidInputError("a field stands twice; keep one")
    return fields


class _Pairs(list[tuple[str, object]]):
    """The fields of an object as they stand there, doubled ones too."""


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text in quotes")
    return value


def _read(fields: Mapping[str, object], name: str, read: Callable[[str], object], what: str) -> object:
    value = _text(fields, name)
    if value is None:
        return None
    try:
        return read(value)
    except (ValueError, OverflowError) as exc:
        raise InvalidInputError(f"{name} is not {what}") from exc


def _instant(value: str) -> datetime:
    # Without a zone it would depend on the machine that reads it; manifests are written on another.
    instant = datetime.fromisoformat(value)
    if instant.utcoffset() is None:
        raise ValueError("no time zone")
    return instant.astimezone(UTC)


def _priority(fields: Mapping[str, object]) -> int | None:
    value = fields.get("priority")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidInputError("priority must be a whole number")
    return value


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInputError("content has halves of characters; pass the bytes as content_base64") from exc


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInputError("content_base64 is not base64") from exc

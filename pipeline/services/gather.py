"""Finds the files a person meant by paths, folders, patterns and `-`. Knows file systems; sniffs, never judges.

Every path gives at least one answer, and no bad path keeps the others from being found. Content is read when asked for.
"""

import errno
import glob
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.domain.document import DEFAULT_LIMITS, DocumentLimits, looks_like_document
from pipeline.domain.document_naming import shown_name
from pipeline.domain.errors import DocumentError, DocumentTooLargeError, UnreadableFileError
from pipeline.services.folders import ClosedFolder, SeenFiles, count, walk

STDIN_PATH: Final = "-"
STDIN_NAME: Final = "stdin"
_SNIFFED_BYTES: Final = 4096
_READ_BYTES: Final = 1_000_000
_DOCUMENT_SUFFIXES: Final = (".xml", ".zip")
_OTHER_SUFFIXES: Final = (
    *(".xsl", ".xslt", ".xsd", ".sch", ".svg", ".html", ".htm", ".xhtml"),
    *(".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".whl", ".epub"),
)
"""XML or ZIP by content, yet no invoice; skipped in folders by name. Named outright, they are read like any file."""
_REASONS: Final = {
    errno.ENOENT: "there is no such file; check the path",
    errno.ENOTDIR: "there is no such file; check the path",
    errno.EACCES: "no permission to read it; change its rights or run as its owner",
    errno.EPERM: "no permission to read it; change its rights or run as its owner",
    errno.ELOOP: "a link that leads in a circle; name the file itself",
    errno.ENAMETOOLONG: "the path is too long; check it",
    errno.EIO: "the disk cannot read it; restore the file",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file to be sent; nothing of it has been read yet."""

    path: str
    """As found; may hold bytes that are no text. Use `name` where people or databases see it."""
    name: str
    size: int
    """When it was found; 0 on stdin, where nobody knows."""
    _read: Callable[[], bytes] = field(repr=False, compare=False)

    def read(self) -> bytes:
        """Return the whole content; never more than one byte over the limit is read.

        Raises: UnreadableFileError, DocumentTooLargeError; the file may have changed since it was found.
        """
        return self._read()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file in a folder that is not meant for sending; no error."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that was meant but cannot be read; the error's text is the line to show."""

    path: str
    error: DocumentError


Gathered = Found | Skipped | Unreadable


def gather(paths: Sequence[str], *, stdin: BinaryIO, limits: DocumentLimits = DEFAULT_LIMITS) -> Iterator[Gathered]:
    """Yield what the paths stand for, in their order, folders sorted; each file once however often it is named.

    A path is a file, a folder (searched through, hidden names left out), a pattern, or `-` for one document on stdin.
    """
    gatherer = _Gatherer(stdin, limits)
    for path in paths:
        yield from gatherer.of_path(path)


def find_file(path: str, *, limits: DocumentLimits) -> Found | Unreadable:
    """Return one file by its name, taken as it is: no folder, no pattern, no stdin; nothing of it is read."""
    found = next(_Gatherer(io.BytesIO(), limits).of_file_alone(path))
    return found if isinstance(found, Found | Unreadable) else _unreadable(path, found.reason)


def count_files(paths: Sequence[str]) -> int:
    """Return how many files the paths stand for, by names alone: about what gather() will yield, and much faster."""
    return sum(_count(path) for path in paths)


def _count(path: str) -> int:
    if os.path.lexists(path) or not glob.has_magic(path):
        return count(path) if os.path.isdir(path) else 1  # noqa: PTH112 - a path of a stranger may hold a NUL
    return sum(_count(match) for match in glob.iglob(path, recursive=True))  # noqa: PTH207 - as in gather


class _Gatherer:
    def __init__(self, stdin: BinaryIO, limits: DocumentLimits) -> None:
        self._stdin, self._limits = stdin, limits
        self._seen = SeenFiles()
        self._stdin_taken = False

    def of_path(self, path: str) -> Iterator[Gathered]:
        if path == STDIN_PATH:
            yield self._of_stdin()
        elif "\0" in path or not path:
            yield _unreadable(path, "no path at all; check it")
        elif os.path.lexists(path) or not glob.has_magic(path):
            yield from self._of_name(path)
        else:
            yield from self._of_pattern(path)

    def _of_stdin(self) -> Gathered:
        if self._stdin_taken:
            return Skipped(STDIN_PATH, "stdin was named before")
        self._stdin_taken = True
        return Found(STDIN_PATH, STDIN_NAME, 0, lambda: _read_stream(self._stdin, self._limits))

    def _of_pattern(self, pattern: str) -> Iterator[Gathered]:
        matches = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            yield _unreadable(pattern, "no file matches this pattern; check it")
        for match in matches:
            yield from self._of_name(match)

    def _of_name(self, path: str) -> Iterator[Gathered]:
        try:
            status = Path(path).stat()
        except (OSError, ValueError) as exc:
            yield _unreadable(path, _reason(exc))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._of_folder(path)
        elif not stat.S_ISREG(status.st_mode):
            yield _unreadable(path, "a device, pipe or socket, no file; use - for a pipe")
        else:
            yield self._of_file(path, status)

    def of_file_alone(self, path: str) -> Iterator[Gathered]:
        if "\0" in path or not path:
            yield _unreadable(path, "no path at all; check it")
        elif os.path.isdir(path):  # noqa: PTH112 - as above
            yield _unreadable(path, "a folder; name a file")
        else:
            yield from self._of_name(path)

    def _of_file(self, path: str, status: os.stat_result) -> Gathered:
        if not self._seen.add(status):
            return Skipped(path, "the same file was named before")
        if status.st_size > self._limits.max_bytes:
            return Unreadable(path, _too_large(path, self._limits))
        if not os.access(path, os.R_OK):
            return _unreadable(path, _REASONS[errno.EACCES])
        return Found(path, shown_name(path), status.st_size, lambda: read_file(path, limits=self._limits))

    def _of_folder(self, folder: str) -> Iterator[Gathered]:
        anything = False
        for each in walk(folder):
            if isinstance(each, ClosedFolder):
                gathered: Gathered = _unreadable(each.path, _reason(each.error))
            else:
                gathered = self._in_folder(each)
            anything = anything or not isinstance(gathered, Skipped)
            yield gathered
        if not anything:
            yield _unreadable(folder, "no XML or ZIP in this folder; check the path")

    def _in_folder(self, path: str) -> Gathered:
        try:
            status = os.stat(path)  # noqa: PTH116 - a million Path objects take longer than their files
            if stat.S_ISDIR(status.st_mode):
                return Skipped(path, "a link to a folder; name the folder itself")
            if not stat.S_ISREG(status.st_mode):
                return Skipped(path, "a device, pipe or socket")
            if not _is_document(path):
                return Skipped(path, "neither XML nor ZIP")
        except OSError as exc:
            return _unreadable(path, _reason(exc))
        return self._of_file(path, status)


def _is_document(path: str) -> bool:
    lowered = path.lower()
    if lowered.endswith(_DOCUMENT_SUFFIXES):
        return True
    if lowered.endswith(_OTHER_SUFFIXES):
        return False
    with open(_open_plain(path), "rb") as file:
        return looks_like_document(file.read(_SNIFFED_BYTES))


def _open_plain(path: str) -> int:
    # Without O_NONBLOCK a pipe put in the file's place meanwhile would hang us in open().
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no ordinary file any more")
    return descriptor


def open_file(path: str) -> BinaryIO:
    """Open an ordinary file for reading. Raises: UnreadableFileError."""
    try:
        return open(_open_plain(path), "rb")
    except OSError as exc:
        raise UnreadableFileError(f"{shown_name(path)}: {_reason(exc)}") from exc


def read_file(path: str, *, limits: DocumentLimits) -> bytes:
    """Return the whole content of a file; never more than one byte over the limit is read.

    Raises: UnreadableFileError, DocumentTooLargeError.
    """
    try:
        descriptor = _open_plain(path)
        try:
            size = os.fstat(descriptor).st_size
            if size > limits.max_bytes:
                raise _too_large(path, limits)
            content = _read_plain(descriptor, size, most=limits.max_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise UnreadableFileError(f"{shown_name(path)}: {_reason(exc)}") from exc
    if len(content) > limits.max_bytes:
        raise _too_large(path, limits)
    return content


def _read_plain(descriptor: int, size: int, *, most: int) -> bytes:
    # Asked for by its size: Python makes room for all that is asked for, which for the limit costs more than the file.
    pieces = [os.read(descriptor, size + 1)]
    length = len(pieces[0])
    while length < most and (more := os.read(descriptor, min(_READ_BYTES, most - length))):
        pieces.append(more)
        length += len(more)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_stream(stream: BinaryIO, limits: DocumentLimits) -> bytes:
    try:
        content = stream.read(limits.max_bytes + 1)
    except (OSError, ValueError) as exc:
        raise UnreadableFileError(f"{STDIN_NAME}: cannot be read; pass a file instead") from exc
    if len(content) > limits.max_bytes:
        raise _too_large(STDIN_NAME, limits)
    return content


def _unreadable(path: str, reason: str) -> Unreadable:
    return Unreadable(path, UnreadableFileError(f"{shown_name(path)}: {reason}"))


def _too_large(path: str, limits: DocumentLimits) -> DocumentTooLargeError:
    return DocumentTooLargeError(
        f"{shown_name(path)}: larger than {limits.max_bytes:,} bytes; send fewer or smaller attachments"
    )


def _reason(exc: OSError | ValueError) -> str:
    known = _REASONS.get(exc.errno or 0) if isinstance(exc, OSError) else None
    return known or "cannot be read; check the path and the disk"

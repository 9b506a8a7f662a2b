"""Where the documents of one `postiljon send` come from: paths, then a manifest. Counts them first, by names alone."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import InvalidInputError
from pipeline.services.gather import STDIN_NAME, STDIN_PATH, Found, count_files, gather
from pipeline.services.lines import AnyLine, lines_of
from pipeline.services.manifest import Defaults, read_manifest
from pipeline.services.wanted import Terms

COUNTED_BYTES = 64_000_000
"""Of a manifest, before the number of its lines is estimated from its size."""
PARCEL_BYTES = 1_000_000_000_000
"""Of a ZIP of many, which is read from the disk entry by entry; the entries have the usual limit each."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What was named on the command line."""

    paths: tuple[str, ...]
    manifest: str | None
    unpack: bool
    terms: Terms
    routing: Mapping[str, object]

    def check(self, limits: DocumentLimits) -> None:
        """Refuse what contradicts itself. Raises: InvalidInputError."""
        if self.manifest == STDIN_PATH and STDIN_PATH in self.paths:
            raise InvalidInputError("stdin is either a document or the manifest; name one of them as a file")
        if self.terms.uuid is None and self.terms.reference is None:
            return
        if self.manifest is not None or self.unpack:
            raise InvalidInputError("--uuid and --reference name one invoice; lines of a manifest name their own")
        found = sum(isinstance(each, Found) for each in gather(self.paths, limits=limits, stdin=sys.stdin.buffer))
        if found > 1:
            raise InvalidInputError(
                f"--uuid and --reference name one invoice, but {found} files were given; name one file"
            )

    @cached_property
    def expected(self) -> tuple[int | None, bool]:
        """How many documents come, None where nobody can know, and whether that is an estimate."""
        if self.unpack or self.manifest == STDIN_PATH:
            return None, False
        files = count_files(self.paths)
        lines, about = _count_lines(self.manifest) if self.manifest else (0, False)
        return (None, False) if lines is None else (files + lines, about)

    def lines(self, limits: DocumentLimits) -> Iterator[AnyLine]:
        """Yield everything, in the order of the command line. Raises: InvalidInputError (the manifest itself)."""
        wide = replace(limits, max_bytes=PARCEL_BYTES) if self.unpack else limits
        with _opened(self.manifest) as manifest:
            gathered = gather(self.paths, limits=wide, stdin=sys.stdin.buffer)
            yield from lines_of(gathered, self.terms, unpack=limits if self.unpack else None)
            if manifest is not None and self.manifest is not None:
                yield from self._manifest(manifest, self.manifest, limits)

    def _manifest(self, stream: BinaryIO, path: str, limits: DocumentLimits) -> Iterator[AnyLine]:
        folder, name = ("", STDIN_NAME) if path == STDIN_PATH else os.path.split(path)
        defaults = Defaults(terms=self.terms, routing=self.routing)
        return read_manifest(stream, name=name, folder=folder, defaults=defaults, limits=limits)


@contextmanager
def _opened(path: str | None) -> Iterator[BinaryIO | None]:
    if path is None or path == STDIN_PATH:
        yield None if path is None else sys.stdin.buffer
        return
    try:
        # A pipe will do too: `--manifest <(export)`.
        file = Path(path).open("rb")  # noqa: SIM115 - closed below, and an error of opening is told apart
    except (OSError, ValueError) as exc:
        raise InvalidInputError(f"--manifest {path}: cannot be read; check path and rights") from exc
    with file:
        yield file


def _count_lines(path: str) -> tuple[int | None, bool]:
    try:
        if not Path(path).is_file():
            return None, False
        with Path(path).open("rb") as file:
            start = file.read(COUNTED_BYTES)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError):
        return None, False
    lines = start.count(b"\n") + (len(start) == size and not start.endswith(b"\n"))
    return (lines, False) if len(start) >= size else (round(lines * size / len(start)), True)

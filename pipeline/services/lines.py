"""Lines: documents asked to be submitted, each with its terms. Says where the bytes are; reads files of none."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.domain.errors import DocumentError
from pipeline.services.gather import STDIN_PATH, Found, Gathered, Skipped, Unreadable
from pipeline.services.wanted import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One document to be submitted: its bytes, or the file that has them."""

    path: str
    """What a person knows it by; may hold bytes of a file name that are no text."""
    name: str
    """The file name it goes out under, before it is made safe."""
    terms: Terms
    number: int | None = None
    """Of the manifest's line."""
    file: str | None = None
    content: bytes | None = field(default=None, repr=False)
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLine:
    """What was found and cannot be, or is not meant to be, submitted."""

    path: str
    message: str
    number: int | None = None
    skipped: bool = False


AnyLine = Line | NoLine


def lines_of(gathered: Iterable[Gathered], terms: Terms) -> Iterator[AnyLine]:
    """Yield a line for each thing found; the same terms for all."""
    for found in gathered:
        if isinstance(found, Found):
            yield _line(found, terms)
        elif isinstance(found, Skipped):
            yield NoLine(path=found.path, message=found.reason, skipped=True)
        else:
            yield _refused(found)


def _line(found: Found, terms: Terms) -> AnyLine:
    if found.path != STDIN_PATH:
        return Line(path=found.path, name=found.name, terms=terms, file=found.path, size=found.size)
    try:
        content = found.read()
    except DocumentError as exc:
        return _refused(Unreadable(found.path, exc))
    return Line(path=found.path, name=found.name, terms=terms, content=content, size=len(content))


def _refused(found: Unreadable) -> NoLine:
    return NoLine(path=found.path, message=str(found.error))

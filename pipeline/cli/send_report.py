"""What `postiljon send` tells: a line a document, one JSON object, a file of verdicts. Streams; keeps only counts."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TextIO

from pipeline.cli.output import err, escape, out, plain, print_error
from pipeline.domain.errors import InvalidInputError
from pipeline.services.submit_lines import FileVerdict, Verdict

LINES_IN_A_TERMINAL = 200
"""So many documents get a line of their own where a person looks on; of more only what was refused."""


class Report(Protocol):
    """Is told the verdicts, group by group as they are stored, and then that it is the end."""

    def tell(self, verdicts: Iterable[FileVerdict]) -> None:
        """Tell what became of a group."""

    def end(self, counts: Counter[Verdict], *, interrupted: bool) -> None:
        """Finish; also when it ended early, so that whatever was told is whole."""

    def close(self) -> None:
        """Let go of what is held, whatever happened."""


class Lines:
    """One line a document for a person, refusals on stderr."""

    def __init__(self, *, many: bool) -> None:
        """`many` says that more documents come than a person wants to see pass by."""
        self._many, self._told = many, 0

    def tell(self, verdicts: Iterable[FileVerdict]) -> None:
        """Print a group."""
        for verdict in verdicts:
            self._told += 1
            if verdict.verdict is Verdict.REFUSED:
                print_error(verdict.message or verdict.path)
            elif not self._many and not (sys.stdout.isatty() and self._told > LINES_IN_A_TERMINAL):
                self._print(verdict)

    @staticmethod
    def _print(verdict: FileVerdict) -> None:
        path = escape(visible(verdict.path))
        if verdict.submitted is None:
            err().print(f"[dim]skipped {path}: {escape(verdict.message or '')}[/]")
            return
        header = verdict.submitted.header
        number = f"{header.number or 'number unknown'}  {header.buyer_name or ''}".strip()
        queued = verdict.verdict is Verdict.QUEUED
        word = "queued" if queued else f"known, {verdict.submitted.state.value}"
        if sys.stdout.isatty():
            word = f"[green]{word}[/]" if queued else word
            out().print(f"{word}  {verdict.submitted.uuid}  {escape(number)}  [dim]{path}[/]")
            return
        # A print of rich takes longer than submitting, and a pipe sees none of it.
        sys.stdout.write(f"{word}  {verdict.submitted.uuid}  {number}  {visible(verdict.path)}\n")

    def end(self, counts: Counter[Verdict], *, interrupted: bool) -> None:
        """Leave the rest to the summary."""

    def close(self) -> None:
        """Hold nothing."""


class JsonObject:
    """One JSON object on stdout, written as it grows."""

    def __init__(self) -> None:
        self._begun = False

    def tell(self, verdicts: Iterable[FileVerdict]) -> None:
        """Write a group."""
        for verdict in verdicts:
            sys.stdout.write(",\n    " if self._begun else '{\n  "files": [\n    ')
            self._begun = True
            sys.stdout.write(_dump(as_json(verdict)))

    def end(self, counts: Counter[Verdict], *, interrupted: bool) -> None:
        """Write the counts and close the object."""
        sys.stdout.write("\n  ],\n" if self._begun else '{\n  "files": [],\n')
        ends = {**{each.value: counts[each] for each in Verdict}, **({"interrupted": True} if interrupted else {})}
        sys.stdout.write(",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in ends.items()) + "\n}\n")

    def close(self) -> None:
        """Hold nothing."""


class VerdictFile:
    """NDJSON, a line a document, on the disk once the documents are in the database."""

    def __init__(self, path: str) -> None:
        """Begin the file anew. Raises: InvalidInputError when it cannot be written."""
        try:
            self._file: TextIO = sys.stdout if path == "-" else Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - close()
        except (OSError, ValueError) as exc:
            raise InvalidInputError(f"--verdicts {visible(path)}: cannot be written; check path and rights") from exc

    def tell(self, verdicts: Iterable[FileVerdict]) -> None:
        """Write a group, whole lines only."""
        self._file.write("".join(_dump(as_json(verdict)) + "\n" for verdict in verdicts))
        self._file.flush()

    def end(self, counts: Counter[Verdict], *, interrupted: bool) -> None:
        """Leave it as it is: every line is whole."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not sys.stdout:
            self._file.close()


def as_json(verdict: FileVerdict) -> dict[str, object]:
    """Return one document's verdict as scripts read it."""
    answer: dict[str, object] = {"path": visible(verdict.path), "verdict": verdict.verdict, "message": verdict.message}
    if verdict.line is not None:
        answer["line"] = verdict.line
    if verdict.submitted is None:
        return answer | ({"uuid": verdict.uuid, "sha256": verdict.sha256} if verdict.uuid else {})
    header = verdict.submitted.header
    return answer | {
        "uuid": verdict.submitted.uuid,
        "state": verdict.submitted.state,
        "sha256": verdict.submitted.sha256,
        "number": header.number,
        "customer": header.buyer_name,
        "total": header.total,
        "currency": header.currency,
        "issue_date": header.issue_date,
        "format": header.format,
    }


def visible(path: str) -> str:
    """Return a path that can be printed, whatever its bytes are."""
    return path if path.isprintable() else "".join(each if each.isprintable() else "�" for each in path)


_dump: Callable[[object], str] = json.JSONEncoder(default=plain, ensure_ascii=False).encode

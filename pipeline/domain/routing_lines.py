"""On which line of a TOML text each key stands. Knows nothing of what the keys mean.

The parser of the standard library tells lines of syntax errors only. This walks a text that it has already accepted, so
it need not judge anything: strings are skipped, brackets are counted, and keys are put together as TOML does.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Final

Path = tuple[str | int, ...]
"""Keys and positions from the top: `("rule", 1, "way")` is the way of the second `[[rule]]`."""

_BLANK: Final = re.compile(r"[ \t]*")
_VOID: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'")
# Up to two quotation marks may stand right before the closing three.
_LONG: Final = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})' + r"|'''.*?'''(?:'{0,2})", re.DOTALL)
_PLAIN: Final = re.compile(r"[^,\]}#\n]*")


def find_lines(text: str) -> Mapping[Path, int]:
    """Return the line, from 1, of every key and list element of a valid TOML text; a table has its header's line."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.walk()
    return scanner.lines


class _Scanner:
    """One walk through one text."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counts: dict[Path, int] = {}

    def walk(self) -> None:
        """Note the line of everything from the top to the end."""
        table: Path = ()
        self._take(_VOID)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._take(_VOID)

    def _header(self) -> Path:
        line = self._line
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        keys = self._keys()
        self._at += brackets
        path = self._resolved(keys[:-1], line)
        path = self._element((*path, keys[-1])) if brackets == 2 else self._resolved(keys, line)  # noqa: PLR2004 - [[
        self._note(path, line)
        return path

    def _resolved(self, keys: list[str], line: int) -> Path:
        path: Path = ()
        for key in keys:
            path = (*path, key)
            self._note(path, line)
            if path in self._counts:  # a header below [[x]] speaks of its latest element
                path = (*path, self._counts[path] - 1)
        return path

    def _element(self, path: Path) -> Path:
        self._note(path, self._line)
        index = self._counts.get(path, 0)
        self._counts[path] = index + 1
        return (*path, index)

    def _pair(self, table: Path) -> None:
        line, path = self._line, table
        for key in self._keys():
            path = (*path, key)
            self._note(path, line)
        self._at += 1  # the equals sign
        self._take(_BLANK)
        self._value(path)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._text.startswith(".", self._at):
            self._at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._take(_BLANK)
        bare = self._take(_BARE_KEY)
        key = bare or str(tomllib.loads(f"key = {self._take(_QUOTED)}")["key"])
        self._take(_BLANK)
        return key

    def _value(self, path: Path) -> None:
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif not (self._take(_LONG) or self._take(_QUOTED)):
            self._take(_PLAIN)

    def _array(self, path: Path) -> None:
        self._at += 1
        self._take(_VOID)
        index = 0
        while self._text[self._at] != "]":
            self._note((*path, index), self._line)
            self._value((*path, index))
            index += 1
            self._separator()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._take(_VOID)
        while self._text[self._at] != "}":
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._take(_VOID)
        if self._text[self._at] == ",":
            self._at += 1
            self._take(_VOID)

    def _note(self, path: Path, line: int) -> None:
        self.lines.setdefault(path, line)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        self._line += found.group().count("\n")
        return found.group()

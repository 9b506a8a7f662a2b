"""One table of a TOML file, read key by key, with every mistake told by its line. Knows no key's meaning."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing_lines import Path

_DURATION: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
LONGEST: Final = timedelta(days=3650)
"""Ten years: nothing waits longer, and dates stay within the calendar."""
SHOWN_LENGTH = 60
"""Characters of a wrong value that a message repeats."""


def read_duration(text: str) -> timedelta | None:
    """Read `90s`, `10m`, `48h`, `90d` or a combination in falling order such as `1h30m`; None for anything else."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return duration if duration <= LONGEST else None


@dataclass(frozen=True, kw_only=True)
class Problems:
    """What is wrong with one file, all of it, before anybody is told."""

    source: str
    lines: Mapping[Path, int]
    found: list[tuple[int, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of a key, or of the nearest table around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def add(self, path: Path, what: str) -> None:
        """Note one mistake where it stands."""
        self.found.append((self.line(path), "".join(char if char.isprintable() else "?" for char in what)))

    def complain(self) -> None:
        """Raise everything found, by line, one a line; do nothing when all is well."""
        if self.found:
            raise ConfigurationError("\n".join(f"{self.source}:{line}: {what}" for line, what in sorted(self.found)))


class Section:
    """One table. Each read marks its key as known; `finish` tells of the keys nobody asked for."""

    def __init__(self, values: Mapping[str, object], *, path: Path, label: str, problems: Problems) -> None:
        self.path = path
        self.label = label
        self.problems = problems
        self._values = values
        self._asked: set[str] = set()

    def named(self, label: str) -> "Section":
        """Return the same table under a name that a person knows it by; the outer one's goes in front."""
        self.label = f"{self.label}: {label}" if self.label else label
        return self

    def wrong(self, key: str | None, what: str) -> None:
        """Note a mistake at a key, or at the table itself."""
        path = self.path if key is None else (*self.path, key)
        self.problems.add(path, f"{self.label}: {what}" if self.label else what)

    def keys(self) -> tuple[str, ...]:
        """Return all keys, as written."""
        return tuple(self._values)

    def peek(self, key: str) -> object:
        """Return a value unchecked, without marking its key as known."""
        return self._values.get(key)

    def text(self, key: str, *, required: bool = False) -> str | None:
        """Read a text that is not blank."""
        value = self._get(key, required=required)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self.wrong(key, f"`{key}` is a text that is not empty, not {_shown(value)}")
        return None

    def pattern(self, key: str) -> re.Pattern[str] | None:
        """Read a regular expression, to be searched without regard to case; one that fits everything is a mistake."""
        text = self.text(key)
        if text is None:
            return None
        try:
            pattern = re.compile(text, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as exc:
            self.wrong(key, f"`{key}` is no regular expression: {exc}")
            return None
        if pattern.search(""):
            self.wrong(key, f"`{key}` fits any text, so it would be a guess about texts nobody has seen")
            return None
        return pattern

    def one(self, key: str, allowed: Collection[str], *, required: bool = False) -> str | None:
        """Read one word out of those allowed."""
        value = self._get(key, required=required)
        if value is None or (isinstance(value, str) and value in allowed):
            return value
        self.wrong(key, f"`{key}` is one of {', '.join(allowed)}, not {_shown(value)}")
        return None

    def several(
        self, key: str, allowed: Collection[str] | None = None, *, required: bool = False, may_be_empty: bool = False
    ) -> frozenset[str] | None:
        """Read a word or a list of words, out of those allowed where given; None when the key is absent."""
        value = self._get(key, required=required)
        if value is None:
            return None
        given: list[object] = value if isinstance(value, list) else [value]
        if not given and not may_be_empty:
            self.wrong(key, f"`{key}` is an empty list, which fits nothing: name one or leave it out")
        for place, word in enumerate(given):
            self._check_word(key, word, allowed, place=place)
        return frozenset(word for word in given if isinstance(word, str))

    def flag(self, key: str) -> bool | None:
        """Read true or false."""
        value = self._get(key)
        if value is None or isinstance(value, bool):
            return value
        self.wrong(key, f"`{key}` is true or false, not {_shown(value)}")
        return None

    def number(self, key: str, *, least: int, most: int) -> int | None:
        """Read a whole number within bounds."""
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.wrong(key, f"`{key}` is a whole number from {least} to {most}, not {_shown(value)}")
        return None

    def amount(self, key: str) -> Decimal | None:
        """Read an amount of money."""
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite():
            return Decimal(value)
        self.wrong(key, f"`{key}` is an amount such as 5000 or 99.50, not {_shown(value)}")
        return None

    def duration(self, key: str, *, least: timedelta = timedelta(0)) -> timedelta | None:
        """Read a duration, not shorter than the least."""
        value = self._get(key)
        if value is None:
            return None
        duration = read_duration(value) if isinstance(value, str) else None
        if duration is None:
            self.wrong(key, f'`{key}` is a duration such as "90s", "10m", "48h", "1h30m" or "7d", not {_shown(value)}')
        elif duration < least:
            self.wrong(key, f"`{key}` must be longer than nothing, not {_shown(value)}")
            return None
        return duration

    def table(self, key: str) -> "Section | None":
        """Read a table; None when it is absent."""
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, dict):
            return Section(value, path=(*self.path, key), label=self.label, problems=self.problems)
        self.wrong(key, f"`{key}` is a table, not {_shown(value)}")
        return None

    def tables(self, key: str, *, quiet: bool = False) -> list["Section"]:
        """Read the tables of `[[key]]`, in order; a quiet look notes no mistake."""
        value = self._get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            if not quiet:
                self.wrong(key, f"`{key}` is written as [[{key}]], once for each, not as {_shown(value)}")
            return []
        return [
            Section(each, path=(*self.path, key, place), label=self.label, problems=self.problems)
            for place, each in enumerate(value)
        ]

    def finish(self) -> None:
        """Note every key that nobody has asked for."""
        for key in self._values:
            if key not in self._asked:
                self.wrong(key, f"`{key}` is no key here; {hint(key, self._asked)}")

    def _get(self, key: str, *, required: bool = False) -> object:
        self._asked.add(key)
        value = self._values.get(key)
        if value is None and required:
            self.wrong(None, f"`{key}` is missing")
        return value

    def _check_word(self, key: str, word: object, allowed: Collection[str] | None, *, place: int) -> None:
        if isinstance(word, str) and word.strip() and (allowed is None or word in allowed):
            return
        spot: Path = (*self.path, key, place)
        wanted = "a text or a list of texts" if allowed is None else f"one or more of {', '.join(allowed)}"
        what = f"`{key}` is {wanted}, not {_shown(word)}"
        self.problems.add(spot, f"{self.label}: {what}" if self.label else what)


def hint(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or which there are."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"

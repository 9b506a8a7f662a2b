"""Checks parameters the way the published specification states them. Knows tables of names, kinds and limits."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from simulator.errors import invalid_parameters

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
INTEGER = re.compile(r"-?\d{1,10}")
DEFAULT_LONGEST = 10_000  # what swagger leaves open is bounded all the same


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: kind is text, boolean, integer, date or instant."""

    name: str
    kind: str = "text"
    choices: frozenset[str] = frozenset()
    longest: int = DEFAULT_LONGEST
    many: bool = False
    required: bool = False


class Values:
    """Parameters that passed the check, by name."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """Give the last value under the name."""
        values = self._values.get(name)
        return values[-1] if values else default

    def many(self, name: str) -> list[str] | None:
        """Give all values under the name, None if it was not sent."""
        return self._values.get(name)

    def flag(self, name: str) -> bool:
        """Give a boolean, false if it was not sent."""
        return BOOLEANS.get(self.text(name).lower(), False)

    def integer(self, name: str, default: int) -> int:
        """Give a whole number."""
        return int(self.text(name) or default)

    def instant(self, name: str) -> float | None:
        """Give an instant as epoch seconds; without an offset it is UTC."""
        text = self.text(name)
        return parse_instant(text) if text else None

    def as_table(self) -> dict[str, list[str]]:
        """Give all names with all their values."""
        return self._values


def read(table: dict[str, Parameter], pairs: Iterable[tuple[str, str]], array_form: str) -> Values:
    """Collect and check parameters; what the table does not know is ignored, as the operator does.

    Raises: Refusal 400 naming every parameter that is wrong.
    """
    values: dict[str, list[str]] = {}
    for sent_name, value in pairs:
        parameter = _known(table, sent_name, array_form)
        if parameter is not None:
            values.setdefault(parameter.name, []).append(value)
    mistakes = [text for name, sent in values.items() for value in sent if (text := _mistake(table[name], value))]
    mistakes += [f"{name} is missing" for name, known in table.items() if known.required and not values.get(name)]
    if mistakes:
        raise invalid_parameters(*mistakes)
    return Values(values)


def pairs_of(body: dict[str, object]) -> list[tuple[str, str]]:
    """Spread a JSON object into the pairs that `read` takes; nested objects are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in body.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool):
                pairs.append((name, str(item).lower()))
            elif isinstance(item, str | int | float):
                pairs.append((name, str(item)))
    return pairs


def table_of(*parameters: Parameter) -> dict[str, Parameter]:
    """Index parameters by name."""
    return {parameter.name: parameter for parameter in parameters}


def parse_instant(text: str) -> float | None:
    """Read an RFC 3339 instant as epoch seconds, None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _known(table: dict[str, Parameter], sent_name: str, array_form: str) -> Parameter | None:
    bracketed = sent_name.endswith("[]")
    parameter = table.get(sent_name[:-2] if bracketed else sent_name)
    if parameter is None or (bracketed and not parameter.many):
        return None
    if parameter.many and array_form != "both" and bracketed != (array_form == "brackets"):
        return None
    return parameter


def _mistake(parameter: Parameter, value: str) -> str:  # noqa: PLR0911 - one line per rule reads best
    if len(value) > parameter.longest:
        return f"{parameter.name} is longer than {parameter.longest}"
    if parameter.choices and value not in parameter.choices:
        return f"{parameter.name} does not have a valid value"
    if parameter.kind == "boolean" and value.lower() not in BOOLEANS:
        return f"{parameter.name} is not a boolean"
    if parameter.kind == "integer" and not INTEGER.fullmatch(value):
        return f"{parameter.name} is not an integer"
    if parameter.kind == "instant" and parse_instant(value) is None:
        return f"{parameter.name} is not a date-time"
    if parameter.kind == "date" and not _is_date(value):
        return f"{parameter.name} is not a date"
    return ""


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False

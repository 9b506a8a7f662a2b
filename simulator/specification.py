"""Reads a Swagger 2.0 document into operations and parameters that can be checked. Knows no requests."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from simulator.errors import SettingError

INTEGER = re.compile(r"-?\d+")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class SpecifiedParameter:
    """One parameter in query or form."""

    name: str
    kind: str
    form: str = ""
    choices: frozenset[str] = frozenset()
    longest: int | None = None
    many: bool = False
    required: bool = False

    def mistakes(self, value: str, *, is_file: bool) -> list[str]:
        """Name the rules that a value breaks."""
        rules = {
            "is not a file with a filename": self.kind == "file" and not is_file,
            "is a file": self.kind != "file" and is_file,
            "is not an integer": self.kind == "integer" and not INTEGER.fullmatch(value),
            "is not a number": self.kind == "number" and not NUMBER.fullmatch(value),
            "is not a boolean": self.kind == "boolean" and value not in ("true", "false"),
            "is not one of the allowed values": bool(self.choices) and value not in self.choices,
            f"is longer than {self.longest}": self.longest is not None and len(value) > self.longest,
            f"is not a {self.form}": not _fits(self.form, value),
        }
        return [text for text, broken in rules.items() if broken]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    parameters: Mapping[str, dict[str, SpecifiedParameter]]
    consumes: tuple[str, ...] = ()
    body: object = None  # the schema of the body, if there is one
    answers: Mapping[int, object] = field(default_factory=dict)  # schema by status, None for no body

    def of(self, where: str) -> dict[str, SpecifiedParameter]:
        """Give the parameters of the query or the form."""
        return self.parameters.get(where, {})


class Specification:
    """A whole Swagger document."""

    def __init__(self, content: dict[str, object]) -> None:
        self.definitions = _closed(content.get("definitions", {}))
        self._operations: dict[tuple[str, str], Operation] = {}
        for path, methods in _table(content.get("paths")).items():
            for method, operation in _table(methods).items():
                self._operations[method.upper(), path] = _operation(_table(operation))

    @classmethod
    def load(cls, path: Path) -> "Specification":
        """Read a specification from a file.

        Raises: SettingError when it cannot be read or is not Swagger 2.0.
        """
        try:
            content: object = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as exc:
            raise SettingError(f"specification {path} cannot be read: {exc}") from exc
        if not isinstance(content, dict) or content.get("swagger") != "2.0":
            raise SettingError(f"{path} is not a Swagger 2.0 document")
        return cls(content)

    def operation(self, method: str, path: str) -> Operation | None:
        """Find the operation by its path as the specification writes it."""
        return self._operations.get((method, path))

    def knows(self, method: str, path: str) -> bool:
        """Whether some operation fits a path as it was requested."""
        return any(
            method == known and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path)
            for known, template in self._operations
        )


def _operation(content: dict[str, object]) -> Operation:
    parameters: dict[str, dict[str, SpecifiedParameter]] = {}
    body: object = None
    listed = content.get("parameters")
    for entry in listed if isinstance(listed, list) else []:
        if entry["in"] == "body":
            body = _closed(entry["schema"])
        else:
            parameters.setdefault(entry["in"], {})[entry["name"]] = _parameter(entry)
    consumes = content.get("consumes")
    answers = {
        int(status): _closed(_table(answer)["schema"]) if "schema" in _table(answer) else None
        for status, answer in _table(content.get("responses")).items()
        if status.isdecimal()
    }
    return Operation(parameters, tuple(consumes) if isinstance(consumes, list) else (), body, answers)


def _parameter(entry: dict[str, object]) -> SpecifiedParameter:
    many = entry.get("type") == "array"
    inner = _table(entry.get("items")) if many else entry
    choices, longest = inner.get("enum"), inner.get("maxLength")
    return SpecifiedParameter(
        name=str(entry["name"]),
        kind=str(inner.get("type", "string")),
        form=str(inner.get("format", "")),
        choices=frozenset(map(str, choices)) if isinstance(choices, list) else frozenset(),
        longest=longest if isinstance(longest, int) else None,
        many=many,
        required=entry.get("required") is True,
    )


def _closed(schema: object) -> object:
    """Forbid fields that a schema does not name: the specification leaves them open, a misspelling would hide there."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _fits(form: str, value: str) -> bool:
    try:
        if form == "date":
            return date.fromisoformat(value).isoformat() == value
        if form == "date-time":
            return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
    return True

"""Checks every request and every answer against the published specification (Swagger 2.0), when asked to.

Collects what breaks it and says so without values: a violation names the parameter or field and the rule, because
values may be keys or personal data. Needs jsonschema, which only developers have; it is imported when asked for.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qsl

from simulator import multipart
from simulator.errors import Refusal, SettingError
from simulator.exchange import Answer, Call, Endpoint
from simulator.specification import Operation, Specification, SpecifiedParameter

KEPT: Final = 500  # violations kept of each kind; more are only counted
WHAT_LENGTH: Final = 300
ERROR: Final = {"$ref": "#/definitions/API_Entities_Error"}
SUCCESS_BELOW: Final = 400


class _SchemaError(Protocol):
    """What is used of jsonschema's ValidationError."""

    validator: str
    validator_value: object
    absolute_path: Iterable[str | int]


class _SchemaValidator(Protocol):
    """What is used of jsonschema's validators."""

    def iter_errors(self, instance: object) -> Iterable[_SchemaError]: ...


class Validator:
    """The specification, and what was found to break it."""

    def __init__(self, path: Path) -> None:
        self._specification = Specification.load(path)
        self._schemas: dict[str, _SchemaValidator] = {}
        self.checked = {"requests": 0, "answers": 0}
        self.violations: dict[str, list[dict[str, str]]] = {"requests": [], "answers": []}
        self.dropped = 0
        self._schema(ERROR)  # a missing jsonschema shows at the start, not in the middle of a test

    def check_request(self, endpoint: Endpoint, call: Call) -> None:
        """Check parameters, media type and body of a request."""
        self.checked["requests"] += 1
        operation = self._specification.operation(endpoint.method, endpoint.path)
        mistakes = ["endpoint is not in the specification"] if operation is None else self._request(operation, call)
        self._keep("requests", endpoint.method, endpoint.path, mistakes)

    def check_answer(self, endpoint: Endpoint, answer: Answer) -> None:
        """Check status and body of an answer."""
        self.checked["answers"] += 1
        operation = self._specification.operation(endpoint.method, endpoint.path)
        mistakes = ["endpoint is not in the specification"] if operation is None else self._answer(operation, answer)
        self._keep("answers", endpoint.method, endpoint.path, [f"{answer.status}: {text}" for text in mistakes])

    def note_unknown(self, method: str, path: str) -> None:
        """Note a request to a path that the simulator does not offer."""
        self.checked["requests"] += 1
        known = self._specification.knows(method, path)
        what = "endpoint is specified, but the simulator does not offer it" if known else "no such endpoint"
        self._keep("requests", method, path[:WHAT_LENGTH], [what])

    def shown(self) -> dict[str, object]:
        """Write what was checked and what broke the specification."""
        return {"checked": self.checked, **self.violations, "dropped": self.dropped}

    def _request(self, operation: Operation, call: Call) -> list[str]:
        try:
            return [
                *_parameters(operation.of("query"), [(name, value, False) for name, value in call.query], "query"),
                *_media_type(operation, call),
                *self._content(operation, call),
            ]
        except Refusal as refusal:
            return [refusal.code + ": " + "; ".join(refusal.details)]

    def _content(self, operation: Operation, call: Call) -> list[str]:
        if operation.body is not None:
            return [f"body {text}" for text in self._body(operation.body, call.body)]
        form = operation.of("formData")
        return _parameters(form, _fields(call), "form") if form else []

    def _body(self, schema: object, body: bytes) -> list[str]:
        try:
            content: object = json.loads(body)
        except ValueError:
            return ["is not JSON"]
        return self._errors(schema, content)

    def _answer(self, operation: Operation, answer: Answer) -> list[str]:
        if answer.status not in operation.answers:
            if answer.status < SUCCESS_BELOW:
                return ["status is not in the specification"]
            return self._body(ERROR, answer.encoded())
        schema = operation.answers[answer.status]
        return self._body(schema, answer.encoded()) if schema is not None else []

    def _errors(self, schema: object, content: object) -> list[str]:
        return [
            f"/{'/'.join(map(str, error.absolute_path))} breaks {error.validator} {error.validator_value}"
            for error in self._schema(schema).iter_errors(content)
        ]

    def _schema(self, schema: object) -> _SchemaValidator:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._schemas:
            self._schemas[key] = _compiled(schema, self._specification.definitions)
        return self._schemas[key]

    def _keep(self, kind: str, method: str, path: str, mistakes: list[str]) -> None:
        for what in mistakes:
            if len(self.violations[kind]) >= KEPT:
                self.dropped += 1
                continue
            self.violations[kind].append({"method": method, "path": path, "what": what[:WHAT_LENGTH]})


def violations_endpoint(validator: Validator | None) -> Endpoint:
    """Offer GET /_simulator/violations."""

    def show(_call: Call) -> Answer:
        if validator is None:
            raise Refusal(409, "not_validating", "The simulator was started without --validate")
        return Answer(body=validator.shown())

    return Endpoint("GET", "/_simulator/violations", show)


def _compiled(schema: object, definitions: object) -> _SchemaValidator:
    try:
        from jsonschema import Draft4Validator  # noqa: PLC0415 - a development dependency
    except ImportError as exc:
        raise SettingError("--validate needs the package jsonschema, which `make install-dev` installs") from exc
    whole = {"allOf": [schema], "definitions": definitions}
    validator: _SchemaValidator = Draft4Validator(whole, format_checker=Draft4Validator.FORMAT_CHECKER)
    return validator


def _media_type(operation: Operation, call: Call) -> list[str]:
    sent = call.content_type.partition(";")[0].strip().lower()
    if not call.body or not operation.consumes or sent in operation.consumes:
        return []
    return [f"media type {sent or 'missing'} instead of {' or '.join(operation.consumes)}"]


def _fields(call: Call) -> list[tuple[str, str, bool]]:
    """Give the fields of a form, each with whether it is a file."""
    kind = call.content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        parts = multipart.parse(call.body, call.content_type)
        return [(one.name, "" if one.name == "file" else one.text, bool(one.filename)) for one in parts]
    if kind == "application/json":
        return [(name, str(value), False) for name, value in call.json().items()]
    text = call.body.decode("utf-8", "replace")
    return [(name, value, False) for name, value in parse_qsl(text, keep_blank_values=True)]


def _parameters(specified: dict[str, SpecifiedParameter], sent: list[tuple[str, str, bool]], where: str) -> list[str]:
    mistakes: list[str] = []
    seen: set[str] = set()
    for name, value, is_file in sent:
        parameter = specified.get(name) or specified.get(name.removesuffix("[]"))
        if parameter is None or (name.endswith("[]") and not parameter.many and name not in specified):
            mistakes.append(f"{where} parameter {name[:60]} is not in the specification")
            continue
        if parameter.name in seen and not parameter.many:
            mistakes.append(f"{where} parameter {parameter.name} was sent more than once")
        seen.add(parameter.name)
        mistakes += [
            f"{where} parameter {parameter.name} {text}" for text in parameter.mistakes(value, is_file=is_file)
        ]
    missing = (name for name, parameter in specified.items() if parameter.required and name not in seen)
    return mistakes + [f"{where} parameter {name} is missing" for name in missing]

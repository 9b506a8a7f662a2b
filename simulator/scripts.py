"""Fault scripts by name, from files, and from the control interface."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Final

from simulator.errors import SettingError
from simulator.faults import Fault, Rule, Script, checked
from simulator.mixture import MIXED_FAILURES

NAMED: Final[dict[str, tuple[Rule, ...]]] = {
    "calm": (),
    # A few per cent of what an ordinary month end brings.
    "everyday": (
        Rule(Fault.ACCEPT_THEN_SILENCE, probability=0.03, attempt="first"),
        Rule(Fault.UNAVAILABLE, probability=0.03),
        Rule(Fault.THROTTLED, probability=0.02, retry_after="1"),
        Rule(Fault.THROTTLED, probability=0.01),
        Rule(Fault.FAILED, probability=0.03),
        Rule(Fault.DELIVERED_THEN_FAILED, probability=0.01),
    ),
    "storm": (
        Rule(Fault.ACCEPT_THEN_SILENCE, probability=0.10),
        Rule(Fault.RESET_AFTER_ACCEPT, probability=0.10),
        Rule(Fault.RESET_BEFORE, probability=0.08),
        Rule(Fault.LYING_500, probability=0.08),
        Rule(Fault.LYING_502, probability=0.03),
        Rule(Fault.LYING_504, probability=0.03),
        Rule(Fault.UNAVAILABLE, probability=0.08, retry_after="1"),
        Rule(Fault.UNAVAILABLE, probability=0.05),
        Rule(Fault.THROTTLED, probability=0.08, retry_after="1"),
        Rule(Fault.THROTTLED, probability=0.05),
        Rule(Fault.SLOW, probability=0.05, seconds=1.0),
        Rule(Fault.TOKEN_STORM, probability=0.01),
        Rule(Fault.UNAVAILABLE, on="list", probability=0.10),
        Rule(Fault.RESET_BEFORE, on="list", probability=0.05),
        Rule(Fault.ACCEPT_THEN_SILENCE, on="list", probability=0.03),
        Rule(Fault.UNAVAILABLE, on="token", probability=0.20),
        Rule(Fault.RESET_BEFORE, on="token", probability=0.10),
        Rule(Fault.PENDING_LONG, probability=0.03, seconds=10.0),
        Rule(Fault.FAILED, probability=0.05),
        Rule(Fault.DELIVERED_THEN_FAILED, probability=0.03),
    ),
    "accept-then-silence": (Rule(Fault.ACCEPT_THEN_SILENCE, attempt="first"),),
    "reset-after-accept": (Rule(Fault.RESET_AFTER_ACCEPT, attempt="first"),),
    "lying-500": (Rule(Fault.LYING_500, attempt="first"),),
    # One invoice in ten fails, for every reason there is, and uploads and reroutes are answered badly besides.
    "mixed-failures": MIXED_FAILURES,
}
KINDS: Final[dict[str, UnionType | type]] = {
    "fault": str, "on": str, "probability": int | float, "attempt": str | int, "seconds": int | float | None,
    "status": int | None, "retry_after": str | int | None, "company": str | None, "uuid": str | None,
    "text": str | None, "key": str | None, "channel": str | None, "code": str | None, "message": str | None,
}  # fmt: skip


def load(name_or_path: str, seed: int) -> Script:
    """Give the script of this name, or the one in this JSON or TOML file.

    Raises: SettingError for an unknown name, an unreadable file or a wrong rule.
    """
    if name_or_path in NAMED:
        return Script(NAMED[name_or_path], seed, name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise SettingError(f"no fault script called {name_or_path!r} and no such file; names are {', '.join(NAMED)}")
    try:
        text = path.read_text("utf-8")
        content: object = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as exc:
        raise SettingError(f"fault script {path} cannot be read: {exc}") from exc
    return from_content(content, seed, name=path.name)


def from_content(content: object, seed: int, *, name: str = "custom") -> Script:
    """Make a script of a name, a list of rules, or a table with `name` or `rules` and perhaps `seed`.

    Raises: SettingError saying which rule is wrong and how.
    """
    if isinstance(content, str):
        content = {"name": content}
    if isinstance(content, list):
        content = {"rules": content}
    if not isinstance(content, dict):
        raise SettingError("a fault script is a name, a list of rules, or a table with `rules`")
    unknown = set(content) - {"name", "rules", "seed"}
    if unknown:
        raise SettingError(f"a fault script has no field {', '.join(sorted(unknown))}")
    seed = _seed(content.get("seed", seed))
    if "rules" not in content:
        if content.get("name") not in NAMED:
            raise SettingError(f"no fault script called {content.get('name')!r}; names are {', '.join(NAMED)}")
        return Script(NAMED[content["name"]], seed, content["name"])
    rules = content["rules"]
    if not isinstance(rules, list):
        raise SettingError("`rules` is a list")
    return Script([_rule(number, rule) for number, rule in enumerate(rules, 1)], seed, str(content.get("name") or name))


def as_content(script: Script) -> dict[str, object]:
    """Tell a script in the form that `from_content` takes."""
    rules = [{name: value for name, value in asdict(rule).items() if value is not None} for rule in script.rules]
    return {"name": script.name, "seed": script.seed, "rules": rules}


def _seed(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise SettingError(f"`seed` is a whole number, not {value!r}")
    return value


def _rule(number: int, content: object) -> Rule:
    if not isinstance(content, dict):
        raise SettingError(f"rule {number}: is not a table")
    try:
        return checked(_typed(content))
    except SettingError as exc:
        raise SettingError(f"rule {number}: {exc}") from exc


def _typed(content: Mapping[str, object]) -> Rule:
    for name, value in content.items():
        if name not in KINDS:
            raise SettingError(f"has no field {name!r}; fields are {', '.join(KINDS)}")
        if isinstance(value, bool) or not isinstance(value, KINDS[name]):
            raise SettingError(f"`{name}` cannot be {value!r}")
    if content.get("fault") not in {fault.value for fault in Fault}:
        raise SettingError(f"`fault` is one of {', '.join(Fault)}, not {content.get('fault')!r}")
    values = dict(content)
    values["fault"] = Fault(str(content["fault"]))
    if values.get("retry_after") is not None:
        values["retry_after"] = str(values["retry_after"])
    return Rule(**values)  # type: ignore[arg-type]

"""A user's own settings for a run of chaos: waits, limits, sizes and rules count; where services are does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values  # what pydantic-settings itself reads such files with

from pipeline.domain.errors import ConfigurationError
from pipeline.services.routing_source import read_routing
from pipeline.settings import Settings, settings_from

PREFIX = "POSTILJON_"
ROUTING_FILE = "POSTILJON_ROUTING_FILE"
OURS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("INSTALLATION", "STATE_DIR", "DATABASE_URL", "BROKER_URL", "OPERATOR_URL", "WEBHOOK_URL", "POINTS_FOLDER"),
        *("ENCRYPTION_KEY", "ENCRYPTION_KEY_FILE", "INSTANCE_KEY", "INSTANCE_KEY_FILE"),
    )
)
"""What says where an installation lives and what it is bound to: a run has its own, and touches nobody else's."""
KNOWN = frozenset(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)


@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    """What a user's file says."""

    values: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    """Of OURS, and what no setting is called."""


def read_own_settings(path: Path) -> OwnSettings:
    """Read the POSTILJON_ lines of an environment file; the routing file is looked for beside it.

    Raises: ConfigurationError when it cannot be read, a value is wrong, or the routing rules are.
    """
    try:
        lines = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"cannot read the settings {path}: {exc}") from exc
    given = {name: value for name, value in lines.items() if name.startswith(PREFIX) and value is not None}
    if not path.is_file() or not given:
        raise ConfigurationError(f"{path} is no file with lines {PREFIX}NAME=value")
    values = {name: value for name, value in given.items() if name in KNOWN - OURS}
    if ROUTING_FILE in values:
        rules = path.absolute().parent / values[ROUTING_FILE]
        read_routing(rules)
        values[ROUTING_FILE] = str(rules)
    settings_from(values)
    return OwnSettings(values=values, ignored=tuple(sorted(given.keys() - values.keys())))

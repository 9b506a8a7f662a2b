"""The routing options under flat names, as the command line and manifests give them: `lang`, `print_color`."""

from collections.abc import Mapping

from pydantic import BaseModel

from pipeline.maventa.schemas import EmailSettings, PrintSettings, UploadOptions

GROUPS: dict[str, tuple[str, type[BaseModel]]] = {
    "print_settings": ("print", PrintSettings),
    "email_settings": ("email", EmailSettings),
}
PLAIN = tuple(name for name in UploadOptions.model_fields if name not in GROUPS)
GROUPED = tuple(f"{prefix}_{part}" for prefix, group in GROUPS.values() for part in group.model_fields)
OPTION_NAMES = frozenset((*PLAIN, *GROUPED))


def read_routing(given: Mapping[str, object]) -> UploadOptions:
    """Build the options from flat names; None and empty lists are not given.

    Raises: InvalidInputError naming each wrong one.
    """
    values = {name: given[name] for name in PLAIN if given.get(name) not in (None, [], ())}
    for group_name, (prefix, group) in GROUPS.items():
        parts = {
            part: given[f"{prefix}_{part}"] for part in group.model_fields if given.get(f"{prefix}_{part}") is not None
        }
        if parts:
            values[group_name] = parts
    return UploadOptions.parse(values)

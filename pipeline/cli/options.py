"""The routing options of `postiljon send`: every upload parameter of the operator as a command line option."""

from inspect import Parameter, Signature
from typing import Annotated, get_args, get_origin

import typer

from pipeline.maventa.schemas import UploadOptions
from pipeline.services.routing_options import GROUPS, read_routing

__all__ = ["read_routing", "routing_parameters", "with_routing"]

PANEL = "Routing options (the operator's parameters)"


def routing_parameters() -> list[Parameter]:
    """Return one keyword parameter for each upload option, for a command's signature."""
    parameters: list[Parameter] = []
    for name, info in UploadOptions.model_fields.items():
        if name in GROUPS:
            prefix, group = GROUPS[name]
            parameters += [
                _parameter(f"{prefix}_{part}", field.annotation) for part, field in group.model_fields.items()
            ]
        else:
            parameters.append(_parameter(name, info.annotation))
    return parameters


def with_routing(signature: Signature) -> Signature:
    """Return a signature whose `**routing` is replaced by the routing options."""
    plain = [each for each in signature.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*plain, *routing_parameters()])


def _parameter(name: str, annotation: object) -> Parameter:
    choices = _choices(annotation)
    is_list = get_origin(annotation) is tuple
    kind: object = bool | None if bool in get_args(annotation) else list[str] | None if is_list else str | None
    text = f"One of {', '.join(choices)}." if choices else ""
    if is_list:
        text = f"May be repeated. {text}"
    option = typer.Option(help=text, rich_help_panel=PANEL, metavar=None if kind == bool | None else "TEXT")
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _choices(annotation: object) -> tuple[str, ...]:
    found = tuple(each for each in get_args(annotation) if isinstance(each, str))
    return found or next((inner for each in get_args(annotation) if (inner := _choices(each))), ())

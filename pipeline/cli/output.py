"""How answers and errors look, and the exit statuses. Knows nothing of what they say."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from pipeline.domain.errors import ConfigurationError, InvalidInputError, PostiljonError, ServiceUnavailableError

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]


PIPE_WIDTH = 200


class ExitStatus(IntEnum):
    """What the exit status of every command means."""

    DONE = 0
    NOT_ALL = 1
    """Something was refused, failed or is not as it should be; the output says which."""
    USAGE = 2
    """The command, an option or the configuration is wrong; nothing was done."""
    UNAVAILABLE = 3
    """Database, broker or another service cannot be reached; nothing was lost, try again."""


def out() -> Console:
    """Return the console for answers; wide where no terminal sets a width, so that a pipe gets whole UUIDs."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def err() -> Console:
    """Return the console for errors and progress."""
    return Console(stderr=True, highlight=False)


def print_json(answer: Mapping[str, object]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(answer, default=plain, ensure_ascii=False, indent=2) + "\n")


def print_error(message: str) -> None:
    """Print one error line on stderr, whatever characters a file name brings."""
    line = "".join(character if character.isprintable() else "�" for character in message)
    err().print(f"[bold red]error:[/] {escape(line)}", soft_wrap=True)


def escape(value: str) -> str:
    """Keep square brackets of user content from being read as markup."""
    return value.replace("[", "\\[")


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn errors of ours into one line and an exit status; anything else is a bug and keeps its traceback."""
    try:
        yield
    except PostiljonError as exc:
        print_error(str(exc))
        raise typer.Exit(status_of(exc)) from exc


def status_of(error: PostiljonError) -> ExitStatus:
    """Return the exit status of an error."""
    if isinstance(error, ServiceUnavailableError):
        return ExitStatus.UNAVAILABLE
    if isinstance(error, ConfigurationError):
        return ExitStatus.USAGE
    return ExitStatus.NOT_ALL if isinstance(error, InvalidInputError) else ExitStatus.UNAVAILABLE


def plain(value: object) -> object:
    """Return a JSON form of what json does not know by itself."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")

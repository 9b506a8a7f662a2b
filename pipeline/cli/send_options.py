"""What `postiljon send` is told, but for the routing options: names and help, nothing of what they do."""

from typing import Annotated
from uuid import UUID

import typer

from pipeline.services.wanted import HIGHEST_PRIORITY

CompanyOption = Annotated[str, typer.Option(help="For which company: its UUID or name.")]
PathsArgument = Annotated[
    list[str] | None, typer.Argument(help="Files, folders, patterns, or - for one document on stdin.")
]
ManifestOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="NDJSON, one invoice a line: path, content or content_base64, and its own uuid, reference, batch, "
        "deadline, routing options. - for stdin. What a line does not say, the options here say.",
    ),
]
UnpackOption = Annotated[
    bool,
    typer.Option("--unpack", help="Take each ZIP for a parcel: every entry is an invoice of its own."),
]
VerdictsOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write what became of each document, a JSON object a line, as it is in."),
]
UuidOption = Annotated[UUID | None, typer.Option(help="The invoice's UUID (one file); derived when not given.")]
ReferenceOption = Annotated[str | None, typer.Option(help="Your own reference (one file); the UUID derives from it.")]
BatchOption = Annotated[str | None, typer.Option(help="Name under which these are submitted together.")]
MoreToComeOption = Annotated[
    bool, typer.Option("--more-to-come", help="Leave the batch open: another send adds to it.")
]
DeadlineOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="By when the operator should have them: 2026-12-01T06:00 (this machine's time zone) or "
        "2026-12-01T06:00+02:00. The earliest go first among the company's; what is late is sent too.",
    ),
]
NotBeforeOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Nothing of these leaves before; written like the deadline."),
]
PriorityOption = Annotated[
    int,
    typer.Option(min=0, max=HIGHEST_PRIORITY, help="The higher goes first among the company's; 0 is usual."),
]

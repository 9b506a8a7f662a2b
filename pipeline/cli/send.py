"""`postiljon send`: files become queued invoices. Waits for no worker."""

import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from inspect import signature
from typing import Annotated, TypedDict
from uuid import UUID

import typer

from pipeline.bootstrap import open_database, utc_now
from pipeline.cli.cases_words import moment
from pipeline.cli.options import read_routing, with_routing
from pipeline.cli.output import ExitStatus, JsonOption, err, escape, friendly_errors, out, print_error, print_json
from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import InvalidInputError
from pipeline.services.batches import begin_run, end_run
from pipeline.services.gather import Found, gather
from pipeline.services.ports import Bell
from pipeline.services.submit import HIGHEST_PRIORITY
from pipeline.services.submit_files import FileVerdict, Verdict, submit_files
from pipeline.settings import load_settings


class Order(TypedDict):
    """In which order the invoices go."""

    deadline: datetime | None
    not_before: datetime | None
    priority: int


def build_send(bell: Bell) -> Callable[..., None]:
    """Return the command, ringing the given bell after each commit."""

    def send(
        paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or - for one document on stdin.")],
        company: Annotated[str, typer.Option(help="For which company: its UUID or name.")],
        uuid: Annotated[
            UUID | None, typer.Option(help="The invoice's UUID (one file); derived when not given.")
        ] = None,
        reference: Annotated[
            str | None, typer.Option(help="Your own reference (one file); the UUID derives from it.")
        ] = None,
        batch: Annotated[str | None, typer.Option(help="Name under which these are submitted together.")] = None,
        more_to_come: Annotated[
            bool, typer.Option("--more-to-come", help="Leave the batch open: another send adds to it.")
        ] = False,
        deadline: Annotated[
            str | None,
            typer.Option(
                metavar="TIME",
                help="By when the operator should have them: 2026-12-01T06:00 (this machine's time zone) or "
                "2026-12-01T06:00+02:00. The earliest go first among the company's; what is late is sent too.",
            ),
        ] = None,
        not_before: Annotated[
            str | None,
            typer.Option(metavar="TIME", help="Nothing of these leaves before; written like the deadline."),
        ] = None,
        priority: Annotated[
            int,
            typer.Option(min=0, max=HIGHEST_PRIORITY, help="The higher goes first among the company's; 0 is usual."),
        ] = 0,
        as_json: JsonOption = False,
        **routing: object,
    ) -> None:
        """Submit invoices for sending, XML or ZIP. Running it twice sends once."""
        with friendly_errors():
            order = Order(
                deadline=_read_deadline(deadline),
                not_before=_read_time("--not-before", not_before),
                priority=priority,
            )
            _send(paths, company, uuid, reference, batch, as_json, routing, bell, order, more_to_come)

    send.__signature__ = with_routing(signature(send))  # type: ignore[attr-defined]  # typer reads it
    return send


def _send(
    paths: list[str],
    company: str,
    uuid: UUID | None,
    reference: str | None,
    batch: str | None,
    as_json: bool,
    routing: dict[str, object],
    bell: Bell,
    order: Order,
    more_to_come: bool,
) -> None:
    settings = load_settings()
    options = read_routing(routing)
    limits = DocumentLimits(max_bytes=settings.max_document_bytes)
    if uuid is not None or reference is not None:
        _refuse_many(paths, limits)
    shown: list[FileVerdict] = []
    with open_database(settings) as database:
        if batch is not None:
            begin_run(database, company=company, name=batch)
        for verdict in submit_files(
            database,
            paths,
            company=company,
            stdin=sys.stdin.buffer,
            limits=limits,
            uuid=uuid,
            reference=reference,
            batch=batch,
            options=options,
            **order,
            bell=bell,
        ):
            shown.append(verdict)
            if not as_json:
                _print(verdict)
        counts = Counter(verdict.verdict for verdict in shown)
        if (
            batch is not None
            and not more_to_come
            and counts[Verdict.QUEUED] + counts[Verdict.KNOWN]
            and not counts[Verdict.REFUSED]
        ):
            # Whatever is interrupted or partly refused is run again: till then the batch waits for the rest.
            end_run(database, company=company, name=batch)
    if as_json:
        print_json({**{each.value: counts[each] for each in Verdict}, "files": [_as_json(each) for each in shown]})
    else:
        _print_summary(counts)
    if counts[Verdict.REFUSED] or not counts[Verdict.QUEUED] + counts[Verdict.KNOWN]:
        raise typer.Exit(ExitStatus.NOT_ALL)


def _read_deadline(given: str | None) -> datetime | None:
    deadline = _read_time("--deadline", given)
    if deadline is not None and deadline < utc_now():
        # Not refused: the same command, run again after its deadline, must not leave half of the files unsent.
        err().print(f"[yellow]the deadline {moment(deadline)} UTC is over; sent as soon as possible all the same[/]")
    return deadline


def _read_time(option: str, given: str | None) -> datetime | None:
    if given is None:
        return None
    wrong = f"{option} {given!r} is no time: write it like 2026-12-01T06:00"
    if len(given) <= len("2026-12-01"):
        # A date alone would mean its first minute, and a person its last.
        raise InvalidInputError(wrong)
    try:
        # Without a zone a person means the clock on the wall, of this machine.
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidInputError(wrong) from exc


def _refuse_many(paths: list[str], limits: DocumentLimits) -> None:
    found = sum(isinstance(each, Found) for each in gather(paths, limits=limits, stdin=sys.stdin.buffer))
    if found > 1:
        raise InvalidInputError(f"--uuid and --reference name one invoice, but {found} files were given; name one file")


def _print(verdict: FileVerdict) -> None:
    if verdict.submitted is None:
        if verdict.verdict is Verdict.REFUSED:
            print_error(verdict.message or verdict.path)
        else:
            err().print(f"[dim]skipped {escape(_visible(verdict.path))}: {escape(verdict.message or '')}[/]")
        return
    header = verdict.submitted.header
    number = f"{header.number or 'number unknown'}  {header.buyer_name or ''}".strip()
    word = "[green]queued[/]" if verdict.verdict is Verdict.QUEUED else f"known, {verdict.submitted.state.value}"
    out().print(f"{word}  {verdict.submitted.uuid}  {escape(number)}  [dim]{escape(_visible(verdict.path))}[/]")


def _print_summary(counts: Counter[Verdict]) -> None:
    words = {
        Verdict.QUEUED: "queued",
        Verdict.KNOWN: "known already (not sent again)",
        Verdict.REFUSED: "refused",
        Verdict.SKIPPED: "skipped",
    }
    parts = [f"{counts[each]} {word}" for each, word in words.items() if counts[each]]
    out().print(", ".join(parts) or "no file found")


def _as_json(verdict: FileVerdict) -> dict[str, object]:
    answer: dict[str, object] = {"path": _visible(verdict.path), "verdict": verdict.verdict, "message": verdict.message}
    if verdict.submitted is not None:
        header = verdict.submitted.header
        answer |= {
            "uuid": verdict.submitted.uuid,
            "state": verdict.submitted.state,
            "sha256": verdict.submitted.sha256,
            "number": header.number,
            "customer": header.buyer_name,
            "total": header.total,
            "currency": header.currency,
            "issue_date": header.issue_date,
            "format": header.format,
        }
    return answer


def _visible(path: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in path)

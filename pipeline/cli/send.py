"""`postiljon send`: files and manifests become queued invoices, any number of them. Waits for no worker."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from inspect import signature

import typer

from pipeline.bootstrap import open_database, utc_now
from pipeline.cli.cases_words import moment
from pipeline.cli.interruption import Interruption
from pipeline.cli.options import read_routing, with_routing
from pipeline.cli.output import ExitStatus, JsonOption, err, escape, friendly_errors, out, print_error, status_of
from pipeline.cli.send_options import (
    BatchOption,
    CompanyOption,
    DeadlineOption,
    ManifestOption,
    MoreToComeOption,
    NotBeforeOption,
    PathsArgument,
    PriorityOption,
    ReferenceOption,
    UnpackOption,
    UuidOption,
    VerdictsOption,
)
from pipeline.cli.send_progress import SendProgress
from pipeline.cli.send_report import LINES_IN_A_TERMINAL, JsonObject, Lines, Report, VerdictFile
from pipeline.cli.send_sources import Sources
from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import InvalidInputError, PostiljonError
from pipeline.services.batches import BatchRun
from pipeline.services.lines import AnyLine
from pipeline.services.ports import Bell
from pipeline.services.submit_lines import Bulk, Verdict, submit_lines
from pipeline.services.wanted import Terms
from pipeline.settings import load_settings
from pipeline.storage.companies import find_company
from pipeline.storage.database import Database


def build_send(bell: Bell) -> Callable[..., None]:
    """Return the command, ringing the given bell after each commit."""

    def send(
        company: CompanyOption,
        paths: PathsArgument = None,
        manifest: ManifestOption = None,
        unpack: UnpackOption = False,
        verdicts: VerdictsOption = None,
        uuid: UuidOption = None,
        reference: ReferenceOption = None,
        batch: BatchOption = None,
        more_to_come: MoreToComeOption = False,
        deadline: DeadlineOption = None,
        not_before: NotBeforeOption = None,
        priority: PriorityOption = 0,
        as_json: JsonOption = False,
        **routing: object,
    ) -> None:
        """Submit invoices for sending, XML or ZIP, one or a million. Running it twice sends once.

        Ctrl-C ends it after the group in hand; the same command then goes on where it ended.
        """
        if not paths and manifest is None:
            raise typer.BadParameter("name files, folders or - to send, or a --manifest")
        with friendly_errors():
            terms = Terms(
                uuid=uuid,
                reference=reference,
                batch=batch,
                options=read_routing(routing),
                deadline=_read_deadline(deadline),
                not_before=_read_time("--not-before", not_before),
                priority=priority,
            )
            sources = Sources(paths=tuple(paths or ()), manifest=manifest, unpack=unpack, terms=terms, routing=routing)
            reports = _reports(sources, as_json=as_json, verdicts=verdicts)
            try:
                _send(sources, company, reports, bell, as_json=as_json, more_to_come=more_to_come)
            finally:
                for report in reports:
                    report.close()

    send.__signature__ = with_routing(signature(send))  # type: ignore[attr-defined]  # typer reads it
    return send


def _reports(sources: Sources, *, as_json: bool, verdicts: str | None) -> list[Report]:
    if verdicts == "-" and as_json:
        raise InvalidInputError("--json and --verdicts - both want stdout; give the verdicts a file")
    lines: list[Report] = [] if verdicts == "-" else [Lines(many=sys.stdout.isatty() and _are_many(sources))]
    return [*([JsonObject()] if as_json else lines), *([VerdictFile(verdicts)] if verdicts else [])]


def _are_many(sources: Sources) -> bool:
    count, _ = sources.expected
    return count is not None and count > LINES_IN_A_TERMINAL


def _send(
    sources: Sources, company: str, reports: list[Report], bell: Bell, *, as_json: bool, more_to_come: bool
) -> None:
    settings = load_settings()
    limits = DocumentLimits(max_bytes=settings.max_document_bytes)
    sources.check(limits)
    counts: Counter[Verdict] = Counter()
    with open_database(settings) as database, Interruption() as interruption:
        with database.transaction() as session:
            company_id = find_company(session, company).id
        run = BatchRun(database, company=company)
        run.begin(sources.terms.batch)
        bulk = Bulk(company_id=company_id, limits=limits, bell=bell, stop=interruption.came)
        failure = _run(database, sources, bulk, interruption, reports, counts, run)
        whole = failure is None and not interruption.came() and not counts[Verdict.REFUSED]
        if whole and not more_to_come and _done(counts):
            # What was interrupted or partly refused is run again: till then its batches wait for the rest.
            run.end()
    for report in reports:
        report.end(counts, interrupted=interruption.came())
    if not as_json:
        _print_summary(counts, sources.terms.batch)
    _leave(counts, interruption, failure)


def _run(
    database: Database,
    sources: Sources,
    bulk: Bulk,
    interruption: Interruption,
    reports: list[Report],
    counts: Counter[Verdict],
    run: BatchRun,
) -> PostiljonError | None:
    total, about = sources.expected
    lines: Iterator[AnyLine] = run.begin_for(interruption.until_it_comes(sources.lines(bulk.limits)))
    try:
        with SendProgress(total, seconds=time.monotonic, now=utc_now, about=about) as progress:
            for verdicts in submit_lines(database, lines, bulk):
                for report in reports:
                    report.tell(verdicts)
                counts.update(verdict.verdict for verdict in verdicts)
                progress.advance(len(verdicts))
    except KeyboardInterrupt:
        # The second one: whatever was told is stored, the group in hand is or is not.
        if not interruption.came():
            raise
    except PostiljonError as exc:
        if not counts:
            raise
        return exc
    return None


def _done(counts: Counter[Verdict]) -> int:
    return counts[Verdict.QUEUED] + counts[Verdict.KNOWN]


def _leave(counts: Counter[Verdict], interruption: Interruption, failure: PostiljonError | None) -> None:
    done = _done(counts)
    if failure is not None or interruption.came():
        err().print(f"ended early: {done:,} are in; the same command goes on from there and sends none of them twice")
    if failure is not None:
        print_error(str(failure))
        raise typer.Exit(status_of(failure))
    if interruption.came():
        raise typer.Exit(interruption.status)
    if counts[Verdict.REFUSED] or not done:
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


def _print_summary(counts: Counter[Verdict], batch: str | None) -> None:
    words = {
        Verdict.QUEUED: "queued",
        Verdict.KNOWN: "known already (not sent again)",
        Verdict.REFUSED: "refused",
        Verdict.SKIPPED: "skipped",
    }
    done = _done(counts)
    parts = [f"{counts[each]} {word}" for each, word in words.items() if counts[each]]
    follow = f"; follow them: postiljon batch show {escape(shlex.quote(batch))}" if batch and done else ""
    out().print((", ".join(parts) or "no file found") + follow, soft_wrap=True)

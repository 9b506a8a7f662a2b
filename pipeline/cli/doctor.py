"""`postiljon doctor`: is everything reachable, what is wrong, and what to do about it."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

import httpx
import redis
import typer
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import Machine, build_vault, open_database, utc_now
from pipeline.cli.doctor_work import ALARMS_TOLD_HERE, check_work
from pipeline.cli.finding import Finding
from pipeline.cli.output import ExitStatus, JsonOption, out, print_json
from pipeline.domain.company_hold import judge_words
from pipeline.domain.errors import PostiljonError
from pipeline.maventa.environment import OperatorHosts
from pipeline.services.arming import read_standing
from pipeline.services.dispatch import LEASE_NAME
from pipeline.services.watch import DISARMED, read_alarms
from pipeline.settings import Settings, load_settings, state_directory
from pipeline.storage import reading
from pipeline.storage.alarms import count_alarms
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import Company, list_companies, read_credentials
from pipeline.storage.leases import last_rung_at
from pipeline.storage.schema import current_revision, newest_revision

TIMEOUT_SECONDS = 5.0
QUEUES = ("dispatch", "send", "express", "poll", "route")
"""Those of workers/app.py."""
SILENT_BEAT_SECONDS = 30.0
OVERDUE_SECONDS = 60.0
MOST_COUNTED = 10_000
LOW_DISK_BYTES = 1024**3
ALARMS_NAMED = 10
"""Of each kind; the board lists the rest."""
COMPANIES_ASKED = 20
"""Each costs a token request; an installation of hundreds sees the rest in `company list`."""


def doctor(as_json: JsonOption = False) -> None:
    """Check settings, database, broker, workers, operator and companies; say what is wrong and what to do."""
    findings = examine()
    well = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": well, "findings": [asdict(finding) for finding in findings]})
    else:
        table = Table("check", "", "found", "what to do")
        for each in findings:
            mark = Text("ok", style="green") if each.ok else Text("WRONG", style="bold red")
            table.add_row(each.check, mark, Text(each.found), Text(each.what_to_do))
        out().print(table)
    if not well:
        raise typer.Exit(ExitStatus.NOT_ALL)


def examine() -> list[Finding]:
    """Run every check; one that cannot run says why. Takes seconds at most."""
    try:
        settings = load_settings()
    except PostiljonError as exc:
        return [Finding(check="settings", ok=False, found=str(exc), what_to_do="correct the setting")]
    database = _guarded("database", _database, settings)
    checks = [*(INSIDE if database[0].ok else []), *OUTSIDE]
    return database + [finding for name, check in checks for finding in _guarded(name, check, settings)]


def _guarded(name: str, check: Callable[[Settings], list[Finding]], settings: Settings) -> list[Finding]:
    try:
        return check(settings)
    except PostiljonError as exc:
        return [Finding(check=name, ok=False, found=str(exc), what_to_do="see above")]


def _database(settings: Settings) -> list[Finding]:
    try:
        with open_database(settings) as database:
            current, needed = current_revision(database.engine), newest_revision()
    except PostiljonError as exc:
        return [
            Finding(check="database", ok=False, found=str(exc), what_to_do="postiljon up, or start it, or mend its URL")
        ]
    if current != needed:
        found = f"tables at {current or 'nothing'}, needed {needed}"
        return [Finding(check="database", ok=False, found=found, what_to_do="postiljon db upgrade")]
    return [Finding(check="database", ok=True, found=f"reachable, tables at {current}")]


def _encryption_key(settings: Settings) -> list[Finding]:
    vault = build_vault(settings)
    with open_database(settings) as database, database.transaction() as session:
        companies = list_companies(session)
        for company in companies[:1]:
            read_credentials(session, company.id, vault=vault)
    return [Finding(check="encryption key", ok=True, found="fits what is stored" if companies else "usable")]


def _arming(settings: Settings) -> list[Finding]:
    with open_database(settings) as database, database.transaction() as session:
        standing = read_standing(session, settings)
    if standing.why is None:
        latest = standing.latest
        told = f"armed since {latest.at:%Y-%m-%d %H:%M} UTC by {latest.by}" if latest else "armed"
        return [Finding(check="arming", ok=True, found=told)]
    found = "; ".join(f"{each.part.value}: armed {each.armed}, here {each.here}" for each in standing.differences)
    todo = "postiljon arm, if this is the installation that shall send; docs/arming.md"
    return [Finding(check="arming", ok=False, found=f"disarmed, nothing is sent ({found})", what_to_do=todo)]


def _broker(settings: Settings) -> list[Finding]:
    url = settings.require_broker_url()
    client = redis.Redis.from_url(url, socket_connect_timeout=TIMEOUT_SECONDS, socket_timeout=TIMEOUT_SECONDS)
    try:
        client.ping()
        waiting = sum(int(client.llen(queue)) for queue in QUEUES)
    except redis.RedisError as exc:
        found = f"cannot be reached ({type(exc).__name__})"
        return [Finding(check="broker", ok=False, found=found, what_to_do="start it; invoices wait in the database")]
    finally:
        client.close()
    return [Finding(check="broker", ok=True, found=f"reachable, {waiting} messages wait")]


def _pulse(settings: Settings) -> list[Finding]:
    with open_database(settings) as database, database.transaction() as session:
        rung_at = last_rung_at(session, LEASE_NAME)
    todo = "start workers and beat (postiljon up); look at their logs"
    if rung_at is None:
        return [Finding(check="workers and beat", ok=False, found="never heard of", what_to_do=todo)]
    silence = (utc_now() - rung_at).total_seconds()
    found = f"dispatcher last rung {max(silence, 0):.0f} s ago"
    alive = silence < max(SILENT_BEAT_SECONDS, 3 * settings.dispatch_interval_seconds)
    return [Finding(check="workers and beat", ok=alive, found=found, what_to_do="" if alive else todo)]


def _overdue(settings: Settings) -> list[Finding]:
    with open_database(settings) as database, database.transaction() as session:
        before = utc_now() - timedelta(seconds=OVERDUE_SECONDS)
        count = reading.count_overdue(session, before=before, at_most=MOST_COUNTED)
    told = f"{count:,}{' or more' if count == MOST_COUNTED else ''} due for over a minute"
    todo = "" if not count else "if it grows, start more sending processes; see workers and beat"
    return [Finding(check="overdue invoices", ok=not count, found=told, what_to_do=todo)]


def _work(settings: Settings) -> list[Finding]:
    with open_database(settings) as database, database.transaction() as session:
        return check_work(session, settings, now=read_clock(session))


def _alarms(settings: Settings) -> list[Finding]:
    with open_database(settings) as database, database.transaction() as session:
        now = read_clock(session)
        elsewhere = ALARMS_TOLD_HERE | {DISARMED}
        on = [each for each in read_alarms(session, settings, now=now) if each.kind not in elsewhere]
        by_kind = {kind: count for kind, count in count_alarms(session).items() if kind not in elsewhere}
    shown: Counter[str] = Counter()
    findings = []
    for alarm in on:
        shown[alarm.kind] += 1
        if shown[alarm.kind] <= ALARMS_NAMED:
            told, _, todo = alarm.told.partition(" What to do: ")
            since = f"{told.rstrip(' .')} (since {alarm.raised_at:%Y-%m-%d %H:%M} UTC)"
            findings.append(Finding(check=f"alarm {alarm.kind}", ok=False, found=since, what_to_do=todo or "see there"))
    for kind, count in by_kind.items():
        if count > ALARMS_NAMED:
            more = f"{count - ALARMS_NAMED} more of them"
            findings.append(Finding(check=f"alarm {kind}", ok=False, found=more, what_to_do="postiljon board --json"))
    return findings or [Finding(check="alarms", ok=True, found="none besides what is said here")]


def _operator(settings: Settings) -> list[Finding]:
    host = OperatorHosts.of(settings.installation, override_url=settings.operator_url).ax
    try:
        answer = httpx.get(f"{host}/v1/jwk", timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError as exc:
        found = f"{host} cannot be reached ({type(exc).__name__})"
        return [Finding(check="operator", ok=False, found=found, what_to_do="check network and POSTILJON_OPERATOR_URL")]
    ok = answer.status_code < 500  # noqa: PLR2004 - below the server errors
    found = f"{host} answers HTTP {answer.status_code} ({settings.installation.value})"
    return [Finding(check="operator", ok=ok, found=found, what_to_do="" if ok else "wait; nothing is lost")]


def _companies(settings: Settings) -> list[Finding]:
    with open_database(settings) as database, database.transaction() as session:
        companies = list_companies(session)
    if not companies:
        return [Finding(check="companies", ok=False, found="none", what_to_do="postiljon company add")]
    causes = asyncio.run(_ask_companies(settings, [company.id for company in companies[:COMPANIES_ASKED]]))
    return [
        Finding(
            check=f"company {company.name}",
            ok=cause is None and company.hold_reason is None,
            found=company.hold_reason or cause or "may send",
            what_to_do=_todo(company, cause),
        )
        for company, cause in zip(companies, causes, strict=False)
    ]


def _todo(company: Company, cause: str | None) -> str:
    if company.hold_reason is not None:
        return company.hold_advice or judge_words(company.hold_reason).advice
    return judge_words(cause).advice if cause is not None else ""


async def _ask_companies(settings: Settings, ids: list[UUID]) -> list[str | None]:
    machine = Machine(settings)
    try:
        with machine.database.transaction() as session:
            keys = [read_credentials(session, company_id, vault=machine.vault) for company_id in ids]
        return list(await asyncio.gather(*(machine.operator.why_closed(each) for each in keys)))
    finally:
        await machine.close()


def _disk(_: Settings) -> list[Finding]:
    folder = next(path for path in (state_directory(), *state_directory().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    ok = free > LOW_DISK_BYTES
    todo = "" if ok else "free space: a full disk stops the database"
    return [Finding(check="disk", ok=ok, found=f"{free / 1024**3:.1f} GiB free at {folder}", what_to_do=todo)]


Check = tuple[str, Callable[[Settings], list[Finding]]]
INSIDE: list[Check] = [
    ("arming", _arming),
    ("encryption key", _encryption_key),
    ("workers and beat", _pulse),
    ("overdue invoices", _overdue),
    ("work", _work),
    ("alarms", _alarms),
    ("companies", _companies),
]
"""What only a database can tell."""
OUTSIDE: list[Check] = [("broker", _broker), ("operator", _operator), ("disk", _disk)]

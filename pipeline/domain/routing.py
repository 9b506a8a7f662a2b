"""Which way out is taken without asking: rules, companies and the choice. Knows no file format and no I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import PurePath
from types import MappingProxyType
from typing import Final
from uuid import UUID

from pipeline.domain.cause import Cause
from pipeline.domain.errors import InvalidInputError
from pipeline.domain.recipient import Recipient
from pipeline.domain.routing_verdicts import Failure, Verdict, VerdictRow, VerdictTable
from pipeline.domain.way import Way, missing_fields, reroute_fields

DEFAULT_LOOP: Final = 3
DEFAULT_UNDO_WINDOW: Final = timedelta(minutes=10)
DEFAULT_PER_MINUTE: Final = 60
DEFAULT_CANARY_WAIT: Final = timedelta(minutes=15)
DEFAULT_PENDING: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        "default": timedelta(hours=4),
        "einvoice": timedelta(hours=4),
        "email": timedelta(hours=1),
        "print": timedelta(hours=72),
    }
)
"""Print is slow by nature: it happens overnight and not on weekends (contract section 2)."""

_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "recipient_eia": "e-invoice address",
        "recipient_operator": "operator of the recipient",
        "recipient_email": "e-mail address",
        "recipient_name": "name of the recipient",
        "recipient_address1": "postal address",
        "recipient_post_code": "post code",
        "recipient_post_office": "town",
        "recipient_country": "country",
    }
)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A case at the moment of choosing."""

    verdict: Verdict
    channel: str | None
    """EINVOICE, EMAIL or PRINT: where it failed."""
    failed_at: datetime
    now: datetime
    total: Decimal | None
    recipient: Recipient
    tried: tuple[Way, ...] = ()
    """Ways out already taken on this case, in order."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Take this way out, not before `at`."""

    way: Way
    rule: str
    at: datetime
    """Never before the situation's `now`; later means: wait until then."""
    fields: dict[str, str]
    """The operator's fields of a reroute; empty for the other ways."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A person decides."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One `[[rule]]`: where it applies (what is empty applies everywhere) and which way out it takes."""

    name: str
    way: Way
    causes: frozenset[Cause] = frozenset()
    verdicts: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    total_below: Decimal | None = None
    after: timedelta = timedelta(0)
    """How long after the failure."""

    def fits(self, situation: Situation) -> bool:
        """Tell whether the rule is about this failure. An unknown total does fit; it is an obstacle later."""
        verdict, total = situation.verdict, situation.total
        return (
            (not self.causes or verdict.cause in self.causes)
            and (not self.verdicts or verdict.row in self.verdicts)
            and (not self.channels or (situation.channel or "").upper() in self.channels)
            and (self.total_below is None or total is None or total < self.total_below)
        )


@dataclass(frozen=True, kw_only=True)
class CompanyRules:
    """What the file says about one company."""

    key: str
    """Name or UUID, as written."""
    line: int = 0
    automatic: frozenset[Way] = frozenset()
    loop: int | None = None
    pending: Mapping[str, timedelta] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    rows: tuple[VerdictRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CompanyRouting:
    """What holds for one company: the defaults with its own words in front."""

    key: str
    """How the file names the company, or would."""
    source: str
    table: VerdictTable
    version: str
    """Which table judged: `1` for the one we ship, `1+routing.toml` with rows of the file in front."""
    rules: tuple[Rule, ...]
    loop: int
    automatic: frozenset[Way]
    pending: tuple[Mapping[str, timedelta], ...]
    """The company's, the file's and ours; in each the channel's own, else its default."""

    def judge(self, failure: Failure) -> Verdict:
        """Say what a failure means for this company."""
        return self.table.judge(failure)

    def pending_after(self, channel: str | None) -> timedelta:
        """Return after how long a pending invoice raises an alarm; the channel in any letters, None for not known."""
        wanted = (channel or "default").lower()
        found = (layer.get(wanted) or layer.get("default") for layer in self.pending)
        return next(limit for limit in found if limit is not None)

    def choose(self, situation: Situation) -> Choice | Ask:
        """Take the first rule that fits and may go ahead, else say why a person must decide."""
        if reason := self._needs_a_person(situation):
            return Ask(why=reason)
        passed_over: list[str] = []
        for rule in self.rules:
            if not rule.fits(situation):
                continue
            obstacle = self._obstacle(rule, situation)
            if obstacle is None:
                return _carry_out(rule, situation)
            passed_over.append(f"rule {rule.name!r} would take {rule.way}, but {obstacle}")
        return Ask(why="; ".join(passed_over) or _no_rule(situation))

    def _needs_a_person(self, situation: Situation) -> str | None:
        if situation.verdict.cause is Cause.UNKNOWN:
            return "the cause is unknown, and no rule decides about what nobody knows"
        if len(situation.tried) >= self.loop:
            tried = ", ".join(situation.tried)
            return f"{len(situation.tried)} ways out tried in vain ({tried}); after {self.loop} a person must look"
        return None

    def _obstacle(self, rule: Rule, situation: Situation) -> str | None:
        way = rule.way
        if rule.total_below is not None and situation.total is None:
            return f"the total is not known, and the rule is for totals below {rule.total_below}"
        if way not in situation.verdict.ways:
            return f"{way} cannot end this failure ({situation.verdict.row})"
        if way not in self.automatic:
            return f"{way} is not switched on for this company: {self._line_to_add(way)}"
        if lacking := missing_fields(way, situation.recipient):
            return f"the document has no {', no '.join(_NAMES[each] for each in lacking)}"
        if way in situation.tried:
            return f"{way} was tried already with what the document says"
        return _unusable(way, situation.recipient)

    def _line_to_add(self, way: Way) -> str:
        ways = ", ".join(f'"{each}"' for each in Way if each in self.automatic or each is way)
        key = json.dumps(self.key, ensure_ascii=False)
        return f"put `automatic = [{ways}]` under [company.{key}] in {self.source}"


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Everything `routing.toml` says, checked."""

    table: VerdictTable
    source: str = "routing.toml"
    loop: int = DEFAULT_LOOP
    undo_window: timedelta = DEFAULT_UNDO_WINDOW
    """How long a bulk command can be taken back."""
    per_minute: int = DEFAULT_PER_MINUTE
    """Ways out a minute of a bulk command, after its canary."""
    canary_wait: timedelta = DEFAULT_CANARY_WAIT
    pending: Mapping[str, timedelta] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    rows: tuple[VerdictRow, ...] = ()
    companies: Mapping[str, CompanyRules] = field(default_factory=dict)
    """By UUID in small letters, or by name."""

    def for_company(self, company_id: UUID, name: str) -> CompanyRouting:
        """Return what holds for a company; a part by its UUID wins over one by its name."""
        own = self.companies.get(str(company_id)) or self.companies.get(name) or CompanyRules(key=name)
        rows = (*own.rows, *self.rows)
        return CompanyRouting(
            key=own.key,
            source=self.source,
            table=self.table.with_rows_before(rows),
            version=f"{self.table.version}+{PurePath(self.source).name}" if rows else str(self.table.version),
            rules=(*own.rules, *self.rules),
            loop=own.loop or self.loop,
            automatic=own.automatic,
            pending=(own.pending, self.pending, DEFAULT_PENDING),
        )

    def strangers(self, known: Mapping[UUID, str]) -> tuple[str, ...]:
        """Tell, line by line, of companies in the file that nobody knows or that stand there twice."""
        names, ids = set(known.values()), {str(each): name for each, name in known.items()}
        told: list[str] = []
        for key, own in self.companies.items():
            if key not in ids and key not in names:
                told.append(f"{self.source}:{own.line}: company {own.key!r} is not known here; nothing uses this part")
            elif ids.get(key) in self.companies:
                told.append(
                    f"{self.source}:{own.line}: company {own.key!r} also stands there as {ids[key]!r}; keep one of them"
                )
        return tuple(told)


def default_routing(table: VerdictTable) -> Routing:
    """Return what holds without a file: no rules, nothing automatic, the default alarms."""
    return Routing(table=table)


def _no_rule(situation: Situation) -> str:
    where = f" on {situation.channel.lower()}" if situation.channel else ""
    return f"no rule fits {situation.verdict.cause.replace('_', ' ')}{where} ({situation.verdict.row})"


def _unusable(way: Way, recipient: Recipient) -> str | None:
    try:
        reroute_fields(way, recipient, {})
    except InvalidInputError as exc:
        return str(exc)
    return None


def _carry_out(rule: Rule, situation: Situation) -> Choice:
    at = max(situation.now, situation.failed_at + rule.after)
    fields = reroute_fields(rule.way, situation.recipient, {})
    return Choice(way=rule.way, rule=rule.name, at=at, fields=fields)

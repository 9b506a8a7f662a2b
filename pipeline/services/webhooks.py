"""Register companies' webhooks at the operator, list them beside ours, and remove them: one subscription a company.

The operator's list is the truth about subscriptions, the secret in a destination the proof that it is ours. So every
step can be repeated: after a crash, an unclear answer or a changed URL the list is read again and mended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.decision import explain
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.schemas import Notification
from pipeline.services.ports import Clock
from pipeline.services.webhook_address import EVENTS, fitting, host_of, is_of, placed_at
from pipeline.storage.companies import read_credentials
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault
from pipeline.storage.webhooks import Webhook, find_webhook, forget_webhook, mint_webhook, settle_webhook

SETTLE_PAUSES_SECONDS = (0.0, 1.0, 3.0, 6.0)
"""Between the reads after an unclear answer: the operator may still be at it when we stop waiting."""
NO_RIGHT = (
    "the operator does not let it: its keys need the scope company:write (eui contains it), postiljon company add"
)
AGAIN = "run it again: what is there is found, nothing is made twice"


class Subscriptions(Protocol):
    """What is asked of the operator; every expected answer is a value."""

    async def notifications(self, credentials: CompanyCredentials) -> tuple[Notification, ...] | Outcome:
        """Read the company's subscriptions."""

    async def create_notification(
        self, credentials: CompanyCredentials, *, destination: str, events: Sequence[str]
    ) -> Notification | Outcome:
        """Subscribe a URL to events."""

    async def delete_notification(self, credentials: CompanyCredentials, notification_id: str) -> Outcome | None:
        """End a subscription. None = done."""

    async def resend_unacknowledged(self, credentials: CompanyCredentials) -> Outcome | None:
        """Ask for what was never acknowledged once more. None = taken."""


class Done(StrEnum):
    """What became of a company's webhook."""

    REGISTERED = "registered"
    """The operator has a subscription that it had not before."""
    ADOPTED = "adopted"
    """The operator had our subscription already, we had not noted it."""
    UNCHANGED = "unchanged"
    MOVED = "moved"
    """Registered at another URL; the old subscription is gone."""
    REMOVED = "removed"
    NOTHING = "nothing"
    """There was nothing to remove."""
    ASKED = "asked"
    """The operator sends again what was never acknowledged, at a later point."""
    REFUSED = "refused"
    """The operator said no; what is wrong is with the company."""
    UNCLEAR = "unclear"
    """No clear answer; to be run again."""


class Standing(StrEnum):
    """How a webhook stands, ours beside the operator's."""

    REGISTERED = "registered"
    MISSING = "missing at the operator"
    NONE = "not registered"
    UNKNOWN = "unknown subscription to our host"
    """The operator posts to our host by a secret that is not this installation's."""
    UNREADABLE = "operator not asked"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was done about one company, with the cause and what to do where it went wrong."""

    company_id: UUID
    done: Done
    told: str | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the list. A URL with its secret is for who asks for it expressly."""

    company_id: UUID
    standing: Standing
    webhook: Webhook | None = None
    subscription: Notification | None = field(default=None, repr=False)
    told: str | None = None


class _Unsettled(Exception):  # noqa: N818 - carries an outcome up to the company's report, never further
    def __init__(self, outcome: Outcome, ours: str) -> None:
        super().__init__(ours)
        self.outcome = outcome
        self.ours = ours

    def report(self, company_id: UUID) -> Report:
        refused = self.outcome.kind in {OutcomeKind.UNAUTHORIZED, OutcomeKind.REFUSED}
        words = NO_RIGHT if self.outcome.kind is OutcomeKind.UNAUTHORIZED else self.ours
        told = explain(self.outcome, words)
        return Report(
            company_id=company_id,
            done=Done.REFUSED if refused else Done.UNCLEAR,
            told=told if refused else f"{told}; {AGAIN}",
        )


class WebhookKeeper:
    """Sees to the webhooks of companies, one call per company."""

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        subscriptions: Subscriptions,
        clock: Clock,
        mint: Callable[[], str],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Keep the parts. `mint` returns a fresh secret of at least 32 random bytes, fit for a URL."""
        self._database = database
        self._vault = vault
        self._subscriptions = subscriptions
        self._clock = clock
        self._mint = mint
        self._pause = pause

    async def register(self, company_id: UUID, *, base_url: str) -> Report:
        """See to it that the operator has one subscription of this company, to our receiver below the URL."""
        # Committed first: a subscription whose secret nobody stored could be neither heard nor found again.
        with self._database.transaction() as session:
            credentials = read_credentials(session, company_id, vault=self._vault)
            webhook = mint_webhook(
                session, company_id, secret=self._mint(), base_url=base_url, vault=self._vault, now=self._clock()
            )
        try:
            return Report(company_id=company_id, done=await self._settle(credentials, webhook, base_url))
        except _Unsettled as exc:
            return exc.report(company_id)

    async def remove(self, company_id: UUID) -> Report:
        """End the company's subscription at the operator, then forget its secret."""
        credentials, webhook = self._read(company_id)
        if webhook is None:
            return Report(company_id=company_id, done=Done.NOTHING)
        try:
            for each in await self._ours(credentials, webhook):
                await self._delete(credentials, webhook, each)
        except _Unsettled as exc:
            return exc.report(company_id)
        with self._database.transaction() as session:
            forget_webhook(session, company_id)
        return Report(company_id=company_id, done=Done.REMOVED)

    async def resend(self, company_id: UUID) -> Report:
        """Have the operator send again what we never acknowledged; what we knew already adds nothing."""
        credentials, _ = self._read(company_id)
        outcome = await self._subscriptions.resend_unacknowledged(credentials)
        if outcome is not None:
            return _Unsettled(outcome, "nothing was asked for again").report(company_id)
        return Report(company_id=company_id, done=Done.ASKED)

    async def compare(self, company_id: UUID, *, base_url: str | None) -> list[Line]:
        """Put our webhook of the company beside what the operator has of it."""
        credentials, webhook = self._read(company_id)
        held = await self._subscriptions.notifications(credentials)
        if isinstance(held, Outcome):
            told = _Unsettled(held, "the operator's list cannot be read").report(company_id).told
            return [Line(company_id=company_id, standing=Standing.UNREADABLE, webhook=webhook, told=told)]
        ours = [each for each in held if webhook is not None and is_of(each, webhook)]
        hosts = {host_of(url) for url in (base_url, webhook and webhook.base_url) if url}
        strange = [each for each in held if each not in ours and host_of(each.destination or "") in hosts]
        return [
            _line(company_id, webhook, ours),
            *(Line(company_id=company_id, standing=Standing.UNKNOWN, subscription=each) for each in strange),
        ]

    def _read(self, company_id: UUID) -> tuple[CompanyCredentials, Webhook | None]:
        with self._database.transaction() as session:
            credentials = read_credentials(session, company_id, vault=self._vault)
            return credentials, find_webhook(session, company_id, vault=self._vault)

    async def _settle(self, credentials: CompanyCredentials, webhook: Webhook, base_url: str) -> Done:
        ours = await self._ours(credentials, webhook)
        good = fitting(ours, webhook, base_url)
        if not good:
            for each in placed_at(ours, webhook, base_url):  # the operator cannot change the events of a subscription
                await self._delete(credentials, webhook, each)
            others = len(ours) > len(placed_at(ours, webhook, base_url))
            done = Done.MOVED if others else Done.REGISTERED
            ours = await self._create(credentials, webhook, base_url)
            good = fitting(ours, webhook, base_url)
        else:
            done = Done.UNCHANGED if webhook.subscription_id in {each.id for each in good} else Done.ADOPTED
        # Two that register at once both keep the same one.
        kept = min(good, key=lambda each: each.id)
        with self._database.transaction() as session:
            settle_webhook(session, webhook.company_id, base_url=base_url, subscription_id=kept.id)
        for each in ours:
            if each.id != kept.id:
                await self._delete(credentials, webhook, each)
        return done

    async def _create(self, credentials: CompanyCredentials, webhook: Webhook, base_url: str) -> list[Notification]:
        """Create the subscription and return all of ours; what the list says counts, not the answer."""
        answer = await self._subscriptions.create_notification(
            credentials, destination=webhook.url_at(base_url), events=EVENTS
        )
        if isinstance(answer, Outcome) and answer.kind in {OutcomeKind.UNAUTHORIZED, OutcomeKind.UNAVAILABLE}:
            raise _Unsettled(answer, "the subscription was not made")
        for seconds in SETTLE_PAUSES_SECONDS:
            await self._pause(seconds)
            ours = await self._ours(credentials, webhook)
            if fitting(ours, webhook, base_url):
                return ours
            if isinstance(answer, Outcome) and answer.kind is OutcomeKind.REFUSED:
                raise _Unsettled(answer, "the operator refused the subscription")
        unclear = answer if isinstance(answer, Outcome) else Outcome(kind=OutcomeKind.IN_DOUBT)
        raise _Unsettled(unclear, "whether the subscription was made is unclear, the operator does not list it")

    async def _delete(self, credentials: CompanyCredentials, webhook: Webhook, each: Notification) -> None:
        outcome = await self._subscriptions.delete_notification(credentials, each.id)
        if outcome is not None and each.id in {left.id for left in await self._ours(credentials, webhook)}:
            raise _Unsettled(outcome, "an old subscription is still there")

    async def _ours(self, credentials: CompanyCredentials, webhook: Webhook) -> list[Notification]:
        held = await self._subscriptions.notifications(credentials)
        if isinstance(held, Outcome):
            raise _Unsettled(held, "the operator's list of subscriptions cannot be read")
        return [each for each in held if is_of(each, webhook)]


def _line(company_id: UUID, webhook: Webhook | None, ours: list[Notification]) -> Line:
    if webhook is None:
        return Line(company_id=company_id, standing=Standing.NONE, told="postiljon webhooks register")
    good = fitting(ours, webhook, webhook.base_url)
    if not good:
        told = "postiljon webhooks register makes it anew"
        return Line(company_id=company_id, standing=Standing.MISSING, webhook=webhook, told=told)
    left_over = "an old one is left over: postiljon webhooks register" if len(ours) > 1 else None
    return Line(
        company_id=company_id, standing=Standing.REGISTERED, webhook=webhook, subscription=good[0], told=left_over
    )

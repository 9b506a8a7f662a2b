"""Hints in the database, and subscriptions kept at the operator: one a company, whatever is lost, doubled or changed."""

import asyncio
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient, utc_now
from pipeline.maventa.environment import OperatorHosts
from pipeline.maventa.schemas import Notification
from pipeline.maventa.timeouts import Timeouts
from pipeline.services.webhook_address import EVENTS, checked_base_url
from pipeline.services.webhooks import Done, Standing, WebhookKeeper
from pipeline.settings import Installation
from pipeline.storage.companies import save_company
from pipeline.storage.webhooks import Hint, find_webhook, hash_secret, mint_webhook, store_hint

from .line import START

BASE = "https://hooks.example.com"
OTHER = "https://other.example.com"
COMPANY = UUID("00000000-0000-4000-8000-000000000001")
LOST = Outcome(kind=OutcomeKind.IN_DOUBT, error_code="read_timeout")
AWAY = Outcome(kind=OutcomeKind.UNAVAILABLE, error_code="refused")
NO_ENTRY = Outcome(kind=OutcomeKind.UNAUTHORIZED, http_status=401, error_code="auth_unauthorized")


@dataclass
class FakeSubscriptions:
    """Implements pipeline.services.webhooks.Subscriptions; answers can be lost before or after the deed."""

    held: list[Notification] = field(default_factory=list)
    created: int = 0
    most: int = 0
    on_list: list[Outcome | None] = field(default_factory=list)
    on_create: list[tuple[str, Outcome]] = field(default_factory=list)
    on_delete: list[tuple[str, Outcome]] = field(default_factory=list)
    late: list[Notification] = field(default_factory=list)

    async def notifications(self, _credentials):
        outcome = self.on_list.pop(0) if self.on_list else None
        return tuple(self.held) if outcome is None else outcome

    async def create_notification(self, _credentials, *, destination, events):
        made = notification(destination, events)
        when, outcome = self.on_create.pop(0) if self.on_create else ("done", None)
        if when == "late":
            self.late.append(made)
        elif when == "done":
            self.add(made)
        return outcome or made

    async def delete_notification(self, _credentials, notification_id):
        when, outcome = self.on_delete.pop(0) if self.on_delete else ("done", None)
        if when == "done":
            self.held = [each for each in self.held if each.id != notification_id]
        return outcome

    async def resend_unacknowledged(self, _credentials):
        return None

    def add(self, made):
        self.held.append(made)
        self.created += 1
        self.most = max(self.most, len(self.held))

    async def pause(self, seconds):
        """Time passes: what the operator was still at comes to its end."""
        if seconds:
            for made in self.late:
                self.add(made)
            self.late.clear()


def notification(destination, events=EVENTS):
    return Notification(id=str(uuid4()), destination_type="WEBHOOK", destination=destination, events=tuple(events))


@dataclass
class Desk:
    """A keeper with a company that has one set of keys."""

    line: object
    operator: FakeSubscriptions = field(default_factory=FakeSubscriptions)
    minted: itertools.count = field(default_factory=itertools.count)

    @property
    def keeper(self):
        return WebhookKeeper(
            database=self.line.database,
            vault=self.line.vault,
            subscriptions=self.operator,
            clock=self.line.clock,
            mint=lambda: f"secret-{next(self.minted)}",
            pause=self.operator.pause,
        )

    def register(self, base_url=BASE):
        return asyncio.run(self.keeper.register(self.line.company, base_url=base_url))

    def remove(self):
        return asyncio.run(self.keeper.remove(self.line.company))

    def compare(self, base_url=BASE):
        return asyncio.run(self.keeper.compare(self.line.company, base_url=base_url))

    @property
    def stored(self):
        with self.line.database.transaction() as session:
            return find_webhook(session, self.line.company, vault=self.line.vault)

    @property
    def destinations(self):
        return [each.destination for each in self.operator.held]


@pytest.fixture
def desk(line):
    return Desk(line)


def test_company_is_registered_once(desk):
    """The first run makes a subscription to all three events, every other one finds it."""
    assert desk.register().done is Done.REGISTERED
    assert desk.register().done is Done.UNCHANGED

    assert desk.destinations == [f"{BASE}/webhooks/secret-0"]
    assert desk.operator.held[0].events == EVENTS
    assert desk.stored.subscription_id == desk.operator.held[0].id


@pytest.mark.parametrize("when", ["done", "late"])
def test_lost_answer_makes_no_second_subscription(desk, when):
    """Whether the operator had made it or was still at it when we stopped waiting, there is one."""
    desk.operator.on_create = [(when, LOST)]

    assert desk.register().done is Done.REGISTERED
    assert desk.register().done is Done.UNCHANGED

    assert (desk.operator.created, len(desk.operator.held)) == (1, 1)


def test_lost_request_is_told_and_made_by_the_next_run(desk):
    """What cannot be settled is not tried again in the same breath: the report says so, the next run does it."""
    desk.operator.on_create = [("never", LOST)]

    report = desk.register()

    assert report.done is Done.UNCLEAR
    assert "run it again" in report.told
    assert desk.operator.created == 0
    assert desk.register().done is Done.REGISTERED
    assert desk.operator.created == 1


def test_death_after_the_operator_was_asked_is_mended(desk):
    """A subscription that nobody lived to note is adopted: its secret was stored before."""
    desk.operator.on_list = [None, AWAY]

    assert desk.register().done is Done.UNCLEAR
    assert desk.stored.subscription_id is None
    assert desk.register().done is Done.ADOPTED

    assert desk.operator.created == 1
    assert desk.stored.subscription_id == desk.operator.held[0].id


def test_operator_that_cannot_be_read_is_asked_to_make_nothing(desk):
    """Without the list nobody knows what is there already."""
    desk.operator.on_list = [LOST]

    assert desk.register().done is Done.UNCLEAR
    assert desk.operator.created == 0


def test_two_subscriptions_become_one(desk):
    """Should two runs have crossed, the next one leaves the one that both would keep."""
    desk.register()
    desk.operator.add(notification(desk.stored.url))
    kept = min(each.id for each in desk.operator.held)

    desk.register()

    assert [each.id for each in desk.operator.held] == [kept]
    assert desk.stored.subscription_id == kept


def test_other_url_is_registered_before_the_old_one_ends(desk):
    """At a change of the URL there is no moment without a subscription, and one in the end; the secret stays."""
    desk.register()

    report = desk.register(OTHER)

    assert report.done is Done.MOVED
    assert desk.operator.most == 2
    assert desk.destinations == [f"{OTHER}/webhooks/secret-0"]
    assert desk.stored.base_url == OTHER


def test_old_url_that_could_not_be_ended_is_ended_later(desk):
    """A move that broke off half-way is finished by the next run."""
    desk.register()
    desk.operator.on_delete = [("never", AWAY)]

    assert desk.register(OTHER).done is Done.UNCLEAR
    assert len(desk.operator.held) == 2
    assert desk.register(OTHER).done is Done.UNCHANGED

    assert desk.destinations == [f"{OTHER}/webhooks/secret-0"]


def test_subscription_that_tells_too_little_is_replaced(desk):
    """The operator cannot change the events of a subscription, so it is made anew; never two to one URL."""
    desk.register()
    desk.operator.held = [notification(desk.stored.url, EVENTS[:1])]
    desk.operator.most = 0

    assert desk.compare()[0].standing is Standing.MISSING
    assert desk.register().done is Done.REGISTERED

    assert desk.operator.held[0].events == EVENTS
    assert desk.operator.most == 1


def test_company_without_the_right_is_told_what_to_do(desk):
    """A missing scope is named with its remedy, and nothing is tried again."""
    desk.operator.on_create = [("never", NO_ENTRY)]

    report = desk.register()

    assert report.done is Done.REFUSED
    assert "company:write" in report.told
    assert desk.operator.created == 0


def test_strangers_are_shown_and_left_alone(desk):
    """A subscription to our host by another secret is shown; one to elsewhere is nobody's business."""
    desk.operator.add(notification(f"{BASE}/webhooks/stranger"))
    desk.operator.add(notification("https://erp.example.com/hook"))

    assert [line.standing for line in desk.compare()] == [Standing.NONE, Standing.UNKNOWN]
    desk.register()
    assert [line.standing for line in desk.compare()] == [Standing.REGISTERED, Standing.UNKNOWN]
    desk.remove()

    assert desk.destinations == [f"{BASE}/webhooks/stranger", "https://erp.example.com/hook"]


def test_subscription_the_operator_lost_is_seen_and_made_anew(desk):
    """What is noted here and not there is `missing`, and registering mends it."""
    desk.register()
    desk.operator.held.clear()

    assert desk.compare()[0].standing is Standing.MISSING
    assert desk.register().done is Done.REGISTERED
    assert desk.compare()[0].standing is Standing.REGISTERED


def test_removed_secret_opens_nothing(desk):
    """After a removal the operator posts no more, and the old secret is unknown; a new registration has another."""
    desk.register()
    old = desk.stored.secret

    assert desk.remove().done is Done.REMOVED
    assert desk.remove().done is Done.NOTHING

    assert desk.destinations == []
    with desk.line.database.transaction() as session:
        assert hint(session, old, None) is Hint.UNKNOWN_SECRET
    desk.register()
    assert desk.stored.secret != old


def test_removal_the_operator_did_not_hear_is_not_done(desk):
    """Our side is forgotten only when the operator's is gone; a lost answer to a deed done is no failure."""
    desk.register()
    desk.operator.on_delete = [("never", LOST)]
    assert desk.remove().done is Done.UNCLEAR
    assert desk.stored is not None

    desk.operator.on_delete = [("done", LOST)]
    assert desk.remove().done is Done.REMOVED
    assert desk.stored is None


def test_secret_is_stored_encrypted_and_shown_nowhere(desk):
    """Neither the table nor the repr of anything gives the secret away."""
    desk.register()

    row = desk.line.query("SELECT * FROM webhook")[0]
    assert b"secret-0" not in bytes(row.secret)
    assert bytes(row.secret_sha256) == hash_secret("secret-0")
    assert "secret-0" not in repr(desk.stored)
    assert "secret-0" not in repr(desk.compare())


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("https://hooks.example.com", BASE),
        ("https://Hooks.Example.com:443/", BASE),
        (" https://hooks.example.com/postiljon/ ", f"{BASE}/postiljon"),
        ("http://127.0.0.1:8098", "http://127.0.0.1:8098"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_url_gets_one_spelling(given, base_url):
    """The same place is written in one way, or it would be registered twice."""
    assert checked_base_url(given, must_be_safe=True) == base_url


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "hooks.example.com", "ftp://hooks.example.com", "https://", "https://u:p@hooks.example.com"),
        *("http://hooks.example.com", f"{BASE}?a=1", f"{BASE}/#a", "https://hooks.example.com:99999", "https://a b"),
    ],
)
def test_unusable_url_is_refused(given):
    """A URL that cannot be, or would show the secret to everybody on the way, is refused."""
    with pytest.raises(ConfigurationError):
        checked_base_url(given, must_be_safe=True)


def test_plain_http_serves_the_test_installation():
    """Against the test operator the secret guards nothing of worth."""
    assert checked_base_url("http://hooks.example.com", must_be_safe=False) == "http://hooks.example.com"


def hint(session, secret, invoice_id, *, now=START, event="DOCUMENTS.INVOICE.FAILED"):
    return store_hint(session, hash_secret(secret), invoice_id=invoice_id, event=event, now=now)


@pytest.fixture
def accepted(line):
    """An invoice the operator accepted, whose company has a webhook."""
    with line.database.transaction() as session:
        mint_webhook(session, line.company, secret="known", base_url=BASE, vault=line.vault, now=START)
    [uuid] = line.submit()
    line.work()
    return uuid


def test_hint_brings_the_look_forward_and_never_back(line, accepted):
    """A look is due at the hint, or at its own time where that was earlier; the event is written once."""
    planned = line.row(accepted).look_at
    early, late = planned - timedelta(seconds=1.5), planned + timedelta(hours=1)

    with line.database.transaction() as session:
        assert hint(session, "known", accepted, now=late) is Hint.ALREADY_DUE
        assert hint(session, "known", accepted, now=early) is Hint.STORED
        assert hint(session, "known", accepted, now=late) is Hint.ALREADY_DUE

    assert line.row(accepted).look_at == early
    assert [event.kind for event in line.events(accepted)].count("webhook") == 1


def test_hint_has_the_operator_asked(line, accepted):
    """What the read says is what counts: a hint of a failure that is none leaves the invoice as it was."""
    line.clock.pass_seconds(3600)
    line.operator.statuses_of[accepted] = "PENDING"
    line.follow()
    line.clock.pass_seconds(1)
    asked = len(line.operator.questions)

    with line.database.transaction() as session:
        hint(session, "known", accepted, now=line.clock())
    line.follow()

    assert len(line.operator.questions) == asked + 1
    assert line.row(accepted).state == "accepted"


def test_hint_for_nobody_writes_nothing(line, accepted):
    """A secret of nobody, an invoice of nobody and none at all change no invoice."""
    before = line.row(accepted)

    with line.database.transaction() as session:
        assert hint(session, "unknown", accepted) is Hint.UNKNOWN_SECRET
        assert hint(session, "known", uuid4()) is Hint.NOT_FOLLOWED
        assert hint(session, "known", None) is Hint.NOT_FOLLOWED

    assert line.row(accepted) == before


@pytest.fixture(scope="module")
def simulator():
    """The URL of a simulator process."""
    command = [sys.executable, "-m", "simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture
def real(line, simulator):
    """Runs one call of a keeper on the real client against the simulator, with a company it knows."""
    httpx.post(f"{simulator}/_simulator/reset").raise_for_status()
    credentials = CompanyCredentials(company_id=COMPANY, user_api_key="demo-user-key", vendor_api_key="demo-vendor-key")
    with line.database.transaction() as session:
        save_company(session, credentials, name="demo", vault=line.vault, now=START)

    async def run(call):
        client = MaventaClient(
            hosts=OperatorHosts.of(Installation.TEST, override_url=simulator),
            token_store=InMemoryTokenStore(clock=utc_now),
            timeouts=Timeouts(connect=2, read=0.5, write=2, pool=2, total=3),
        )
        keeper = WebhookKeeper(
            database=line.database,
            vault=line.vault,
            subscriptions=client,
            clock=line.clock,
            mint=lambda: "s",
            pause=lambda _: asyncio.sleep(0),
        )
        try:
            return await call(keeper), await client.notifications(credentials)
        finally:
            await client.aclose()

    return lambda call: asyncio.run(run(call))


def put_faults(simulator, *rules):
    httpx.put(f"{simulator}/_simulator/faults", json={"rules": list(rules)}).raise_for_status()


FAULTS = ["accept-then-silence", "reset-after-accept", "lying-500", "lying-504", "reset-before", "500"]


@pytest.mark.parametrize("fault", FAULTS)
def test_simulator_ends_with_one_subscription(real, simulator, fault):
    """Whatever becomes of the second request, which is the creation, one or two runs leave one subscription."""
    put_faults(simulator, {"fault": fault, "on": "other", "attempt": 2, "seconds": 2})
    try:
        reports = [real(lambda keeper: keeper.register(COMPANY, base_url=BASE)) for _ in range(2)]
    finally:
        put_faults(simulator)

    assert reports[-1][0].done in {Done.UNCHANGED, Done.REGISTERED}
    assert [each.destination for each in reports[-1][1]] == [f"{BASE}/webhooks/s"]
    report, left = real(lambda keeper: keeper.remove(COMPANY))
    assert (report.done, left) == (Done.REMOVED, ())

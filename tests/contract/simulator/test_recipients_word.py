"""What recipients let the sender hear of after delivery, and where actions are shown."""

import time
from uuid import UUID

import pytest

HEARD = {"action_seen", "action_accepted", "action_declined", "action_paid", "action_disputed"}
BY_EMAIL = {"recipient_eia": "EMAIL", "recipient_email": "a@example.invalid"}
INTERNAL = {"recipient_eia": "003712345678", "recipient_operator": "003721291126"}
EXTERNAL = {"recipient_eia": "003712345678", "recipient_operator": "DABAFIHH"}
UUIDS = [str(UUID(int=at << 64)) for at in range(1, 31)]


def keys(operator, uuid):
    return [one["key"] for one in operator.call("GET", f"/v1/invoices/{uuid}/actions?type[]=INFO").json()]


@pytest.fixture
def talkative(operator):
    """Recipients who all say something at once."""
    operator.control("PUT", "knobs", {"informational": 1, "informational_seconds": 0, "settle_seconds": 0})
    return operator


@pytest.mark.parametrize(
    ("fields", "channels", "heard"),
    [
        (BY_EMAIL, "email-internal", True), (INTERNAL, "email-internal", True), (EXTERNAL, "email-internal", False),
        (EXTERNAL, "any", True), ({"prevent_routing": "true"}, "any", False),
    ],
    ids=["email", "internal", "external", "external heard by knob", "went nowhere"],
)  # fmt: skip
def test_recipient_is_heard_by_channel(talkative, uuid, fields, channels, heard):
    """Recipients by e-mail and of this operator are heard, others by knob; the status stays DELIVERED."""
    talkative.control("PUT", "knobs", {"informational_channels": channels})
    talkative.upload(uuid=uuid, **fields)

    found = set(keys(talkative, uuid))

    assert bool(found) is heard
    assert found <= HEARD
    assert talkative.call("GET", f"/v1/invoices/{uuid}").json()["status"] == "DELIVERED"
    assert not HEARD & {one.get("key") for one in talkative.call("GET", f"/v1/invoices/{uuid}/actions").json()}


def test_every_word_is_heard_from_somebody(talkative):
    """Among many recipients each of the five words is said."""
    for uuid in UUIDS:
        talkative.upload(uuid=uuid, **BY_EMAIL)

    assert {key for uuid in UUIDS for key in keys(talkative, uuid)} == HEARD


def test_some_recipients_are_heard_by_knob(talkative):
    """The knob is a share of invoices, the same ones each time; at 0, as it is by default, nobody is heard."""

    def talking(share):
        talkative.fresh()
        talkative.control("PUT", "knobs", {"informational": share, "informational_seconds": 0, "settle_seconds": 0})
        for uuid in UUIDS:
            talkative.upload(uuid=uuid, **BY_EMAIL)
        return {uuid for uuid in UUIDS if keys(talkative, uuid)}

    half = talking(0.5)

    assert 5 < len(half) < 25
    assert talking(0.5) == half
    assert talking(0) == set()


def test_recipient_is_heard_later(operator, uuid):
    """A word comes the set time after delivery, not with it."""
    operator.control("PUT", "knobs", {"informational": 1, "informational_seconds": 0.5, "settle_seconds": 0})
    started = time.monotonic()
    operator.upload(uuid=uuid, **BY_EMAIL)

    assert keys(operator, uuid) == []
    operator.until(f"/v1/invoices/{uuid}/actions?type[]=INFO", bool)
    assert time.monotonic() - started > 0.4


def test_internal_delivery_has_its_own_key(operator, uuid):
    """An invoice to a recipient of this same operator is sent internally."""
    operator.control("PUT", "knobs", {"settle_seconds": 0})
    operator.upload(uuid=uuid, **INTERNAL)

    assert operator.call("GET", f"/v1/invoices/{uuid}/actions?type[]=SENT").json()[0]["key"] == "action_internal_sent"


@pytest.mark.parametrize("shown", [True, False])
def test_actions_are_in_invoices_by_knob(operator, uuid, shown):
    """Lists and GET by id show the actions without INFO, or none at all."""
    operator.control("PUT", "knobs", {"list_actions": shown, "settle_seconds": 0})
    operator.upload(uuid=uuid)
    operator.call("PUT", f"/v1/invoices/{uuid}/reroute/email", json={"recipient_email": "a@example.invalid"})

    listed = operator.call("GET", f"/v1/invoices?direction=SENT&ids[]={uuid}").json()[0]
    single = operator.call("GET", f"/v1/invoices/{uuid}").json()

    assert listed == single
    expected = ["CREATED", "SENT", "DELIVERED", "SENT", "DELIVERED"] if shown else []
    assert [one["type"] for one in listed.get("actions", [])] == expected

"""How an invoice goes on: by which channel, or why not, and the timeline that follows from it."""

from dataclasses import dataclass, replace
from hashlib import blake2b

from simulator.actions import RECIPIENT_HABITS
from simulator.faults import Fault, Rule
from simulator.invoices import DELIVERED, FAILED, PENDING, Step
from simulator.knobs import Knobs
from simulator.operators import INTERNAL, OPERATORS

EINVOICE, EMAIL, PRINT = "EINVOICE", "EMAIL", "PRINT"
CONSUMER_CHANNELS = {"email": EMAIL, "print": PRINT}  # all other consumer routes of Norway are electronic
SENT_KEYS = {EINVOICE: "action_trx_ok", EMAIL: "action_sent_email", PRINT: "action_sent_print"}
FAILED_KEYS = {EINVOICE: "action_route_failed", EMAIL: "action_sent_email_failed", PRINT: "action_send_fail"}
# Source: contract.md section 8, typical failure texts of the operator's support pages.
PRINT_DISABLED = "The invoice could not be sent to the print service. Print service is not enabled"
NO_ROUTE = "No routing found for the invoice"
NOT_ENOUGH_INFORMATION = "Not enough recipient information"
INVALID_EMAIL = "Invalid recipient email address"
UNKNOWN_OPERATOR = "Operator id missing or unknown and recipient was not found in the directory"
FAILURES = (
    ("action_route_failed", NOT_ENOUGH_INFORMATION),
    ("action_route_failed", NO_ROUTE),
    ("action_error", "Bank network is not activated"),
    ("action_send_fail", UNKNOWN_OPERATOR),
)
LATE_FAILURE = "The receiving operator could not deliver the invoice"
BY_HAND = "Set to failed by the operator's support"
UNSEEN = ""  # the type of a step that is no action
UNLISTED = "unknown"  # an address with this word in it is in no directory


@dataclass(frozen=True, slots=True)
class Wish:
    """What the sender and the invoice say about the way, the sender's word first."""

    eia: str = ""
    operator: str = ""
    email: str = ""
    bid: str = ""
    own_operator: bool = False  # operator and address given by the sender: that route only
    force_email: bool = False
    prevented: bool = False
    disabled: frozenset[str] = frozenset()
    consumer_order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """The channel taken (None: goes nowhere, counts as sent) and why it fails, if it does."""

    channel: str | None
    failure: str | None = None
    internal: bool = False  # the recipient is at this same operator


def choose(wish: Wish, *, print_enabled: bool) -> Way:  # noqa: PLR0911 - one line per rule, in their order
    """Find the way of an invoice by the published order: e-invoice, e-mail, print."""
    if wish.prevented:
        return Way(None)
    if wish.force_email or wish.eia.upper() == "EMAIL":
        return _by_email(wish.email)
    if wish.own_operator and "einvoice" not in wish.disabled:
        failure = None if wish.operator.upper() in OPERATORS else UNKNOWN_OPERATOR
        return Way(EINVOICE, failure, internal=wish.operator == INTERNAL)
    if wish.consumer_order:
        return _consumer(wish, print_enabled=print_enabled)
    if "einvoice" not in wish.disabled and any(part and UNLISTED not in part for part in (wish.eia, wish.bid)):
        return Way(EINVOICE)
    if "email" not in wish.disabled and wish.email:
        return _by_email(wish.email)
    if "print" not in wish.disabled:
        return Way(PRINT, None if print_enabled else PRINT_DISABLED)
    return Way(EINVOICE, NO_ROUTE)


def fated(way: Way, fate: Rule | None) -> Way:
    """Turn a way where the script says by which channel it fails."""
    if fate is None or not fate.channel:
        return way
    return replace(way, channel=fate.channel, internal=way.internal and fate.channel == EINVOICE)


def timeline(way: Way, *, at: float, knobs: Knobs, fate: Rule | None, uuid: str) -> list[Step]:
    """Lay out what happens after the invoice took its way at `at`."""
    fault = fate.fault if fate is not None else None
    if fate is not None and fault is Fault.FAILED:
        return [_failure(at + (fate.seconds or 0), way, fate, uuid)]
    settled = at + knobs.settle_seconds
    if fate is not None and fault is Fault.PENDING_LONG:
        settled = at + (fate.duration or 0)
    if way.failure is not None:
        return [_refused(settled, way.channel or EINVOICE, way.failure)]
    steps = [*_notes(way, at), _sent(settled, way)]
    if fate is not None and fault is Fault.DELIVERED_THEN_FAILED:
        steps.append(_late_failure(settled + (fate.duration or 0), way, fate))
    else:
        steps += [_confirmed(settled + knobs.confirm_seconds, way), *_heard(settled, way, knobs, uuid)]
    return sorted(steps, key=lambda step: step.at)


def created(at: float) -> Step:
    """The first step of every invoice."""
    return Step(at, "CREATED", "action_created", PENDING)


def rerouted(at: float, channel: str, *, silent: bool) -> Step:
    """The step by which a reroute puts an invoice on its way again; a silent one is in no list of actions."""
    if silent:
        return Step(at, UNSEEN, status=PENDING, destination=channel)
    message = f"Invoice was rerouted by {channel.lower()}"
    return Step(at, "INFO", None, PENDING, channel, message, destination=channel)


def by_hand(status: str, *, at: float, channel: str | None, text: str | None, key: str | None) -> list[Step]:
    """The steps by which a person changes an invoice's course in the operator's own console."""
    way = Way(channel)
    if status == FAILED:
        return [_error(at, channel, key or "action_error", text or BY_HAND)]
    if status == PENDING:
        return [Step(at, "INFO", key, PENDING, channel, text)]
    sent = _sent(at, way)
    return [replace(sent, message=text, key=key or sent.key), _confirmed(at, way)]


def is_email(text: str) -> bool:
    """Whether this is one e-mail address, not a list and not nonsense."""
    name, _, host = text.partition("@")
    return bool(name and host) and "@" not in host and not any(sign in text for sign in " ,;")


def _by_email(address: str) -> Way:
    return Way(EMAIL, None if is_email(address) else INVALID_EMAIL)


def _consumer(wish: Wish, *, print_enabled: bool) -> Way:
    for route in wish.consumer_order:
        channel = CONSUMER_CHANNELS.get(route, EINVOICE)
        if channel == EMAIL and not wish.email:
            continue
        return Way(channel, PRINT_DISABLED if channel == PRINT and not print_enabled else None)
    return Way(EINVOICE, NO_ROUTE)


def _notes(way: Way, at: float) -> list[Step]:
    return [Step(at, "INFO", "action_paper_ordered", channel=PRINT)] if way.channel == PRINT else []


def _sent(at: float, way: Way) -> Step:
    key = SENT_KEYS[way.channel] if way.channel else None
    key = "action_internal_sent" if way.internal else key
    return Step(at, "SENT", key, DELIVERED, way.channel, event="DOCUMENTS.INVOICE.DELIVERED")


def _confirmed(at: float, way: Way) -> Step:
    key = "action_sent_paper" if way.channel == PRINT else "action_delivered"
    return Step(at, "DELIVERED", key, channel=way.channel, event="DOCUMENTS.INVOICE.DELIVERY_CONFIRMED")


def _heard(delivered: float, way: Way, knobs: Knobs, uuid: str) -> list[Step]:
    """What the recipient lets the sender know; the same for the same invoice."""
    hears = way.channel == EMAIL or way.internal or (way.channel and knobs.informational_channels == "any")
    digest = blake2b(uuid.encode(), digest_size=8, person=b"recipient").digest()
    if not hears or int.from_bytes(digest) / 2**64 >= knobs.informational:
        return []
    habit = RECIPIENT_HABITS[digest[-1] % len(RECIPIENT_HABITS)]
    wait = knobs.informational_seconds
    return [Step(delivered + wait * nth, "INFO", key, channel=way.channel) for nth, key in enumerate(habit, 1)]


def _refused(at: float, channel: str, message: str) -> Step:
    return _error(at, channel, FAILED_KEYS[channel], message)


def _failure(at: float, way: Way, fate: Rule, uuid: str) -> Step:
    """The script's reason, or one of the usual ones, always the same for the same invoice."""
    key, message = FAILURES[blake2b(uuid.encode(), digest_size=1).digest()[0] % len(FAILURES)]
    if fate.text:
        key, message = FAILED_KEYS[way.channel or EINVOICE], fate.text
    return _error(at, way.channel, fate.key or key, message)


def _late_failure(at: float, way: Way, fate: Rule) -> Step:
    return _error(at, way.channel, fate.key or "action_delivery_failed", fate.text or LATE_FAILURE)


def _error(at: float, channel: str | None, key: str, message: str) -> Step:
    return Step(at, "ERROR", key, FAILED, channel, message, "DOCUMENTS.INVOICE.FAILED")

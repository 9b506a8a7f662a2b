"""Fault scripts: which misfortune strikes which request. Pure decisions; performing them is the server's work.

Randomness comes from the seed, the rule, the key of the request (the invoice's UUID, or the company for tokens and
lists) and how often that key was seen, never from the order of arrival: two runs strike the same uploads.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from simulator.actions import ACTION_CHANNELS, ACTION_KEYS
from simulator.errors import SettingError


class Fault(StrEnum):
    """Every misfortune the operator can be made to have."""

    ACCEPT_THEN_SILENCE = "accept-then-silence"  # the work is done, the answer never comes
    RESET_AFTER_ACCEPT = "reset-after-accept"  # the work is done, then the connection is reset
    RESET_BEFORE = "reset-before"  # the connection is reset and nothing was done
    SILENCE = "silence"  # nothing was done and no answer comes
    SLOW = "slow"  # the work is done and the answer takes its time
    LYING_STATUS = "lying-status"  # the work is done, the answer says otherwise: `status`
    LYING_500 = "lying-500"
    LYING_502 = "lying-502"
    LYING_503 = "lying-503"
    LYING_504 = "lying-504"
    STATUS = "status"  # nothing was done, the answer is `status`
    INTERNAL_ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    THROTTLED = "429"
    TOKEN_STORM = "token-storm"  # every token expires at this moment, this request's too
    PENDING_LONG = "pending-long"  # the invoice stays PENDING for `seconds`
    FAILED = "failed"  # the invoice is FAILED at once
    DELIVERED_THEN_FAILED = "delivered-then-failed"  # it turns FAILED `seconds` after it was DELIVERED


BEFORE = {
    Fault.RESET_BEFORE, Fault.SILENCE, Fault.STATUS, Fault.INTERNAL_ERROR, Fault.BAD_GATEWAY, Fault.UNAVAILABLE,
    Fault.GATEWAY_TIMEOUT, Fault.THROTTLED, Fault.TOKEN_STORM,
}  # fmt: skip
AFTERLIFE = {Fault.PENDING_LONG, Fault.FAILED, Fault.DELIVERED_THEN_FAILED}
FAILING = {Fault.FAILED, Fault.DELIVERED_THEN_FAILED}
STATUS_OF = {
    Fault.LYING_500: 500, Fault.LYING_502: 502, Fault.LYING_503: 503, Fault.LYING_504: 504, Fault.INTERNAL_ERROR: 500,
    Fault.BAD_GATEWAY: 502, Fault.UNAVAILABLE: 503, Fault.GATEWAY_TIMEOUT: 504, Fault.THROTTLED: 429,
}  # fmt: skip
DEFAULT_SECONDS = {
    Fault.SLOW: 2.0,
    Fault.PENDING_LONG: 3600.0,
    Fault.DELIVERED_THEN_FAILED: 2.0,
}
DEFAULT_STATUS = 500
ANSWERING = {Fault.STATUS, Fault.LYING_STATUS, *STATUS_OF}
ATTEMPTS = ("any", "first", "always")
# Where a rule applies; `read` stands for list, show and actions, `any` for all.
CHANNELS = ("upload", "token", "list", "show", "actions", "reroute", "other")
GROUPS = {"read": frozenset({"list", "show", "actions"}), "any": frozenset(CHANNELS)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a script. `seconds` is a duration for slow, silence and the fates of invoices.

    `attempt` is the number of the request under its key, or a word: `any` draws for each request anew, `first` for
    the first alone, `always` once per key for all of them - what is refused so is refused again.
    """

    fault: Fault
    on: str = "upload"
    probability: float = 1.0
    attempt: str | int = "any"
    seconds: float | None = None
    status: int | None = None
    retry_after: str | None = None  # seconds or an HTTP date, sent as it stands
    company: str | None = None
    uuid: str | None = None
    # How a failed invoice says why: message, key and channel of its ERROR action; the channel is also where it went.
    text: str | None = None
    key: str | None = None
    channel: str | None = None
    # The error body of a fault that answers with a status.
    code: str | None = None
    message: str | None = None

    @property
    def duration(self) -> float | None:
        """How long the fault lasts, None where nothing says so."""
        return self.seconds if self.seconds is not None else DEFAULT_SECONDS.get(self.fault)

    @property
    def answer(self) -> int:
        """The status that the fault answers."""
        return self.status or STATUS_OF.get(self.fault, DEFAULT_STATUS)

    def concerns(self, *, on: str, key: str, number: int, company: str) -> bool:
        """Whether the rule is about this request at all."""
        return (
            (self.on == on or on in GROUPS.get(self.on, ()))
            and (self.attempt in ("any", "always") or number == (1 if self.attempt == "first" else self.attempt))
            and self.company in (None, company)
            and self.uuid in (None, key)
        )


@dataclass(frozen=True, slots=True)
class Strike:
    """What hits one request: at most one fault of the exchange and one fate of the invoice."""

    exchange: Rule | None = None
    fate: Rule | None = None


CALM = Strike()


class Script:
    """The rules in force, and how many requests each key has made."""

    def __init__(self, rules: Iterable[Rule] = (), seed: int = 1, name: str = "calm") -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.name = name
        self._seen: Counter[tuple[str, str]] = Counter()
        self._channels = frozenset(
            channel for rule in self.rules for channel in GROUPS.get(rule.on, frozenset({rule.on}))
        )

    def strike(self, *, on: str, key: str, company: str, number: int | None = None) -> Strike:
        """Decide what hits this request; counts the request under its key unless its number is given."""
        if on not in self._channels:
            return CALM
        if number is None:
            self._seen[on, key] += 1
            number = self._seen[on, key]
        exchange: Rule | None = None
        fate: Rule | None = None
        for index, rule in enumerate(self.rules):
            taken = fate if rule.fault in AFTERLIFE else exchange
            if taken is not None or not rule.concerns(on=on, key=key, number=number, company=company):
                continue
            if self._die(index, on, key, 0 if rule.attempt == "always" else number) < rule.probability:
                fate, exchange = (rule, exchange) if rule.fault in AFTERLIFE else (fate, rule)
        return Strike(exchange, fate)

    def _die(self, index: int, on: str, key: str, number: int) -> float:
        text = f"{self.seed}|{index}|{on}|{key}|{number}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64


def checked(rule: Rule) -> Rule:
    """Give the rule back if it makes sense.

    Raises: SettingError saying what does not.
    """
    if rule.on not in CHANNELS and rule.on not in GROUPS:
        raise SettingError(f"`on` is one of {', '.join((*CHANNELS, *GROUPS))}, not {rule.on!r}")
    if rule.fault in AFTERLIFE and rule.on not in ("upload", "reroute"):
        raise SettingError(
            f"{rule.fault.value} is the fate of an invoice and works on upload or reroute, not {rule.on}"
        )
    if not 0 <= rule.probability <= 1:
        raise SettingError(f"`probability` lies between 0 and 1, not {rule.probability}")
    if rule.attempt not in ATTEMPTS and not (isinstance(rule.attempt, int) and rule.attempt > 0):
        raise SettingError(f"`attempt` is any, first or a number from 1, or always, not {rule.attempt!r}")
    if rule.seconds is not None and not rule.seconds >= 0:
        raise SettingError(f"`seconds` is not negative: {rule.seconds}")
    if rule.status is not None and not 400 <= rule.status <= 599:  # noqa: PLR2004 - HTTP's error statuses
        raise SettingError(f"`status` lies between 400 and 599, not {rule.status}")
    _check_words(rule)
    return rule


def _check_words(rule: Rule) -> None:
    """Hold what a rule makes the operator say to the faults that say something, and to the published words."""
    if (rule.text or rule.key or rule.channel) and rule.fault not in FAILING:
        raise SettingError(f"`text`, `key` and `channel` are of invoices that fail, not of {rule.fault.value}")
    if (rule.code or rule.message) and rule.fault not in ANSWERING:
        raise SettingError(f"`code` and `message` are of faults that answer a status, not of {rule.fault.value}")
    if rule.key is not None and rule.key not in ACTION_KEYS:
        raise SettingError(f"`key` is an action key of the specification, not {rule.key!r}")
    if rule.channel is not None and rule.channel not in ACTION_CHANNELS:
        raise SettingError(f"`channel` is one of {', '.join(ACTION_CHANNELS)}, not {rule.channel!r}")

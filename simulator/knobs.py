"""Every unknown of the operator's contract as a knob with a default. Knows names and allowed values, not their use."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from simulator.errors import SettingError

SECONDS_LIMIT = 1_000_000_000.0  # about 30 years: only there to keep infinity and NaN out


@dataclass(frozen=True, slots=True)
class Knobs:
    """One setting of all knobs; a change makes a new one."""

    # What a second upload under a used UUID answers; 201 echoes the invoice that exists. Not documented.
    duplicate_status: int = 422
    # An operator that breaks its word and holds a second invoice: only to see that a count of doubles counts.
    hold_duplicates: bool = False
    # Wrong keys at the token endpoint. Documented is only the code, invalid_credentials.
    bad_credentials_status: int = 401
    # A valid token without the scope that the endpoint asks for.
    missing_scope_status: int = 401
    # Sending for a company that is not verified: the text "Unauthorized" is documented, its status is not.
    unverified_status: int = 401
    # The minimum-information check before an invoice is created; 0 switches the check off.
    minimum_information_status: int = 400
    # A company beyond its daily number of invoices.
    daily_limit_status: int = 403
    vendor_key_required: bool = False
    token_seconds: float = 3600.0
    # From creation to DELIVERED, and from there to the confirmation (DELIVERED action, DELIVERY_CONFIRMED event).
    settle_seconds: float = 1.0
    confirm_seconds: float = 0.0
    # How long a new invoice is missing from lists, and from GET by id.
    list_lag_seconds: float = 0.0
    show_lag_seconds: float = 0.0
    paging_headers: bool = True
    # Which spelling of array parameters is understood; the other one is ignored like any unknown parameter.
    array_form: str = "both"
    # Whether lists and GET by id show an invoice's actions (INFO left out, as everywhere unless asked for).
    list_actions: bool = True
    # What a reroute answers: 200, or 409 for invoices that the operator will not reroute.
    reroute_status: int = 200
    # Whether only an invoice whose status is FAILED can be rerouted; any other then answers 409.
    reroute_needs_failed: bool = False
    # Whether a reroute leaves no INFO action of its own: what shows it is the status alone.
    reroute_silent: bool = False
    # How long after a reroute was taken status, destination and actions first show it.
    reroute_lag_seconds: float = 0.0
    # How many delivered invoices the recipient lets the sender hear of (seen, accepted, declined, paid, disputed, as
    # INFO actions), how long after delivery the first such word comes and each further one after the one before, and
    # of which channels: by e-mail and to recipients of this same operator as published, or of any.
    informational: float = 0.0
    informational_seconds: float = 1.0
    informational_channels: str = "email-internal"
    # Whether a company may be given the partner's scopes.
    partner_scopes: bool = True
    webhook_lost: float = 0.0
    webhook_duplicated: float = 0.0
    webhook_reordered: float = 0.0
    webhook_timeout_seconds: float = 5.0
    # Bytes of documents kept for the file endpoints; later documents are known by hash alone.
    document_bytes_kept: int = 67_108_864
    request_bytes_limit: int = 262_144_000
    latency_ms: float = 0.0
    # Requests let in within any one second, POST /v1/invoices and everything else apart, of each company or of all
    # together; what is above is answered 429. 0: no limit. The Retry-After with it: none, seconds, or date:SECONDS.
    limit_uploads_per_second: float = 0.0
    limit_reads_per_second: float = 0.0
    limit_scope: str = "company"
    limit_retry_after: str = "none"
    # How long a connection that is never answered stays open when nobody hangs up.
    silence_seconds: float = 600.0


CHOICES: Mapping[str, tuple[object, ...]] = {
    "duplicate_status": (422, 409, 400, 201),
    "bad_credentials_status": (400, 401, 403),
    "missing_scope_status": (401, 403),
    "unverified_status": (401, 403),
    "minimum_information_status": (400, 422, 0),
    "daily_limit_status": (403, 422, 429),
    "array_form": ("both", "plain", "brackets"),
    "reroute_status": (200, 409),
    "informational_channels": ("email-internal", "any"),
    "limit_scope": ("company", "operator"),
}
FORMS: Mapping[str, re.Pattern[str]] = {"limit_retry_after": re.compile(r"none|(date:)?[0-9]{1,7}")}
PROBABILITIES = frozenset({"informational", "webhook_lost", "webhook_duplicated", "webhook_reordered"})
WORDS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def turned(knobs: Knobs, changes: Mapping[str, object]) -> Knobs:
    """Give the knobs with these changes, each checked by name, type and allowed values.

    Raises: SettingError naming the knob and what it takes.
    """
    types = {field.name: type(getattr(knobs, field.name)) for field in fields(Knobs)}
    checked: dict[str, object] = {}
    for name, value in changes.items():
        if name not in types:
            raise SettingError(f"unknown knob {name!r}; knobs are {', '.join(sorted(types))}")
        checked[name] = _checked(name, _converted(name, value, types[name]))
    return replace(knobs, **checked)  # type: ignore[arg-type]


def as_table(knobs: Knobs) -> dict[str, object]:
    """List every knob with its present value."""
    return asdict(knobs)


def parse_assignment(text: str) -> tuple[str, str]:
    """Split `name=value` of the command line.

    Raises: SettingError when there is no `=`.
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise SettingError(f"knob {text!r} is not of the form name=value")
    return name.strip().replace("-", "_"), value.strip()


def _converted(name: str, value: object, wanted: type) -> object:
    try:
        if wanted is bool:
            return value if isinstance(value, bool) else WORDS[str(value).lower()]
        if isinstance(value, bool):
            raise SettingError(f"knob {name} takes a {wanted.__name__}, not {value}")
        return wanted(str(value))
    except (ValueError, KeyError) as exc:
        raise SettingError(f"knob {name} takes a {wanted.__name__}, not {value!r}") from exc


def _checked(name: str, value: object) -> object:
    choices = CHOICES.get(name)
    if choices is not None and value not in choices:
        raise SettingError(f"knob {name} takes one of {', '.join(map(str, choices))}, not {value!r}")
    form = FORMS.get(name)
    if form is not None and not form.fullmatch(str(value)):
        raise SettingError(f"knob {name} takes {form.pattern}, not {value!r}")
    if isinstance(value, int | float) and not 0 <= value <= (1 if name in PROBABILITIES else SECONDS_LIMIT):
        raise SettingError(f"knob {name} is out of range: {value!r}")
    return value

"""What a demo is made of: its settings, its routing rules, its webhooks, and how they are disturbed. Starts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from pipeline.domain.errors import ConfigurationError

MIXED_FAILURES = "mixed-failures"

COMPANIES = {
    UUID("00000000-0000-4000-8000-000000000001"): "Esimerkki Oy",
    UUID("00000000-0000-4000-8000-000000000002"): "Muster GmbH",
}
"""The simulator's two ready companies."""
PRINTING = next(iter(COMPANIES))
"""The one that has the operator's printing switched on in mixed failures."""

SETTINGS = {
    "POSTILJON_READ_TIMEOUT_SECONDS": "3",
    "POSTILJON_WRITE_TIMEOUT_SECONDS": "3",
    "POSTILJON_CONNECT_TIMEOUT_SECONDS": "1",
    "POSTILJON_CHUNK_INVOICES": "25",
    "POSTILJON_RETRY_WAITS_SECONDS": "0,0.5,1,2,4,8",
    "POSTILJON_LOOK_WAITS_SECONDS": "1,1,2,2,4",
    "POSTILJON_FOLLOW_INTERVAL_SECONDS": "1",
    "POSTILJON_DELIVERED_LOOKS_SECONDS": "3",
    "POSTILJON_BACKUP_LOOK_SECONDS": "12",
    "POSTILJON_HOLD_CHECK_SECONDS": "3",
    "POSTILJON_DISPATCH_LEASE_SECONDS": "5",
    "POSTILJON_CLAIM_LEASE_SECONDS": "10",
    "POSTILJON_ABSENCE_SETTLE_SECONDS": "3",
    "POSTILJON_ROUTE_INTERVAL_SECONDS": "1",
    "POSTILJON_REROUTE_SETTLE_SECONDS": "5",
    "POSTILJON_WATCH_INTERVAL_SECONDS": "2",
}
"""A demo waits seconds where production waits minutes, and its daily pass comes every 12 s; nothing else differs."""

WITHOUT_POLLING = {
    "POSTILJON_LOOK_WAITS_SECONDS": "86400",
    "POSTILJON_DELIVERED_LOOKS_SECONDS": "86400",
}
"""The age curve never comes round: what webhooks do not bring, the daily pass does."""

RULES = f"""
version = 1

[[rule]]
name = "bank network not ready yet: send anew"
verdict = "bank-network-not-activated"
way = "resend"
after = "1s"

[[rule]]
name = "wrong address: by e-mail"
cause = "recipient_address"
way = "email"

[[rule]]
name = "not reachable: as a letter"
cause = "recipient_unreachable"
way = "print"
after = "2s"

[company."{PRINTING}"]
automatic = ["email", "print", "resend"]

[company."{next(reversed(COMPANIES))}"]
automatic = ["email", "resend"]
"""

DISTURBED_WEBHOOKS = ("webhook_lost=0.2", "webhook_duplicated=0.2", "webhook_reordered=0.2")
INFORMATIONAL = ("informational=0.2",)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a demo differs from an installation in production."""

    settings: Mapping[str, str] = field(default_factory=lambda: dict(SETTINGS))
    rules: str | None = None
    """The text of routing.toml."""
    knobs: tuple[str, ...] = ()
    """Of the simulator, as name=value."""
    beats: int = 1
    webhooks: bool = False
    print_companies: tuple[UUID, ...] = ()


def scenario(faults: str, *, webhooks: bool, polling: bool) -> Scenario:
    """Return what a demo of these faults is made of. Raises: ConfigurationError when nothing would bring news."""
    settings = SETTINGS if polling else SETTINGS | WITHOUT_POLLING
    if faults != MIXED_FAILURES:
        if not webhooks or not polling:
            raise ConfigurationError(f"--no-webhooks and --no-polling belong to --faults {MIXED_FAILURES}")
        return Scenario(settings=settings)
    return Scenario(
        settings=settings,
        rules=RULES,
        knobs=(*INFORMATIONAL, *(DISTURBED_WEBHOOKS if webhooks else ())),
        beats=2,
        webhooks=webhooks,
        print_companies=(PRINTING,),
    )

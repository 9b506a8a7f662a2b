"""What beat rings, and how often. Every tick is leased or idempotent in the database: two beats do no harm."""

from typing import Any

from pipeline.settings import Settings

BACKUP_SECONDS = 900.0
"""How often is looked for what nobody asked about for a day; a quarter of that span if it is set shorter."""
PARTNER_ERRORS_SECONDS = 60.0
UPKEEP_SECONDS = 60.0
RETENTION_SECONDS = 1200.0
"""Only rings at night count (pipeline.services.retention); what was in use then is tried at the next."""
LEAST_EXPIRES_SECONDS = 60.0
"""By the taker's own wall clock: one that is ahead by less than this still takes ticks, or it would never begin."""


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return beat's entries; a tick nobody took in time is dropped by whoever takes it.

    So at most a minute of them is worked off at once, and what comes after the first finds a lease or nothing to do.
    """
    return {
        "dispatch": _tick("dispatch", "dispatch", settings.dispatch_interval_seconds),
        "follow": _tick("follow", "poll", settings.follow_interval_seconds),
        "backup_look": _tick("backup_look", "poll", min(settings.backup_look_seconds / 4, BACKUP_SECONDS)),
        "partner_errors": _tick("partner_errors", "poll", PARTNER_ERRORS_SECONDS),
        "check_holds": _tick("check_holds", "poll", settings.hold_check_seconds),
        "watch": _tick("watch", "poll", settings.watch_interval_seconds),
        "route": _tick("route", "route", settings.route_interval_seconds),
        "upkeep": _tick("upkeep", "poll", UPKEEP_SECONDS),
        "retention": _tick("retention", "poll", RETENTION_SECONDS),
    }


def _tick(task: str, queue: str, seconds: float) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": seconds,
        "options": {"queue": queue, "expires": max(seconds, LEAST_EXPIRES_SECONDS)},
    }

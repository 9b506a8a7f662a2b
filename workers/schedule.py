"""What beat rings, and how often. Every tick is leased or idempotent in the database: two beats do no harm."""

from typing import Any

from pipeline.settings import Settings


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return beat's entries; a tick nobody took before the next one is due is dropped by the broker."""
    return {
        "dispatch": _tick("dispatch", "dispatch", settings.dispatch_interval_seconds),
        "follow": _tick("follow", "poll", settings.follow_interval_seconds),
        "check_holds": _tick("check_holds", "poll", settings.hold_check_seconds),
    }


def _tick(task: str, queue: str, seconds: float) -> dict[str, Any]:
    return {"task": task, "schedule": seconds, "options": {"queue": queue, "expires": max(seconds, 1.0)}}

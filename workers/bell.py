"""The bell: tells dispatcher and router that there is work. Losing it costs seconds, so it never raises."""

import logging

from kombu.exceptions import OperationalError

from workers.app import app

BELL_EXPIRES_SECONDS = 60
"""A bell nobody heard for so long is dropped: beat has rung since. So much may the wall clocks of machines differ."""

log = logging.getLogger(__name__)


def ring() -> None:
    """Ring for the dispatcher; a broker that is away is logged, beat rings when it is back."""
    _ring("dispatch")


def ring_route() -> None:
    """Ring for the router, likewise."""
    _ring("route")


def _ring(name: str) -> None:
    try:
        app.send_task(name, queue=name, expires=BELL_EXPIRES_SECONDS, ignore_result=True)
    except (OperationalError, OSError) as exc:
        log.warning("could not ring", extra={"event": "bell_failed", "cause": type(exc).__name__})

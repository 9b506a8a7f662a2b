"""What refusals of pace (429) teach about a limit nobody told us: additive up, multiplicative down.

Pure rules over one window of answers at a time. Knows neither clock nor SQL, and nothing of limits that are set.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

WINDOW_SECONDS = 1.0
LONGEST_WINDOW_SECONDS = 5.0
"""A window with few answers waits for more up to this."""
FEW = 10
"""Fewer answers than this are no evidence of a limit where none was known; they would teach absurdly low ones."""
FLOOR = 1.0
"""Exchanges per second: a limit is never found to be lower; below it, Retry-After paces better."""
CUT = 0.1
"""The least cut: less would find the limit again within a second, and each find costs a refused exchange."""
STEP_SHARE = 0.02
"""The step up of a second, as a share of the rate, but at least ..."""
LEAST_STEP = 0.25
"""... this: five seconds and more between two finds of the same limit."""
LEAST_NOISE = 0.01
"""So many refusals may always be chance ..."""
DEVIATIONS = 2.0
"""... and so many standard deviations more: a real limit refuses far more than that a second later."""
LEARN_SHARE = 0.3
"""How fast a share of refusals that does not fall with the rate becomes the usual one."""
MOST_NOISE = 0.5
CLEARLY_BELOW = 0.95
USED_SHARE = 0.7
"""A limit is in use where at least this part of it was asked for; an unused one proves nothing by its silence."""
SETTLE = timedelta(seconds=1.5)
"""What is answered this soon after a cut was begun before all had heard of it, or pays for the second before it."""
FORGET = timedelta(minutes=10)
"""A limit that was neither met nor half used for so long is forgotten."""
FORGET_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What is known of a limit nobody told us."""

    rate: float | None = None
    """Per second; None: nothing was ever refused, or it was long ago."""
    noise: float = 0.0
    """The share of refusals that stays whatever the rate."""
    refused_rate: float | None = None
    """What the operator let through when it last refused: the limit, as far as it is known."""
    refused_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """What was answered since an instant."""

    since: datetime | None = None
    answered: int = 0
    """Refusals of pace among them."""
    throttled: int = 0

    def plus(self, *, answered: int, throttled: int, now: datetime) -> "Window":
        """Return the window with more in it; it begins with its first answer."""
        since = self.since if self.since is not None and self.answered else now
        return Window(since=since, answered=self.answered + answered, throttled=self.throttled + throttled)

    def is_over(self, now: datetime) -> bool:
        """Tell whether it can be judged."""
        if self.since is None or not self.answered:
            return False
        age = (now - self.since).total_seconds()
        return age >= (WINDOW_SECONDS if self.answered >= FEW else LONGEST_WINDOW_SECONDS)


def count(known: Learned, window: Window, *, answered: int, throttled: int, now: datetime) -> tuple[Learned, Window]:
    """Count answers in; judge the window before them if it is over."""
    if window.is_over(now):
        known, window = learn(known, window, now), Window()
    if known.refused_at is not None and timedelta(0) <= now - known.refused_at < SETTLE:
        return known, Window()
    return known, window.plus(answered=answered, throttled=throttled, now=now)


def learn(known: Learned, window: Window, now: datetime) -> Learned:
    """Judge one window that is over."""
    seconds = (now - (window.since or now)).total_seconds()
    # Answers come in bursts: what lies long between the last of them and this look was no part of the pace.
    seconds = min(max(seconds, WINDOW_SECONDS), LONGEST_WINDOW_SECONDS)
    share = window.throttled / window.answered
    is_evidence = known.rate is not None or window.answered >= FEW
    if is_evidence and _is_beyond_chance(window, known.noise):
        return _cut(known, (window.answered - window.throttled) / seconds, share, now)
    if known.rate is None:
        return known
    calmer = replace(known, noise=_usual(known, share))
    if window.answered / seconds >= USED_SHARE * known.rate:
        return replace(calmer, rate=known.rate + max(LEAST_STEP, STEP_SHARE * known.rate) * seconds)
    is_old = known.refused_at is None or now - known.refused_at >= FORGET
    if is_old and window.answered / seconds < FORGET_SHARE * known.rate:
        return Learned()
    return calmer


def _is_beyond_chance(window: Window, noise: float) -> bool:
    usual = max(noise, LEAST_NOISE)
    expected, variance = window.answered * usual, window.answered * usual * (1 - usual)
    return window.throttled > expected + DEVIATIONS * math.sqrt(variance)


def _cut(known: Learned, taken: float, share: float, now: datetime) -> Learned:
    if known.rate is None:
        # What was taken is what the operator lets through; what was asked beyond it tells nothing of the limit.
        return replace(known, rate=max(FLOOR, taken * (1 - CUT)), refused_rate=taken, refused_at=now)
    base = min(known.rate, taken / (1 - known.noise))
    cut = max(CUT, (share - known.noise) / 2)
    rate = max(FLOOR, base * (1 - cut))
    return Learned(rate=rate, noise=_usual(known, share), refused_rate=base, refused_at=now)


def _usual(known: Learned, share: float) -> float:
    """Learn what refusals are usual, but only clearly below the limit: near it they are the limit's."""
    if known.rate is None or known.rate > CLEARLY_BELOW * (known.refused_rate or 0.0):
        return known.noise
    return min(known.noise + LEARN_SHARE * (share - known.noise), MOST_NOISE)

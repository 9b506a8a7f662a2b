"""What refusals of pace (429) teach about a limit nobody told us: down by what was refused, up slowly, then fast.

Pure rules over one window of answers at a time. Knows neither clock nor SQL, and nothing of limits that are set.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

WINDOW_SECONDS = 1.0
LONGEST_WINDOW_SECONDS = 5.0
"""A window with few answers waits for more up to this."""
PAUSE_SECONDS = 0.7
"""A window ends with its last answer when none came for so long: something else than the pace held them back."""
FEW = 10
"""Fewer answers than this are no evidence of a limit; they would teach absurdly low ones."""
FEW_REFUSED = 3
"""Nor are fewer refusals: in a small window one or two are chance however rare they are."""
SMALL = 20
"""In fewer answers than this shares jump by chance, so with refusals among them a window waits for more."""
FIRST_SHARE = 0.1
"""Where no limit was known, a smaller share of refusals is none: in a storm so much is refused at any rate."""
CLEAR_SHARE = 0.5
"""So much must be refused in a window that a pause cut short: what was taken in it is less than the limit."""
FLOOR = 1.0
"""Exchanges per second: a limit is never found to be lower; below it, Retry-After paces better."""
CEILING = 1000.0
"""A limit that was not met on the way up to here binds nobody and is forgotten."""
CUT = 0.1
"""The least cut: less would find the limit again within a second, and each find costs a refused exchange."""
MOST_CUT = 0.5
"""The most a single window may take away from a limit that was known."""
STEP_SHARE = 0.02
"""The step up of a second soon after a cut, as a share of the rate: the limit is near ..."""
STEP_FOR = timedelta(seconds=10)
"""... and after this without a cut it is not, so the rate grows by ..."""
LEAP_SHARE = 0.1
"""... this share of it a second: what was cut too far is made good, twice the rate in seven seconds."""
LEAST_NOISE = 0.01
"""So many refusals may always be chance ..."""
DEVIATIONS = 3.0
"""... and so many standard deviations more: a real limit refuses far more than that a second later."""
LEARN_SHARE = 0.3
"""How fast a share of refusals that does not fall with the rate becomes the usual one."""
MOST_NOISE = 0.15
"""More than this is never usual: a limit that was thought higher than it is would pass for chance."""
CLEARLY_BELOW = 0.95
USED_SHARE = 0.7
"""A window in which less than this part of the limit was asked for says little of it, so it is cut by its own size."""
PARTLY_SHARE = 0.3
"""A limit used less than this proves nothing by its silence ..."""
LAPSE = timedelta(seconds=30)
"""... until it was not met for so long: then it grows, used or not, or a wrong one would bind whoever comes back."""
AGAIN = timedelta(seconds=5)
"""A window so soon after a cut, most of it refused, confirms it: then what is taken is the limit, however little."""
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

    def is_over(self, now: datetime, last_at: datetime | None = None) -> bool:
        """Tell whether it can be judged; `last_at` is when its last answer was written down."""
        if self.since is None or not self.answered:
            return False
        age = (now - self.since).total_seconds()
        is_enough = self.answered >= (SMALL if self.throttled else FEW)
        is_long = age >= (WINDOW_SECONDS if is_enough else LONGEST_WINDOW_SECONDS)
        return is_long or _is_pause(last_at, now)


def count(
    known: Learned,
    window: Window,
    *,
    answered: int,
    throttled: int,
    now: datetime,
    last_at: datetime | None = None,
    was_told_to_pause: bool = False,
) -> tuple[Learned, Window]:
    """Count answers in; judge the window before them if it is over.

    `was_told_to_pause`: it was the operator who made the fleet stand still after the window (Retry-After).
    """
    if window.since is not None and window.since > now:
        window = Window()  # the clock jumped back
    if window.is_over(now, last_at):
        known, window = learn(known, window, now, last_at, was_told_to_pause=was_told_to_pause), Window()
    if known.refused_at is not None and timedelta(0) <= now - known.refused_at < SETTLE:
        return known, Window()
    return known, window.plus(answered=answered, throttled=throttled, now=now)


def learn(
    known: Learned,
    window: Window,
    now: datetime,
    last_at: datetime | None = None,
    *,
    was_told_to_pause: bool = False,
) -> Learned:
    """Judge one window that is over."""
    # What lies long between the last answer and this look was no part of the pace.
    end = last_at if last_at is not None and _is_pause(last_at, now) else now
    lasted = (end - (window.since or end)).total_seconds()
    seconds = min(max(lasted, WINDOW_SECONDS), LONGEST_WINDOW_SECONDS)
    asked = window.answered / seconds
    if _is_evidence(known, window, now, is_whole=was_told_to_pause or lasted >= WINDOW_SECONDS):
        return _cut(known, asked, window.throttled / window.answered, now)
    share_refused = window.throttled / window.answered
    calmer = replace(known, noise=_usual(known, share_refused))
    if known.rate is None:
        return calmer
    unmet = _unmet_for(known, now)
    if unmet >= FORGET and asked < FORGET_SHARE * known.rate:
        return Learned()
    if asked < PARTLY_SHARE * known.rate and unmet < LAPSE:
        return calmer
    is_near = unmet < STEP_FOR or share_refused >= max(FIRST_SHARE, known.noise)
    rate = known.rate * (1 + (STEP_SHARE if is_near else LEAP_SHARE)) ** seconds
    return replace(calmer, rate=rate) if rate < CEILING else Learned(noise=calmer.noise)


def _is_pause(last_at: datetime | None, now: datetime) -> bool:
    return last_at is not None and (now - last_at).total_seconds() > PAUSE_SECONDS


def _unmet_for(known: Learned, now: datetime) -> timedelta:
    # A cut that lies in the future was made before the clock jumped back: it was long ago, for all we know.
    if known.refused_at is None or known.refused_at > now:
        return LAPSE
    return now - known.refused_at


def _is_evidence(known: Learned, window: Window, now: datetime, *, is_whole: bool) -> bool:
    if window.answered < FEW or window.throttled < FEW_REFUSED:
        return False
    least = CLEAR_SHARE if not is_whole else FIRST_SHARE if known.rate is None else 0.0
    # Soon after a cut the rate cannot be far above the limit, so a storm explains a few more refusals better.
    is_soon = known.rate is not None and _unmet_for(known, now) < STEP_FOR
    usual = max(known.noise, FIRST_SHARE if is_soon else LEAST_NOISE)
    return window.throttled >= least * window.answered and _is_beyond_chance(window, usual)


def _is_beyond_chance(window: Window, usual: float) -> bool:
    expected, variance = window.answered * usual, window.answered * usual * (1 - usual)
    return window.throttled > expected + DEVIATIONS * math.sqrt(variance)


def _cut(known: Learned, asked: float, share: float, now: datetime) -> Learned:
    taken = asked * (1 - share)
    if known.rate is None:
        # What was taken is what the operator lets through; what was asked beyond it tells nothing of the limit.
        return replace(known, rate=max(FLOOR, taken * (1 - CUT)), refused_rate=taken, refused_at=now)
    let_through = min(known.rate, taken / (1 - known.noise))
    if asked >= USED_SHARE * known.rate:
        # One window may be an accident of the operator; a second one says that the limit really is so low.
        is_confirmed = share >= CLEAR_SHARE and _unmet_for(known, now) < AGAIN
        rate = max(let_through * (1 - CUT), 0.0 if is_confirmed else known.rate * (1 - MOST_CUT))
    else:
        rate = known.rate * (1 - max(CUT, (share - known.noise) / 2))
    return replace(known, rate=max(FLOOR, rate), refused_rate=let_through, refused_at=now)


def _usual(known: Learned, share: float) -> float:
    """Learn what refusals are usual, but only clearly below the limit: near it they are the limit's."""
    is_limits = share >= FIRST_SHARE if known.rate is None else known.rate > CLEARLY_BELOW * (known.refused_rate or 0.0)
    if is_limits:
        return known.noise
    return min(known.noise + LEARN_SHARE * (share - known.noise), MOST_NOISE)

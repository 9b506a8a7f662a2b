"""The age curve of looks: often while an invoice is young, rarely when it is old. Knows neither clock nor settings."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate

SHORTEST_REPEAT_SECONDS = 1.0
"""A last wait of nothing would ask without end."""


def next_look(since: datetime, now: datetime, waits_seconds: Sequence[float]) -> datetime:
    """Return the first point of the curve after `now`; the last wait repeats for ever.

    The points are fixed by `since` alone, so a look that came late or twice moves none of them.
    """
    for seconds in accumulate(waits_seconds):
        point = since + timedelta(seconds=seconds)
        if point > now:
            return point
    repeat = timedelta(seconds=max(waits_seconds[-1], SHORTEST_REPEAT_SECONDS))
    end = since + timedelta(seconds=sum(waits_seconds))
    return end + repeat * ((now - end) // repeat + 1)

"""For how long something has been so at every look. Knows nothing of what is looked at."""


class Streak:
    """Grows while looks find the same; one look that does not, or a pause in the looks, begins it anew."""

    def __init__(self, *, longest_gap_seconds: float) -> None:
        self._longest_gap = longest_gap_seconds
        self._since: float | None = None
        self._looked_at = 0.0

    def note(self, *, at: float, holds: bool) -> float:
        """Take in a look at a monotonic instant; return for how many seconds it has held at every look."""
        paused = at - self._looked_at > self._longest_gap
        self._looked_at = at
        if not holds:
            self._since = None
            return 0.0
        if self._since is None or paused:
            self._since = at
        return at - self._since

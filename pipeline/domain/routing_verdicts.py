"""The verdict table: what a failure means, whose it is and what is allowed. Knows no rule and no company."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.domain.cause import OWNERS, Cause, Owner
from pipeline.domain.way import REROUTES, Way

UNKNOWN_ROW: Final = "unknown"
"""The name of the row that matched when none did."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is known of one failure, in the operator's words."""

    refused: bool
    """The operator said no at upload; nothing was created."""
    text: str | None = None
    """The message of the last ERROR action, or of the refusal."""
    key: str | None = None
    """The action key of the ERROR action (`action_route_failed`)."""
    channel: str | None = None
    """EINVOICE, EMAIL or PRINT."""
    code: str | None = None
    """The operator's `code` of a refused upload; where it gave none, the HTTP status as text (`413`)."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a failure means: the cause, who can end it, what may be done, and words for a person."""

    row: str
    """Stable name of the row that matched; `unknown` when none did."""
    cause: Cause
    owner: Owner
    ways: frozenset[Way]
    """What may be done. Always close; retry only and reroutes never after a refusal."""
    words: str
    """The cause in plain language, for an accountant."""
    advice: str
    """What to do."""


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """One row: where it applies (every condition given must hold) and what it then says."""

    name: str
    cause: Cause
    owner: Owner
    ways: frozenset[Way]
    words: str
    advice: str
    text: re.Pattern[str] | None = None
    keys: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    refused: bool | None = None

    def matches(self, failure: Failure) -> bool:
        """Tell whether the row speaks about this failure; an action key alone never judges a text."""
        text = " ".join((failure.text or "").split())
        if self.text is None and not self.codes and text:
            return False
        return (
            (self.text is None or self.text.search(text) is not None)
            and (not self.keys or failure.key in self.keys)
            and (not self.codes or failure.code in self.codes)
            and (not self.channels or (failure.channel or "").upper() in self.channels)
            and (self.refused is None or self.refused is failure.refused)
        )


UNKNOWN: Final = VerdictRow(
    name=UNKNOWN_ROW,
    cause=Cause.UNKNOWN,
    owner=OWNERS[Cause.UNKNOWN],
    ways=frozenset(Way),
    words="The operator gave a reason that is not in our table.",
    advice="Read the operator's words and choose a way out; add a verdict row if the text will come again.",
)


@dataclass(frozen=True, kw_only=True)
class VerdictTable:
    """Rows in order, the first that matches judges; nobody's row means unknown."""

    version: int
    rows: tuple[VerdictRow, ...]

    def judge(self, failure: Failure) -> Verdict:
        """Say what a failure means; a text that no row knows is unknown, whatever its action key."""
        row = next((row for row in self.rows if row.matches(failure)), UNKNOWN)
        ways = _allowed(row.ways, refused=failure.refused)
        return Verdict(row=row.name, cause=row.cause, owner=row.owner, ways=ways, words=row.words, advice=row.advice)

    def with_rows_before(self, rows: Iterable[VerdictRow]) -> "VerdictTable":
        """Return a table in which the given rows are asked first."""
        return VerdictTable(version=self.version, rows=(*rows, *self.rows))

    def names(self) -> frozenset[str]:
        """Return the names of all rows, without `unknown`."""
        return frozenset(row.name for row in self.rows)


def _allowed(ways: frozenset[Way], *, refused: bool) -> frozenset[Way]:
    # The operator holds nothing of a refused invoice, so nothing of it can be rerouted; what it holds is never retried.
    impossible = REROUTES if refused else frozenset({Way.RETRY})
    return (ways - impossible) | {Way.CLOSE}

"""Who may hand how many invoices to the workers: deficit round robin over the companies that have due work.

A round gives each company its weight in credit until the room is spent. Credit is in invoices and fractions of them; an
invoice is whole, so what a company could not use, or was lent, is its deficit, carried to the next round. Pure
arithmetic: knows neither clock nor database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from uuid import UUID

LEAST_WEIGHT = 0.001
"""Whatever was stored: with a weight of nothing a company would never be served at all."""
CREDIT_DIGITS = 9
"""Credit is compared after rounding: a tenth added ten times must make a whole invoice."""


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """A company with due work, as one round sees it."""

    company_id: UUID
    backlog: int
    """Due invoices, or a lower number that the round cannot exceed."""
    weight: float = 1.0
    deficit: float = 0.0
    """What the rounds before owe it (above 0) or lent it (below)."""
    in_flight: int = 0
    """Invoices that workers have, or that are on their way to them."""
    most: int | None = None
    """What cap, pace and circuits leave it now, beside what is in flight; None: no bound."""

    @property
    def limit(self) -> int:
        """How many it can be given at most."""
        return max(self.backlog if self.most is None else min(self.backlog, self.most), 0)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one round gives a company."""

    invoices: int
    deficit: float
    """To be carried to the next round; between minus and plus one chunk."""


def share_out(
    claimants: Sequence[Claimant], *, room: int, window: int | None = None, chunk: int = 1
) -> dict[UUID, Share]:
    """Share room for invoices among companies in proportion to their weights; nobody gets more than its limit.

    Who has no more than its share gets it all; the others get whole chunks in turn, and what is lent is paid back by
    waiting: room that is freed by a few answers at a time would else go out in pieces of one, a message each.
    With `window` (what may be in flight of all) those below their share of it come first, so that a company whose
    uploads are slow and fill the window does not take turns with one that has nothing in it. Room that nobody else
    can use goes to whoever can.
    """
    shares = {each.company_id: Share(invoices=0, deficit=each.deficit) for each in claimants}
    limits = {each.company_id: each.limit for each in claimants}
    if window is not None:
        below = _below_their_share(claimants, window=window, chunk=chunk)
        first = {key: min(limit, below[key]) for key, limit in limits.items()}
        _round(claimants, shares, first, room=room, chunk=chunk)
    used = sum(share.invoices for share in shares.values())
    left = {key: limit - shares[key].invoices for key, limit in limits.items()}
    _round(claimants, shares, left, room=room - used, chunk=chunk)
    return shares


def jain_index(shares: Iterable[float]) -> float:
    """Return Jain's index of fairness: 1 when all shares are equal, 1/n when one of n has everything.

    For weighted sharing give it each share divided by its weight. Nothing shared among nobody is fair: 1.
    Source: R. Jain, D. Chiu, W. Hawe, DEC-TR-301 (1984), section 3.
    """
    given = list(shares)
    squares = sum(share * share for share in given)
    return sum(given) ** 2 / (len(given) * squares) if squares else 1.0


def _below_their_share(claimants: Sequence[Claimant], *, window: int, chunk: int) -> dict[UUID, int]:
    # Who is stopped altogether takes no part: the window is for the others.
    weights = sum(_weight(each) for each in claimants if each.limit > 0) or 1.0
    # One more than the share: a deficit carried over must not be cut off by it.
    shares = {each.company_id: max(ceil(window * _weight(each) / weights) + 1, chunk) for each in claimants}
    return {each.company_id: max(shares[each.company_id] - each.in_flight, 0) for each in claimants}


def _round(
    claimants: Sequence[Claimant],
    shares: dict[UUID, Share],
    limits: Mapping[UUID, int],
    *,
    room: int,
    chunk: int,
) -> None:
    takers = [each for each in claimants if limits[each.company_id] > 0]
    if room <= 0 or not takers:
        return
    if sum(limits[each.company_id] for each in takers) <= room:
        for each in takers:
            _add(shares, each, limits[each.company_id], deficit=0.0)
        return
    deficits = {each.company_id: shares[each.company_id].deficit for each in takers}
    level = _credit_per_weight(takers, deficits, limits, room=room)
    credit_of = {each.company_id: deficits[each.company_id] + level * _weight(each) for each in takers}
    given = _whole(credit_of, limits, room=room, chunk=chunk)
    for each in takers:
        key = each.company_id
        # Who is stopped by a limit could not have used more: saved up, that credit would come as a burst later.
        is_limited = credit_of[key] >= limits[key] == given[key]
        _add(shares, each, given[key], deficit=0.0 if is_limited else _bounded(credit_of[key] - given[key], chunk))


def _add(shares: dict[UUID, Share], each: Claimant, invoices: int, *, deficit: float) -> None:
    shares[each.company_id] = Share(invoices=shares[each.company_id].invoices + invoices, deficit=deficit)


def _credit_per_weight(
    takers: Sequence[Claimant], deficits: Mapping[UUID, float], limits: Mapping[UUID, int], *, room: int
) -> float:
    """Return the credit per weight at which the usable credit of all makes up the room.

    What a company can use grows with the credit from where its debt is paid to where it meets its limit; so the sum is
    made of straight pieces, and the search goes from corner to corner.
    """
    corners: list[tuple[float, float]] = []
    used = 0.0
    for each in takers:
        weight, deficit, limit = _weight(each), deficits[each.company_id], limits[each.company_id]
        used += min(max(deficit, 0.0), limit)
        corners.append((max(-deficit / weight, 0.0), weight))
        corners.append((max((limit - deficit) / weight, 0.0), -weight))
    # Where the room does not even pay what is owed, nobody gets new credit, and nobody loses any.
    level = slope = 0.0
    if used >= room:
        return level
    for corner, change in sorted(corners):
        if slope > 0 and used + slope * (corner - level) >= room:
            return level + (room - used) / slope
        used += slope * (corner - level)
        level, slope = corner, slope + change
    return level


def _whole(credit_of: Mapping[UUID, float], limits: Mapping[UUID, int], *, room: int, chunk: int) -> dict[UUID, int]:
    usable = {key: round(min(max(credit, 0.0), limits[key]), CREDIT_DIGITS) for key, credit in credit_of.items()}
    given: dict[UUID, int] = {}
    left = room
    for key in sorted(usable, key=lambda key: (-usable[key], key)):
        wanted = limits[key] if usable[key] >= limits[key] else floor(usable[key] / chunk) * chunk
        given[key] = min(wanted, left)
        left -= given[key]
    # The largest rests are filled up to a chunk; among equals the smaller UUID, which is in debt afterwards.
    for key in sorted(given, key=lambda key: (given[key] - usable[key], key)):
        more = min(chunk, limits[key] - given[key], left)
        given[key] += more
        left -= more
    return given


def _bounded(deficit: float, chunk: int) -> float:
    return round(min(max(deficit, -float(chunk)), float(chunk)), CREDIT_DIGITS)


def _weight(claimant: Claimant) -> float:
    return max(claimant.weight, LEAST_WEIGHT)

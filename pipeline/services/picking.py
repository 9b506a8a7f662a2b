"""Which due invoices go to the workers now: fair shares within what the window, caps, pace and circuits leave.

Reads and locks inside the pump's transaction; hands nothing out itself.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.fairness import Claimant, Share, share_out
from pipeline.services.allowance import HORIZON, NOTHING, Allowances, read_allowances
from pipeline.settings import Settings
from pipeline.storage import dispatching
from pipeline.storage.dispatching import Contender, DueInvoice, InFlight

EXPRESS_INVOICES = 10
"""A company with no more than this goes by the express queue. So many are handed out beyond a full window too, among
companies that have little and nothing in flight, at least one for each: a month end whose uploads are slow does not
keep another's single invoice waiting. Where all that is in flight is slow, companies with more have so many too."""
PIECES_AT_A_LIMIT = 8
BACKLOG_FACTOR = 2
"""How far beyond its share of the room a company's due invoices are counted: others may leave it theirs. What is cut
off by this is handed out in the pump's next round."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Locked invoices, those of a company in the order in which they are to go."""

    invoices: Sequence[DueInvoice] = ()
    names: Mapping[UUID, str] = field(default_factory=dict)
    """Of the companies, by id."""
    express: frozenset[UUID] = frozenset()
    """The companies that have little."""
    is_last: bool = False
    """Nothing more can be picked before something changes: all that is due was, or there is no room for more."""


def pick(session: Session, settings: Settings, *, now: datetime) -> Picked:
    """Lock what may be handed out now, and keep what each company is owed for the next round.

    Raises: ConfigurationError for a wrong operator URL.
    """
    flying = dispatching.count_in_flight(session, now=now, horizon=HORIZON)
    allowances = read_allowances(session, settings, now, in_flight=flying)
    contenders = dispatching.find_contenders(session, now=now, little=EXPRESS_INVOICES + 1)
    room, takers = _room_and_takers(contenders, flying, allowances, settings)
    if allowances.total is not None:
        room = min(room, allowances.total)
    # One company's trouble alone may have opened the host's circuit; its doubts must not be all that is ever asked.
    takers = [each for each in takers if each.id not in allowances.failing] or takers
    canaries = _pick_canaries(session, takers, allowances, room=room, now=now)
    waiting = [each for each in takers if each.id not in {canary.company_id for canary in canaries}]
    room = 0 if canaries and allowances.is_canary else room - len(canaries)
    shares, due = _share(session, settings, waiting, flying, allowances, room=room, now=now)
    _keep_deficits(session, contenders, shares)
    others = dispatching.pick_due(session, {key: share.invoices for key, share in shares.items()}, now=now)
    is_usual = not (canaries or allowances.is_canary)
    return Picked(
        is_last=is_usual and _is_last(contenders, due, others, flying=flying, allowances=allowances, settings=settings),
        invoices=[*canaries, *others],
        names={each.id: each.name for each in takers},
        express=frozenset(
            each.id for each in takers if each.backlog + flying.get(each.id, NOTHING).whole <= EXPRESS_INVOICES
        ),
    )


def _room_and_takers(
    contenders: Sequence[Contender], flying: Mapping[UUID, InFlight], allowances: Allowances, settings: Settings
) -> tuple[int, list[Contender]]:
    """Return how much room the window has, and for whom."""
    window = settings.window_chunks * settings.chunk_invoices
    room = window - sum(each.whole for each in flying.values())
    takers = [each for each in contenders if each.backlog > 0 and _most(each, flying, allowances) != 0]
    if room < min(settings.chunk_invoices, window // 2) and not _fits(takers, room):
        much = _room_for_much(contenders, flying, chunk=settings.chunk_invoices)
        return _beyond_the_window(takers, flying, room=max(room, 0), much=much)
    return room, takers


def _is_last(
    contenders: Sequence[Contender],
    due: Mapping[UUID, int],
    picked: Sequence[DueInvoice],
    *,
    flying: Mapping[UUID, InFlight],
    allowances: Allowances,
    settings: Settings,
) -> bool:
    """Tell whether the next round, with this one's invoices in flight, would find nothing to hand out."""
    given = Counter(each.company_id for each in picked)
    left = [replace(each, backlog=max(due.get(each.id, each.backlog) - given[each.id], 0)) for each in contenders]
    more = {key: InFlight(whole=count, fresh=count, on_the_way=count) for key, count in given.items()}
    room, takers = _room_and_takers(left, _together(flying, more), allowances, settings)
    return room <= 0 or not takers


def _together(one: Mapping[UUID, InFlight], other: Mapping[UUID, InFlight]) -> dict[UUID, InFlight]:
    return {key: one.get(key, NOTHING).plus(other.get(key, NOTHING)) for key in {*one, *other}}


def _fits(takers: Sequence[Contender], room: int) -> bool:
    little = all(each.backlog <= EXPRESS_INVOICES for each in takers)
    return little and sum(each.backlog for each in takers) <= room


def _room_for_much(contenders: Sequence[Contender], flying: Mapping[UUID, InFlight], *, chunk: int) -> int:
    """Return what is left of the one chunk that those with much have even where others fill the window for ever."""
    much = {each.id for each in contenders if each.backlog > EXPRESS_INVOICES}
    theirs = sum(mine.whole for key, mine in flying.items() if key in much or mine.whole > EXPRESS_INVOICES)
    return chunk - theirs if 2 * theirs <= chunk else 0


def _beyond_the_window(
    takers: Sequence[Contender], flying: Mapping[UUID, InFlight], *, room: int, much: int
) -> tuple[int, list[Contender]]:
    """Return the room where there is none for a whole chunk, and for whom: the others wait until there is.

    Each group of answers frees a few places; handed out at once, they would be chunks of one or two for ever.
    """
    idle = [each for each in takers if each.id not in flying]
    little = [each for each in idle if each.backlog <= EXPRESS_INVOICES]
    beside = [each for each in takers if each.backlog > EXPRESS_INVOICES] if much else []
    if little:
        return max(room + EXPRESS_INVOICES, len(little)) + (much if beside else 0), little + beside
    if beside:
        return room + much, beside
    is_stale = not any(each.fresh for each in flying.values())
    return (room + EXPRESS_INVOICES, idle) if is_stale else (0, [])


def _most(each: Contender, flying: Mapping[UUID, InFlight], allowances: Allowances) -> int | None:
    mine = flying.get(each.id, NOTHING)
    cap = None if each.cap is None else max(each.cap - mine.whole, 0)
    # What hangs in the air since before the hold does not keep a trial from beginning.
    trial = max(1 - mine.fresh, 0) if each.is_on_trial else None
    return min((bound for bound in (cap, trial, allowances.left(each.id)) if bound is not None), default=None)


def _pick_canaries(
    session: Session, takers: Sequence[Contender], allowances: Allowances, *, room: int, now: datetime
) -> list[DueInvoice]:
    """Pick what is in doubt of whom one exchange is wanted; where nothing is, the usual order has the canary."""
    if room <= 0:
        return []
    if allowances.is_canary:
        groups = [[each.id for each in takers]]
    else:
        groups = [[each.id] for each in takers if each.id in allowances.canaries][:room]
    found = (dispatching.pick_doubt(session, group, now=now) for group in groups)
    return [canary for canary in found if canary is not None]


def _share(
    session: Session,
    settings: Settings,
    takers: Sequence[Contender],
    flying: Mapping[UUID, InFlight],
    allowances: Allowances,
    *,
    room: int,
    now: datetime,
) -> tuple[dict[UUID, Share], dict[UUID, int]]:
    """Return the shares, and what is due of those with much, counted to one more than a share can be."""
    if room <= 0 or not takers:
        return {}, {}
    claimants = [
        Claimant(
            company_id=each.id,
            backlog=each.backlog,
            weight=each.weight,
            deficit=each.deficit,
            in_flight=flying.get(each.id, NOTHING).whole,
            most=_most(each, flying, allowances),
        )
        for each in takers
    ]
    weights = sum(each.weight for each in claimants) or 1.0
    much = {
        each.company_id: math.ceil(BACKLOG_FACTOR * room * each.weight / weights) + settings.chunk_invoices
        for each in claimants
        if each.backlog > EXPRESS_INVOICES
    }
    due = dispatching.count_backlogs(session, {key: most + 1 for key, most in much.items()}, now=now)
    backlogs = {key: min(count, much[key]) for key, count in due.items()}
    claimants = [replace(each, backlog=backlogs.get(each.company_id, each.backlog)) for each in claimants]
    chunk = settings.chunk_invoices
    if allowances.total is not None:
        # At a limit messages are few anyway: smaller pieces let more companies have their turn in each second.
        chunk = min(chunk, max(room // PIECES_AT_A_LIMIT, 1))
    window = settings.window_chunks * settings.chunk_invoices
    return share_out(claimants, room=room, window=window, chunk=chunk), due


def _keep_deficits(session: Session, contenders: Sequence[Contender], shares: Mapping[UUID, Share]) -> None:
    # Who has nothing due is owed nothing.
    now_owed = {each.id: 0.0 for each in contenders if each.backlog == 0}
    now_owed |= {key: share.deficit for key, share in shares.items()}
    before = {each.id: each.deficit for each in contenders}
    dispatching.save_deficits(session, {key: owed for key, owed in now_owed.items() if owed != before[key]})

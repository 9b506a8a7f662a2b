"""Who will miss the cut-off at the present speed, and when each batch is through. From counters; scans no invoices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.cut_off import Ending, Group, run_off
from pipeline.services.forecast import Flow, shown
from pipeline.storage.companies import Company
from pipeline.storage.forecasting import ToSend, read_to_send


@dataclass(frozen=True, kw_only=True)
class Missing:
    """How many will be too late, and how many are."""

    will_miss: int
    late: int
    first_at: datetime | None
    """The earliest of the cut-offs that will be missed; None when none will."""

    def __bool__(self) -> bool:
        return bool(self.will_miss or self.late)


@dataclass(frozen=True, kw_only=True)
class CutOffs:
    """How everything that is still to be accepted goes, company by company, at one instant."""

    at: datetime
    endings: Mapping[UUID, tuple[Ending, ...]]

    def missing(self, company_id: UUID | None = None, *, batch_id: int | None = None) -> Missing:
        """Count who is too late: of everybody, one company, or one batch of it."""
        chosen = [each for each in self._chosen(company_id, batch_id) if each.will_miss or each.late]
        missed = [each.group.deadline for each in chosen if each.will_miss and each.group.deadline is not None]
        return Missing(
            will_miss=sum(each.will_miss for each in chosen),
            late=sum(each.late for each in chosen),
            first_at=min(missed, default=None),
        )

    def finish_at(self, company_id: UUID, batch_id: int) -> datetime | None:
        """Return when the last of a batch will have been accepted; None: cannot be said, or nothing is left."""
        ends = [each.finish_at for each in self._chosen(company_id, batch_id)]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None

    def _chosen(self, company_id: UUID | None, batch_id: int | None) -> list[Ending]:
        companies = self.endings.values() if company_id is None else [self.endings.get(company_id, ())]
        return [each for endings in companies for each in endings if batch_id in (None, each.group.batch_id)]


def read_cut_offs(session: Session, flow: Flow, *, companies: Sequence[Company], now: datetime) -> CutOffs:
    """Reckon on from the forecast: inside a company's share by priority, then deadline, then age."""
    groups: dict[UUID, list[Group]] = defaultdict(list)
    for each in read_to_send(session, now=now):
        groups[each.company_id].append(_group(each))
    runs = flow.forecast.run_of
    endings = {}
    for company in companies:
        run = None if company.hold_reason is not None else runs.get(str(company.id))
        endings[company.id] = tuple(
            run_off(
                groups.get(company.id, []),
                at=now,
                starts_at=run.starts_at if run else None,
                per_second=run.per_second if run else None,
            )
        )
    return CutOffs(at=now, endings=endings)


def tell_missing(missing: Missing, now: datetime) -> str | None:
    """Put who is too late in words, for one line; None when nobody is."""
    parts = []
    if missing.will_miss:
        first = f", the first at {shown(missing.first_at, now)}" if missing.first_at else ""
        parts.append(f"{missing.will_miss:,} will miss the cut-off at the present speed{first}")
    if missing.late:
        parts.append(f"{missing.late:,} have missed it and are still to be accepted")
    return "; ".join(parts) or None


def _group(each: ToSend) -> Group:
    return Group(
        batch_id=each.batch_id,
        invoices=each.invoices,
        priority=each.priority,
        deadline=each.deadline,
        not_before=each.not_before,
        came_at=each.came_at,
    )

"""Looks after batches: adds up their books, tells each completion once, and warns before cut-offs are missed.

Rung with the other watches, one at a time in the fleet. Changes no invoice.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from pipeline.services.cut_offs import Missing, read_cut_offs, tell_missing
from pipeline.services.forecast import read_flow
from pipeline.settings import Settings
from pipeline.storage import alarms, batches
from pipeline.storage.batches import Batch
from pipeline.storage.companies import Company, list_companies
from pipeline.storage.database import Database
from pipeline.storage.tallies import read_tallies

CUT_OFF = "cut_off"
QUIET = timedelta(hours=24)
"""A batch that nobody closes counts as closed when so long nothing came: its completion is to be told some day."""

log = logging.getLogger(__name__)


def tend_batches(database: Database, *, now: datetime, limit: int) -> int:
    """Fold what changed and record which batches are complete; return how many changes there were."""
    with database.transaction() as session:
        folded = batches.fold_batches(session, limit=limit)
    # Apart, as it locks batches against those who submit: they wait for a moment, and not for the folding.
    with database.transaction() as session:
        completed = batches.complete_batches(session, now=now, quiet_since=now - QUIET)
    for batch in completed:
        _tell_completed(batch)
    return folded


class CutOffWatch:
    """Remembers from look to look who was about to miss a cut-off, so that one slow moment alarms nobody."""

    def __init__(self) -> None:
        self._missing: frozenset[UUID] = frozenset()

    def look(self, session: Session, settings: Settings, *, now: datetime) -> None:
        """Raise the alarms of companies that will miss cut-offs in this look as in the last, end the others."""
        companies = list_companies(session)
        flow = read_flow(session, settings, tallies=read_tallies(session), companies=companies, now=now)
        found = read_cut_offs(session, flow, companies=companies, now=now)
        missing = {each.id: (each, missed) for each in companies if (missed := found.missing(each.id))}
        for company_id in self._missing & missing.keys():
            self._tell(session, *missing[company_id], now=now)
        self._missing = frozenset(missing)
        still = {str(company_id) for company_id in missing}
        for subject in alarms.end_alarms(session, CUT_OFF, still=still, now=now):
            log.info("nobody misses the cut-off any more", extra={"event": "cut_off_ended", "company": subject})

    def _tell(self, session: Session, company: Company, missing: Missing, *, now: datetime) -> None:
        told = (
            f"of {company.name}, {tell_missing(missing, now)}. What to do: postiljon pace tells what limits the speed; "
            "more sending processes, a higher limit or weight (postiljon company limit) or letting others wait help"
        )
        if alarms.raise_alarm(session, CUT_OFF, str(company.id), told=told, now=now, company_id=company.id):
            log.error("cut-offs will be missed", extra={"event": CUT_OFF, "company": str(company.id)})


def _tell_completed(batch: Batch) -> None:
    balance = batch.balance
    extra = {
        "event": "batch_completed",
        "batch": batch.name,
        "batch_id": batch.id,
        "company": str(batch.company_id),
        "total": batch.completed_total,
        "delivered": balance.delivered,
        "failed": balance.failed,
        "cancelled": balance.cancelled,
        "superseded": balance.superseded,
    }
    log.info("batch completed", extra=extra)

"""What a round of the dispatcher has to see to beside handing out, told by one look. Changes nothing."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session

from pipeline.storage.dispatching import DUE
from pipeline.storage.holding import TO_HOLD, TO_LET_GO_ON

HAS_HELD = f"EXISTS ({TO_HOLD}) OR EXISTS ({TO_LET_GO_ON})"
LOOK = text(f"""
    SELECT EXISTS (SELECT 1 FROM invoice_open WHERE state = 'sending' AND lease_until <= :now) AS has_expired,
        {HAS_HELD} AS has_held
""")
IS_WANTED = text(f"""
    SELECT EXISTS (SELECT 1 FROM company WHERE hold_reason IS NULL
        AND EXISTS (SELECT 1 FROM invoice_open WHERE company_id = company.id AND {DUE})) OR {HAS_HELD}
""")


@dataclass(frozen=True, kw_only=True)
class Chores:
    """What waits for the dispatcher; nearly always nothing, so that statements which would move nothing are saved."""

    has_expired: bool
    """A lease is over that somebody held while sending."""
    has_held: bool
    """Invoices of a held company are to be held, or of one that is well to go on."""


def look(session: Session, *, now: datetime) -> Chores:
    """Look what is to be seen to."""
    row = session.connection().execute(LOOK, {"now": now}).one()
    return Chores(has_expired=row.has_expired, has_held=row.has_held)


def is_wanted(session: Session, *, now: datetime) -> bool:
    """Tell whether anything waits to be handed out, to be held or to go on."""
    return bool(session.connection().execute(IS_WANTED, {"now": now}).scalar_one())

"""One batch as a person plans by it: progress, when it will be through, who will be too late, and what holds it up."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from pipeline.domain.circuit import CircuitState, tell
from pipeline.domain.errors import UnknownBatchError
from pipeline.domain.state import State
from pipeline.domain.turnstile import Lane
from pipeline.services.arming import why_disarmed
from pipeline.services.cut_offs import Missing, read_cut_offs
from pipeline.services.forecast import TO_SEND, Flow, read_flow, shown
from pipeline.services.lines import AnyLine, Line
from pipeline.settings import Settings
from pipeline.storage import batches, cancelling
from pipeline.storage.batches import Batch, find_batch
from pipeline.storage.cancelling import Cancelled
from pipeline.storage.clock import read_clock
from pipeline.storage.companies import Company, find_company, list_companies
from pipeline.storage.database import Database, is_storable
from pipeline.storage.tallies import read_tallies

CANCEL_PIECE = 2000
"""Invoices cancelled in one transaction: no worker waits long for their locks."""


@dataclass(frozen=True, kw_only=True)
class BatchLook:
    """A batch at one instant."""

    at: datetime
    batch: Batch
    states: Mapping[State, int]
    to_send: int
    """Still to be accepted by the operator."""
    accepted_by: datetime | None
    """When the last of them will have been accepted at the present speed; None: none is left, or it cannot be said."""
    missing: Missing
    waits_for: tuple[str, ...]
    """What holds it up, each in one line; empty where everything goes on by itself at once."""


def look_at_batch(session: Session, settings: Settings, batch: Batch) -> BatchLook:
    """Look at a batch; reads counters and small tables alone."""
    now = read_clock(session)
    companies = list_companies(session)
    flow = read_flow(session, settings, tallies=read_tallies(session), companies=companies, now=now)
    ahead = read_cut_offs(session, flow, companies=companies, now=now)
    states = batches.read_states(session, batch)
    to_send = sum(states.get(state, 0) for state in TO_SEND)
    owner = next(each for each in companies if each.id == batch.company_id)
    disarmed = why_disarmed(session, settings) if to_send else None
    return BatchLook(
        at=now,
        batch=batch,
        states=states,
        to_send=to_send,
        accepted_by=ahead.finish_at(batch.company_id, batch.id) if to_send else None,
        missing=ahead.missing(batch.company_id, batch_id=batch.id),
        waits_for=tuple(_waits_for(batch, flow, owner, to_send=to_send, disarmed=disarmed, now=now)),
    )


class BatchRun:
    """The batches that one run of submissions adds to: none of them is complete before the run ends."""

    def __init__(self, database: Database, *, company: UUID | str) -> None:
        self._database = database
        self._company = company
        self._names: set[str] = set()

    def begin(self, name: str | None) -> None:
        """Say that submissions under a batch's name come; harmless when said again. Raises: UnknownCompanyError."""
        if name is None or name in self._names:
            return
        self._names.add(name)
        with self._database.transaction() as session:
            owner = find_company(session, self._company)
            if is_storable(name):  # else the first submission refuses it, and says so
                batches.reopen_batch(session, owner.id, name)

    def begin_for(self, lines: Iterable[AnyLine]) -> Iterator[AnyLine]:
        """Yield the lines, and begin with the batches that they name themselves."""
        for line in lines:
            if isinstance(line, Line):
                self.begin(line.terms.batch)
            yield line

    def end(self) -> None:
        """Say that the run came to its end with everything submitted: no more is expected under its batches' names.

        Where all was known before, without the batch, there is none, and nothing to close. Raises: UnknownCompanyError.
        """
        for name in sorted(self._names):
            with self._database.transaction() as session, suppress(UnknownBatchError):
                owner = find_company(session, self._company)
                close(session, company_id=owner.id, name=name, now=read_clock(session))


def close(session: Session, *, company_id: UUID, name: str, now: datetime) -> bool:
    """Say that no more is expected under a batch's name, so that its completion can be told.

    Harmless when called twice, False then; joins the session's transaction. Raises: UnknownBatchError.
    """
    return batches.close_batch(session, find_batch(session, name, company_id=company_id).id, now=now)


def cancel_batch(database: Database, batch_id: int) -> Iterator[Sequence[Cancelled]]:
    """Cancel, piece by piece, what never left of a batch; yields what became of each piece."""
    after: UUID | None = None
    while True:
        with database.transaction() as session:
            piece = cancelling.next_of_batch(session, batch_id, after=after, limit=CANCEL_PIECE)
            if not piece:
                return
            verdicts = cancelling.cancel_invoices(session, piece, now=read_clock(session))
        after = piece[-1]
        yield verdicts


def _waits_for(
    batch: Batch, flow: Flow, owner: Company, *, to_send: int, disarmed: str | None, now: datetime
) -> Iterator[str]:
    if disarmed is not None:
        yield disarmed
    if owner.hold_reason is not None and batch.balance.open + batch.balance.held:
        yield f"the company is on hold: {owner.hold_reason}; {owner.hold_advice or 'postiljon company list'}"
    elif batch.balance.held:
        yield f"{batch.balance.held:,} are held: postiljon list --state held --batch '{batch.name}' says why"
    if to_send:
        yield from _stops(flow, owner, now=now)
        if batch.not_before is not None and batch.not_before > now:
            yield f"not all may leave before {shown(batch.not_before, now)}"
    if batch.closed_at is None and not batch.balance.open + batch.balance.held:
        yield "more may come under its name: postiljon batch close, or a day without any, completes it"


def _stops(flow: Flow, owner: Company, *, now: datetime) -> Iterator[str]:
    for scope, name in ((flow.host, None), (str(owner.id), owner.name)):
        circuit = flow.circuits.get(scope)
        if circuit is not None and circuit.state is not CircuitState.CLOSED:
            yield tell(circuit, company_name=name)
        pace = flow.paces.get((scope, Lane.UPLOAD))
        if pace is not None and pace.blocked_until is not None and pace.blocked_until > now:
            yield f"the operator asked for a pause until {shown(pace.blocked_until, now)}: postiljon pace"

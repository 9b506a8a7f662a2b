"""One way out on its way: asking the operator to reroute, and settling by reading what an unclear answer left open.

A reroute is not known to be idempotent. So: proof that the invoice is still failed, then the intent committed, then the
request; and after an answer that is no clear yes, only the operator's status and actions say whether it happened.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlmodel import Session

from pipeline.domain.operator_action import OperatorAction
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.state import State
from pipeline.services.arming import why_disarmed
from pipeline.services.route_means import Means, say_failure, wait_longer
from pipeline.storage import ways_ending, ways_taking
from pipeline.storage.ways_taking import ClaimedWay

FAILED = "FAILED"
MOST_ASKS = 3
ASK_SECONDS = 120.0
"""How long we wait for the answer to a reroute in all ..."""
ASK_LEASE = timedelta(seconds=180)
"""... and how long nobody else may settle it meanwhile: longer, so that no request is in the air then."""
WAIT_SECONDS = 10.0
SETTLE_LOOK_SECONDS = 5.0
FOLLOW_AFTER = timedelta(seconds=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the operator shows of an invoice."""

    status: str
    actions: Sequence[OperatorAction]


@dataclass(frozen=True, kw_only=True)
class Taking:
    """A claimed way out and what it is carried out with."""

    means: Means
    claimed: ClaimedWay

    async def reroute(self) -> str:
        """Ask for the reroute, or settle an earlier ask; return the name of what came of it."""
        evidence = await self._read()
        if isinstance(evidence, Outcome):
            return await self.put_off(evidence)
        if self.claimed.asked > 0:
            return await self._settle(evidence)
        if evidence.status != FAILED:
            return await self.skip(f"the operator says {evidence.status} already: nothing to reroute")
        return await self._ask(evidence)

    async def read_status(self) -> str | Outcome:
        """Return the operator's status of the invoice; one it does not show is an open question."""
        credentials = await self.means.credentials(self.claimed.company_id)
        seen = await self.means.operator.statuses(credentials, [self.claimed.invoice_id])
        if isinstance(seen, Outcome):
            return seen
        sighting = seen.get(self.claimed.invoice_id)
        if sighting is None:
            return Outcome(kind=OutcomeKind.IN_DOUBT, message="the operator does not show the invoice")
        return sighting.status

    async def skip(self, words: str) -> str:
        """End it because there is nothing to be done any more."""
        now = self.means.clock()
        return await self.end(
            lambda session: ways_ending.end_skipped(
                session, self.claimed, words=words, look_at=now + FOLLOW_AFTER, now=now
            ),
            "skipped",
        )

    async def refuse(self, words: str) -> str:
        """End it because it leads nowhere, and have a person decide."""
        now = self.means.clock()
        return await self.end(
            lambda session: ways_ending.end_refused(session, self.claimed, words=words, now=now), "refused"
        )

    async def put_off(self, failure: Outcome, *, taken_back: bool = False) -> str:
        """Come back to it later, or have a person decide when that has gone on for the whole retry budget.

        `taken_back`: the latest ask does not count, for it did not happen or is settled together with the one before.
        """
        now, claimed, settings = self.means.clock(), self.claimed, self.means.settings
        words = say_failure(failure)
        budget = timedelta(seconds=settings.retry_budget_seconds)
        if failure.held_back_seconds is None and now >= claimed.planned_at + budget:
            return await self.refuse(f"{'nobody knows whether it happened' if claimed.asked else 'not done'}: {words}")
        asked = claimed.asked - 1 if taken_back else claimed.asked
        since = claimed.asked_at if asked and claimed.asked_at else claimed.planned_at
        again = wait_longer(since, now=now, least=SETTLE_LOOK_SECONDS if asked else WAIT_SECONDS, failure=failure)

        def write(session: Session) -> bool:
            self.means.hold_if_stopped(session, claimed.company_id, failure, now=now)
            return ways_taking.put_off_way(session, claimed, asked=asked, again=again, words=words)

        return await self.end(write, "unclear" if asked else "put_off")

    async def end(self, write: Callable[[Session], bool], name: str) -> str:
        """Write how it went and return the name; "late" when another worker has it by now."""
        if await self.means.write(write):
            return name
        extra = {"event": "late_writer", "invoice": str(self.claimed.invoice_id), "epoch": self.claimed.epoch}
        log.warning("came too late and changed nothing", extra=extra)
        return "late"

    async def _read(self) -> Evidence | Outcome:
        status = await self.read_status()
        if isinstance(status, Outcome):
            return status
        if status != FAILED:
            return Evidence(status=status, actions=())
        credentials = await self.means.credentials(self.claimed.company_id)
        actions = await self.means.operator.actions(credentials, self.claimed.invoice_id)
        return actions if isinstance(actions, Outcome) else Evidence(status=status, actions=actions)

    async def _ask(self, evidence: Evidence) -> str:
        now, before = self.means.clock(), len(evidence.actions)

        def intend(session: Session) -> str | None:
            if why_disarmed(session, self.means.settings) is not None:
                return "disarmed"  # as it is: taken again after the lease, and by nobody before the next arming
            may = ways_taking.intend(session, self.claimed, actions=before, now=now, until=now + ASK_LEASE)
            return None if may else "late"

        if (obstacle := await self.means.write(intend)) is not None:
            return obstacle
        asked = replace(self.claimed, asked=self.claimed.asked + 1, asked_at=now, actions_before=before)
        return await replace(self, claimed=asked).hear(await self._request())

    async def _request(self) -> Outcome | None:
        claimed = self.claimed
        credentials = await self.means.credentials(claimed.company_id)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self.means.operator.reroute(
                    credentials, claimed.invoice_id, way=claimed.way, fields=claimed.fields
                )
        except TimeoutError:
            return Outcome(kind=OutcomeKind.IN_DOUBT, message=f"no answer in {ASK_SECONDS:.0f} seconds")

    async def hear(self, answer: Outcome | None) -> str:
        """Record what the operator answered to the ask just made (None: taken), reading where that is no clear yes."""
        if answer is None:
            return await self._done("the operator took it")
        # A connection that never came about, or credentials not let in: nothing can have happened.
        if answer.kind is OutcomeKind.UNAUTHORIZED or (
            answer.kind is OutcomeKind.UNAVAILABLE and answer.http_status is None
        ):
            return await self.put_off(answer, taken_back=True)
        if answer.kind is OutcomeKind.REFUSED:
            return await self._check_refusal(answer)
        # Told to come later: settled by reading like any other, but it uses up none of the asks.
        is_closed = answer.kind in {OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE}
        return await self._unclear(answer, taken_back=is_closed and self.claimed.asked > 1)

    async def _check_refusal(self, refusal: Outcome) -> str:
        # An earlier ask of ours may be why it is refused now, so the operator's word is checked like any other.
        evidence = await self._read()
        if not isinstance(evidence, Outcome) and self._happened(evidence):
            return await self._done("the operator shows that it happened", evidence=evidence)
        if isinstance(evidence, Outcome) or self.claimed.asked > 1:
            return await self._unclear(refusal)
        return await self.refuse(f"the operator refused it: {say_failure(refusal)}")

    async def _settle(self, evidence: Evidence) -> str:
        claimed = self.claimed
        if self._happened(evidence):
            return await self._done("the operator shows that it happened", evidence=evidence)
        settle = timedelta(seconds=self.means.settings.reroute_settle_seconds)
        heard = claimed.outcome or "nobody lived to tell the answer"
        if claimed.asked_at is None or self.means.clock() < claimed.asked_at + settle:
            return await self._unclear(Outcome(kind=OutcomeKind.IN_DOUBT, message=heard))
        if claimed.state is not State.FAILED:
            return await self.skip(f"it did not happen, and the invoice is {claimed.state} by now")
        if claimed.asked >= MOST_ASKS:
            return await self.refuse(f"no clear answer {MOST_ASKS} times, and it did not happen; the last one: {heard}")
        return await self._ask(evidence)

    async def _unclear(self, answer: Outcome, *, taken_back: bool = False) -> str:
        log.warning("reroute unclear", extra={"event": "reroute_unclear", "invoice": str(self.claimed.invoice_id)})
        return await self.put_off(answer, taken_back=taken_back)

    async def _done(self, words: str, *, evidence: Evidence | None = None) -> str:
        now, asked_at = self.means.clock(), self.claimed.asked_at
        # Failed again already: the follow-up believes only an error that came after the reroute was finished.
        failed_again = evidence is not None and evidence.status == FAILED and asked_at is not None
        finished_at = asked_at if failed_again and asked_at else now
        look_at = now if failed_again else now + FOLLOW_AFTER
        return await self.end(
            lambda session: ways_ending.end_rerouted(
                session, self.claimed, words=words, finished_at=finished_at, look_at=look_at, now=now
            ),
            "rerouted",
        )

    def _happened(self, evidence: Evidence) -> bool:
        return evidence.status != FAILED or len(evidence.actions) > self.claimed.actions_before

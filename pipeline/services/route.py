"""The reroute-or-resend queue: failures become cases, rules have their say, ways out are carried out.

A leased singleton, harmless when rung twice, late or by two beats. Knows nothing of Celery, SQL or HTTP.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

from pipeline.domain.routing import Routing
from pipeline.services.alone import Alone
from pipeline.services.decide_cases import decide_cases
from pipeline.services.open_cases import open_cases
from pipeline.services.ports import Clock, Operator
from pipeline.services.route_means import Means
from pipeline.services.take_ways import take_ways
from pipeline.services.together import finish_all
from pipeline.settings import Settings
from pipeline.storage import orders
from pipeline.storage.database import Database
from pipeline.storage.vault import Vault


class Router:
    """Sees to failures until a rule, a way out or a person has them. One runs at a time in the whole fleet."""

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        operator: Operator,
        settings: Settings,
        clock: Clock,
        routing: Callable[[], Routing],
    ) -> None:
        self._means = Means(database=database, vault=vault, operator=operator, settings=settings, clock=clock)
        self._alone = Alone(database=database, clock=clock, name="route")
        self._routing = routing

    async def run(self, holder: UUID) -> Counter[str]:
        """See to all that is due and return counts of what was done; nothing when another one is at it.

        After `resent` or `retried` the dispatcher has work. Safe to call twice.
        Raises: ConfigurationError when the rules cannot be used; nothing was touched then. What seeing to one failure
        raised, when all others of the round are done.
        """
        routing, counts = self._routing(), Counter[str]()

        async def work() -> int:
            return await self._round(routing, counts)

        await self._alone.run(holder, work)
        return counts

    async def _round(self, routing: Routing, counts: Counter[str]) -> int:
        means = self._means

        async def stage(work: Awaitable[tuple[int, Counter[str]]]) -> int:
            seen_to, done = await work
            counts.update(done)
            return seen_to

        stages = (open_cases(means, routing), decide_cases(means, routing), self._advance_orders(), take_ways(means))
        # One after another, and each has its turn whatever a company or a case did to the one before.
        return sum(await finish_all(map(stage, stages), at_once=1))

    async def _advance_orders(self) -> tuple[int, Counter[str]]:
        means = self._means
        await means.write(lambda session: orders.advance_orders(session, now=means.clock()))
        return 0, Counter()

"""The gate on a real PostgreSQL: several processes' gates on one table, most of the time on a simulated clock."""

import asyncio
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from pipeline.bootstrap import utc_now
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.domain.pace import USE_SECONDS, space
from pipeline.domain.turnstile import Lane
from pipeline.services.gate import Gate, host_scope
from pipeline.settings import settings_from
from pipeline.storage.companies import save_company
from pipeline.storage.database import Database
from pipeline.storage.pacing import lift
from tests.integration.services.line import START
from tests.integration.services.virtual_time import VirtualTime

UPLOAD, READ = Lane.UPLOAD, Lane.READ
THROTTLED = Outcome(kind=OutcomeKind.THROTTLED, http_status=429)
REFUSED_CONNECTION = Outcome(kind=OutcomeKind.UNAVAILABLE, error_code="refused", message="the connection was refused")


def seconds(number):
    return timedelta(seconds=number)


def settings_of(**variables):
    given = {f"POSTILJON_{name.upper()}": str(value) for name, value in variables.items()}
    return settings_from({"POSTILJON_OPERATOR_URL": "http://operator.example:8080", **given})


@pytest.fixture
def time():
    return VirtualTime()


@pytest.fixture
def company(database, vault):
    return add_company(database, vault)


def add_company(database, vault, **limits):
    company_id = uuid4()
    keys = CompanyCredentials(company_id=company_id, user_api_key="u", vendor_api_key="v")
    with database.transaction() as session:
        save_company(session, keys, name=str(company_id), vault=vault, now=START)
        for column, limit in limits.items():
            session.connection().execute(
                text(f"UPDATE company SET {column} = :limit WHERE id = :id"), {"limit": limit, "id": company_id}
            )
    return company_id


def gate_of(database, time, **variables):
    gate = Gate(
        database=database,
        settings=settings_of(**variables),
        clock=time,
        chance=lambda: 0.5,
        sleep_until=time.sleep_until,
    )
    gate._executor = time.executor()
    return gate


async def insist(gate, time, company, lane=UPLOAD, *, began, outcome=None):
    """Enter, coming again as often as one is held back; note when it was let in."""
    while (held := await gate.enter(company, lane)) is not None:
        await time.sleep_until(time() + seconds(held.held_back_seconds))
    began.append(time())
    gate.leave(company, lane, outcome)


def busiest(instants):
    ordered = sorted(instants)
    return max(sum(1 for other in ordered if 0 <= (other - first).total_seconds() < 1) for first in ordered)


def span(instants):
    return (max(instants) - min(instants)).total_seconds()


def test_host_scope_is_the_host():
    assert host_scope(settings_of()) == "operator.example"
    assert host_scope(settings_from({})) == "ax-stage.maventa.com"


def test_host_limit_of_many_gates(database, vault, time):
    """Several processes together never begin more in any second than the host's limit, and not much less either."""
    companies = [add_company(database, vault) for _ in range(3)]
    gates = [gate_of(database, time, uploads_per_second=10) for _ in range(4)]
    began = []

    async def work():
        await asyncio.gather(*(insist(gates[n % 4], time, companies[n % 3], began=began) for n in range(60)))
        await asyncio.gather(*(gate.close() for gate in gates))

    time.run(work())

    assert len(began) == 60
    assert busiest(began) <= 10
    assert span(began) < 1.5 * 60 / (10 / 1.3)


def test_limit_in_real_time_with_many_loops(database, database_url, vault):
    """On the real clock, with a loop and a pool for each gate as in processes of their own, no second is too full."""
    company = add_company(database, vault)
    began = []

    def process(number):
        own = Database(database_url)
        gate = Gate(
            database=own, settings=settings_of(uploads_per_second=15), clock=utc_now, chance=Random(number).random
        )

        async def one():
            if await gate.enter(company, UPLOAD) is None:
                began.append(utc_now())
                gate.leave(company, UPLOAD, None)

        async def work():
            end = utc_now() + seconds(2.5)
            while utc_now() < end:
                await asyncio.gather(*(one() for _ in range(7)))
            await gate.close()

        asyncio.run(work())
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(process, range(4)))

    assert busiest(began) <= 15
    assert len(began) > 15


@pytest.mark.parametrize(("limit", "least_gap"), [(1, 1.0), (0.2, 5.0)], ids=["one a second", "one in five seconds"])
def test_slow_limits(database, company, time, limit, least_gap):
    gate = gate_of(database, time, company_uploads_per_second=limit)
    began = []

    async def work():
        await asyncio.gather(*(insist(gate, time, company, began=began) for _ in range(4)))
        await gate.close()

    time.run(work())

    ordered = sorted(began)
    gaps = [(b - a).total_seconds() for a, b in pairwise(ordered)]
    assert min(gaps) >= least_gap
    assert max(gaps) < 4 * least_gap


def test_late_turn_is_forfeited(database, company, time):
    """A process that sleeps through its turn takes another one: late turns would crowd together."""
    gate = gate_of(database, time, uploads_per_second=5)
    began, lateness = [], deque([0.0, 1.0])
    punctual = time.sleep_until

    async def oversleep(at):
        await punctual(at + seconds(lateness.popleft() if lateness and at > time() else 0))

    gate._sleep_until = oversleep

    async def work():
        await asyncio.gather(*(insist(gate, time, company, began=began) for _ in range(3)))
        await gate.close()

    time.run(work())

    with database.transaction() as session:
        last = session.connection().execute(text("SELECT max(next_at) FROM pace WHERE lane = 'upload'")).scalar_one()
    assert not lateness
    assert last - space(5) <= max(began) <= last - space(5) + seconds(USE_SECONDS)
    assert min((b - a).total_seconds() for a, b in pairwise(sorted(began))) >= space(5).total_seconds() - USE_SECONDS


def test_uploads_and_reads_are_apart(database, company, time):
    gate = gate_of(database, time, uploads_per_second=1)
    uploads, reads = [], []

    async def work():
        await asyncio.gather(
            *(insist(gate, time, company, UPLOAD, began=uploads) for _ in range(3)),
            *(insist(gate, time, company, READ, began=reads) for _ in range(200)),
        )
        await gate.close()

    time.run(work())

    assert span(reads) == 0
    assert span(uploads) >= 2


def test_limited_company_delays_no_other(database, vault, time):
    """A company at its own limit with much to send leaves the host's turns to the others."""
    slow, other = add_company(database, vault, uploads_per_second=1.0), add_company(database, vault)
    gates = [gate_of(database, time, uploads_per_second=20) for _ in range(2)]
    began = {slow: [], other: []}

    async def work():
        waiting = [
            asyncio.ensure_future(insist(gate, time, slow, began=began[slow])) for gate in gates for _ in range(50)
        ]
        await time.sleep_until(time() + seconds(0.5))
        await asyncio.gather(*(insist(gates[n % 2], time, other, began=began[other]) for n in range(40)))
        for each in waiting:
            each.cancel()
        await asyncio.gather(*(gate.close() for gate in gates))

    time.run(work())

    assert span(began[other]) < 1.6 * 40 / (20 / 1.3)
    assert busiest(began[slow] + began[other]) <= 20
    assert busiest(began[slow]) <= 1


def test_long_wait_is_held_back(database, company, time):
    gate = gate_of(database, time, company_uploads_per_second=2)
    outcomes = []

    async def one():
        outcomes.append(await gate.enter(company, UPLOAD))
        if outcomes[-1] is None:
            gate.leave(company, UPLOAD, None)

    async def work():
        await asyncio.gather(*(one() for _ in range(30)))
        await gate.close()

    time.run(work())

    held = [each for each in outcomes if each is not None]
    assert 20 <= len(held) <= 28
    assert all(each.error_code == "held_back" and each.left_nothing for each in held)
    assert all(0 < each.held_back_seconds < 40 for each in held)
    assert time() - START < seconds(4)


def test_nothing_limited_costs_no_sql(database, company, time):
    """Where nothing binds, hundreds of exchanges share one look at the tables."""
    gate = gate_of(database, time)
    statements = []

    async def work():
        await gate.enter(company, UPLOAD)
        event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        for _ in range(500):
            assert await gate.enter(company, UPLOAD) is None
        assert statements == []
        await time.sleep_until(time() + seconds(1))
        await gate.enter(company, READ)

    time.run(work())

    assert len(statements) == 2


def test_retry_after_is_obeyed_by_another_process(database, company, time):
    """What one process is told by the operator, all of them keep to: not a moment earlier, and hardly later."""
    told, other = gate_of(database, time), gate_of(database, time)
    until = START + seconds(1 + 20)
    held, began = [], []

    async def work():
        for gate in (told, other):
            await gate.enter(company, UPLOAD)
            gate.leave(company, UPLOAD, None)
        await time.sleep_until(START + seconds(1))
        await told.enter(company, UPLOAD)
        told.leave(company, UPLOAD, Outcome(kind=OutcomeKind.THROTTLED, http_status=429, retry_after_seconds=20))
        held.append(await told.enter(company, READ))
        await time.sleep_until(START + seconds(1.3))
        held.extend([await other.enter(company, lane) for lane in Lane])
        held.append(await other.enter(uuid4(), UPLOAD))
        await asyncio.gather(*(insist(gate, time, company, began=began) for gate in (told, other)))
        await asyncio.gather(told.close(), other.close())

    time.run(work())

    assert [each and each.error_code for each in held] == ["held_back", "held_back", "held_back", None]
    assert held[0].held_back_seconds >= 20
    assert until <= min(began)
    assert max(began) <= until + seconds(2 + 0.5)


def test_lifted_pause_ends_in_every_process(database, company, time):
    """Who heard the Retry-After itself goes on too, once the pause is lifted in the table: not before, hardly later."""
    told, other = gate_of(database, time), gate_of(database, time)
    held = []

    async def work():
        await told.enter(company, UPLOAD)
        told.leave(company, UPLOAD, Outcome(kind=OutcomeKind.THROTTLED, http_status=429, retry_after_seconds=7200))
        await time.sleep_until(START + seconds(2))
        held.extend([await gate.enter(company, UPLOAD) for gate in (told, other)])
        with database.transaction() as session:
            assert lift(session, str(company), now=START + seconds(2))
        await time.sleep_until(START + seconds(3))
        held.extend([await gate.enter(company, UPLOAD) for gate in (told, other)])
        await asyncio.gather(told.close(), other.close())

    time.run(work())

    assert [each and each.error_code for each in held] == ["held_back", "held_back", None, None]


def test_closed_operator_stops_every_company(database, company, time):
    told, other = gate_of(database, time), gate_of(database, time)
    held = []

    async def work():
        await told.enter(company, READ)
        told.leave(company, READ, Outcome(kind=OutcomeKind.UNAVAILABLE, http_status=503, retry_after_seconds=30))
        await time.sleep_until(START + seconds(0.5))
        held.append(await other.enter(uuid4(), UPLOAD))
        await asyncio.gather(told.close(), other.close())

    time.run(work())

    assert held[0].held_back_seconds >= 29.5


def test_short_pause_is_waited_out(database, company, time):
    gate = gate_of(database, time)
    began = []

    async def work():
        await gate.enter(company, UPLOAD)
        gate.leave(company, UPLOAD, Outcome(kind=OutcomeKind.THROTTLED, http_status=429, retry_after_seconds=0.5))
        assert await gate.enter(company, UPLOAD) is None
        began.append(time())
        await gate.close()

    time.run(work())

    assert seconds(0.5) <= began[0] - START <= seconds(0.6)


def test_unknown_limit_is_found(database, company, time):
    """An operator that takes 20 a second and says so to nobody is soon asked hardly more often than that."""
    gates = [gate_of(database, time) for _ in range(2)]
    admitted, answers = deque(), []

    def answer():
        while admitted and (time() - admitted[0]).total_seconds() >= 1:
            admitted.popleft()
        if len(admitted) >= 20:
            answers.append((time(), False))
            return THROTTLED
        admitted.append(time())
        answers.append((time(), True))
        return None

    async def sender(gate):
        while time() < START + seconds(25):
            held = await gate.enter(company, UPLOAD)
            if held is not None:
                await time.sleep_until(time() + seconds(held.held_back_seconds))
                continue
            outcome = answer()
            await time.sleep_until(time() + seconds(0.05))
            gate.leave(company, UPLOAD, outcome)

    async def work():
        await asyncio.gather(*(sender(gates[n % 2]) for n in range(12)))
        await asyncio.gather(*(gate.close() for gate in gates))

    time.run(work())

    later = [ok for at, ok in answers if at > START + seconds(8)]
    assert sum(later) / 17 > 15
    assert later.count(False) / len(later) < 0.1, (
        "6 to 8 in a hundred: fewer would be taken for chance, and chance must not bind"
    )


def test_open_circuit_lets_one_canary_through(database, company, time):
    """While the operator does not answer nothing begins; then one asks for all, and its answer lets the others in."""
    gates = [gate_of(database, time, circuit_failures=5, circuit_wait_seconds=4) for _ in range(2)]
    seen = Counter()

    async def fail():
        await gates[0].enter(company, READ)
        gates[0].leave(company, READ, REFUSED_CONNECTION)

    async def canary(gate):
        held = await gate.enter(company, READ)
        if held is not None:
            seen[held.error_code] += 1
            return
        seen["asked"] += 1
        await time.sleep_until(time() + seconds(0.3))
        gate.leave(company, READ, None)

    async def work():
        await asyncio.gather(*(fail() for _ in range(8)))
        await time.sleep_until(START + seconds(1))
        held = [await gate.enter(company, UPLOAD) for gate in gates]
        assert [each.error_code for each in held] == ["circuit_open"] * 2
        assert all(2 < each.held_back_seconds <= 4.5 for each in held)
        await time.sleep_until(START + seconds(6))
        await asyncio.gather(*(canary(gates[n % 2]) for n in range(20)))
        assert seen == {"asked": 1, "circuit_open": 19}
        await time.sleep_until(START + seconds(8))
        assert await gates[1].enter(company, UPLOAD) is None
        await asyncio.gather(*(gate.close() for gate in gates))

    time.run(work())


def test_evidence_that_is_enough_counts_at_once(database, company, time):
    """Who met enough failures begins nothing more, without the pause in which answers are collected."""
    gate = gate_of(database, time, circuit_failures=5)

    async def work():
        await asyncio.gather(*(gate.enter(company, READ) for _ in range(5)))
        for _ in range(5):
            gate.leave(company, READ, REFUSED_CONNECTION)
        await asyncio.gather(*gate._keeper._hurried)
        held = await gate.enter(company, UPLOAD)
        assert (time(), held.error_code) == (START, "circuit_open")
        await gate.close()

    time.run(work())


def test_failed_canary_keeps_it_closed(database, company, time):
    gate = gate_of(database, time, circuit_failures=5, circuit_wait_seconds=4)

    async def fail():
        held = await gate.enter(company, READ)
        if held is None:
            gate.leave(company, READ, REFUSED_CONNECTION)
        return held

    async def work():
        await asyncio.gather(*(fail() for _ in range(8)))
        await time.sleep_until(START + seconds(6))
        assert await fail() is None
        await time.sleep_until(START + seconds(7))
        held = await fail()
        assert held.error_code == "circuit_open"
        assert held.held_back_seconds > 4
        await gate.close()

    time.run(work())


def test_database_away_with_nothing_limited(company, time):
    """Without a database nothing that is known to be unlimited waits."""
    gate = gate_of(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"), time)

    async def work():
        assert await gate.enter(company, UPLOAD) is None
        gate.leave(company, UPLOAD, None)
        await gate.close()

    time.run(work())


def test_database_away_with_a_limit(company, time):
    """Without a database nobody knows whose turn it is, so nothing begins and nothing raises."""
    gate = gate_of(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"), time, uploads_per_second=5)
    held = []

    async def work():
        held.append(await gate.enter(company, UPLOAD))
        await gate.close()

    time.run(work())

    assert held[0].error_code == "held_back"
    assert held[0].left_nothing


def test_canary_whose_turn_never_came_holds_up_nobody(database, company, time):
    """A canary that is cancelled while it waits for its turn leaves its place to the next one at once."""
    gate, other = (gate_of(database, time, circuit_failures=5, circuit_wait_seconds=4) for _ in range(2))

    async def work():
        for _ in range(8):
            await gate.enter(company, READ)
            gate.leave(company, READ, REFUSED_CONNECTION)
        await time.sleep_until(START + seconds(6))
        gate._keeper.block(str(company), time() + seconds(0.9))
        waiting = asyncio.ensure_future(gate.enter(company, READ))
        await time.sleep_until(time() + seconds(0.2))
        assert not waiting.done()
        waiting.cancel()
        await time.sleep_until(time() + seconds(1.5))
        assert await other.enter(company, READ) is None
        await asyncio.gather(gate.close(), other.close())

    time.run(work())


def test_canary_cancelled_while_it_is_made_holds_up_nobody(database, company, time, monkeypatch):
    """A process that ends at the very moment it becomes the canary leaves its place to the next one."""
    gate, other = (gate_of(database, time, circuit_failures=5, circuit_wait_seconds=4) for _ in range(2))
    try_for_real = gate._canaries._try

    async def work():
        for _ in range(8):
            await gate.enter(company, READ)
            gate.leave(company, READ, REFUSED_CONNECTION)
        await time.sleep_until(START + seconds(6))
        loop = asyncio.get_running_loop()
        waiting = None

        def try_and_be_cancelled(canary, now):
            won = try_for_real(canary, now)
            loop.call_soon_threadsafe(waiting.cancel)
            return won

        monkeypatch.setattr(gate._canaries, "_try", try_and_be_cancelled)
        waiting = asyncio.ensure_future(gate.enter(company, READ))
        await asyncio.wait({waiting})
        await gate.close()
        await time.sleep_until(time() + seconds(1.5))
        assert await other.enter(company, READ) is None
        await other.close()

    time.run(work())

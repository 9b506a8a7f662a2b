"""One token per company: fetched by one, early, and shared by all, within a process and across the fleet."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.credentials import AccessToken, CompanyCredentials
from pipeline.domain.outcome import Outcome, OutcomeKind
from pipeline.maventa.auth import InMemoryTokenStore, TokenSource, schedule_token
from tests.unit.maventa.fake_operator import CREDENTIALS, Clock

CLOSED = Outcome(kind=OutcomeKind.UNAVAILABLE)
STRANGER = Outcome(kind=OutcomeKind.UNAUTHORIZED)


class Fleet:
    """Processes that meet at one store, and a token endpoint that counts."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = InMemoryTokenStore(clock=self.clock)
        self.fetched = 0
        self.asked = asyncio.Event()
        self.refusal: Outcome | None = None
        self.gate: Callable[[], Awaitable[object]] | None = None

    async def grant(self, _: CompanyCredentials) -> AccessToken | Outcome:
        self.fetched += 1
        self.asked.set()
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate()
        if self.refusal is not None:
            return self.refusal
        return schedule_token(
            value=f"t{self.fetched}", scope="eui", expires_in=3600, now=self.clock(), random_share=0.0
        )

    def process(self, *, wait_seconds: float = 1.0) -> TokenSource:
        return TokenSource(
            store=self.store, grant=self.grant, clock=self.clock, wait_seconds=wait_seconds, poll_seconds=0.001
        )


async def value(source: TokenSource) -> str | OutcomeKind:
    token = await source.token(CREDENTIALS)
    return token.kind if isinstance(token, Outcome) else token.value


def test_a_hundred_callers_in_ten_processes_fetch_once() -> None:
    fleet = Fleet()

    async def run() -> list[str | OutcomeKind]:
        processes = [fleet.process() for _ in range(10)]
        return await asyncio.gather(*(value(process) for process in processes for _ in range(10)))

    assert set(asyncio.run(run())) == {"t1"}
    assert fleet.fetched == 1


def test_token_is_fetched_anew_before_it_ends() -> None:
    fleet = Fleet()

    async def run() -> list[str | OutcomeKind]:
        process, seen = fleet.process(), []
        for seconds in (0, 3299, 2):
            fleet.clock.advance(seconds)
            seen.append(await value(process))
        return seen

    assert asyncio.run(run()) == ["t1", "t1", "t2"]


def test_old_token_serves_while_another_process_fetches() -> None:
    fleet = Fleet()

    async def run() -> tuple[str | OutcomeKind, ...]:
        first, second = fleet.process(), fleet.process()
        await value(first)
        fleet.clock.advance(3400)
        opened, fleet.asked = asyncio.Event(), asyncio.Event()
        fleet.gate = opened.wait
        fetching = asyncio.ensure_future(value(first))
        await fleet.asked.wait()
        meanwhile = await value(second)
        opened.set()
        fetched = await fetching
        fleet.clock.advance(2)
        return meanwhile, fetched, await value(second)

    assert asyncio.run(run()) == ("t1", "t2", "t2")
    assert fleet.fetched == 2


def test_old_token_serves_while_the_operator_is_closed() -> None:
    fleet = Fleet()

    async def run() -> tuple[str | OutcomeKind, ...]:
        process = fleet.process()
        await value(process)
        fleet.refusal = CLOSED
        fleet.clock.advance(3400)
        near_the_end = await value(process)
        fleet.clock.advance(300)
        return near_the_end, await value(process)

    assert asyncio.run(run()) == ("t1", OutcomeKind.UNAVAILABLE)


def test_keys_that_were_withdrawn_end_the_old_token() -> None:
    fleet = Fleet()

    async def run() -> str | OutcomeKind:
        process = fleet.process()
        await value(process)
        fleet.refusal = STRANGER
        fleet.clock.advance(3400)
        return await value(process)

    assert asyncio.run(run()) is OutcomeKind.UNAUTHORIZED


def test_a_chunk_shares_one_failure() -> None:
    fleet = Fleet()
    fleet.refusal = STRANGER

    async def run() -> list[str | OutcomeKind]:
        process = fleet.process()
        return [await value(process) for _ in range(100)]

    assert set(asyncio.run(run())) == {OutcomeKind.UNAUTHORIZED}
    assert fleet.fetched == 1


def test_new_keys_are_tried_at_once_after_a_failure() -> None:
    fleet = Fleet()

    async def run() -> AccessToken | Outcome:
        process = fleet.process()
        fleet.refusal = STRANGER
        await value(process)
        fleet.refusal = None
        return await process.token(replace(CREDENTIALS, user_api_key="new"))

    assert isinstance(asyncio.run(run()), AccessToken)


def test_many_reports_of_one_bad_token_fetch_once() -> None:
    fleet = Fleet()

    async def run() -> list[str | OutcomeKind]:
        processes = [fleet.process() for _ in range(5)]
        tokens = await asyncio.gather(*(process.token(CREDENTIALS) for process in processes))

        async def report(process: TokenSource, token: AccessToken | Outcome) -> str | OutcomeKind:
            assert isinstance(token, AccessToken)
            await process.discard(CREDENTIALS, token)
            return await value(process)

        return await asyncio.gather(*(report(p, t) for p, t in zip(processes, tokens, strict=True)))

    assert set(asyncio.run(run())) == {"t2"}
    assert fleet.fetched == 2


def test_late_report_of_an_old_token_spares_the_new_one() -> None:
    fleet = Fleet()

    async def run() -> str | OutcomeKind:
        process = fleet.process()
        old = await process.token(CREDENTIALS)
        assert isinstance(old, AccessToken)
        await process.discard(CREDENTIALS, old)
        await value(process)
        await process.discard(CREDENTIALS, old)
        return await value(process)

    assert asyncio.run(run()) == "t2"
    assert fleet.fetched == 2


def test_fetch_that_died_is_taken_over() -> None:
    fleet = Fleet()

    async def run() -> str | OutcomeKind:
        await fleet.store.begin_refresh(CREDENTIALS.company_id, seen_generation=0, lease_seconds=60)
        waiting = asyncio.ensure_future(value(fleet.process()))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        fleet.clock.advance(61)
        return await waiting

    assert asyncio.run(run()) == "t1"


def test_waiting_for_another_process_has_an_end() -> None:
    fleet = Fleet()

    async def run() -> str | OutcomeKind:
        await fleet.store.begin_refresh(CREDENTIALS.company_id, seen_generation=0, lease_seconds=60)
        return await value(fleet.process(wait_seconds=0.01))

    assert asyncio.run(run()) is OutcomeKind.UNAVAILABLE


def test_caller_that_gives_up_takes_no_token_away() -> None:
    fleet = Fleet()

    async def run() -> str | OutcomeKind:
        process, opened = fleet.process(), asyncio.Event()
        fleet.gate = opened.wait
        hasty = asyncio.ensure_future(value(process))
        patient = asyncio.ensure_future(value(process))
        await fleet.asked.wait()
        hasty.cancel()
        opened.set()
        return await patient

    assert asyncio.run(run()) == "t1"
    assert fleet.fetched == 1


def test_failed_fetch_leaves_no_lease_behind() -> None:
    fleet = Fleet()

    async def run() -> str | OutcomeKind:
        fleet.refusal = CLOSED
        await value(fleet.process())
        fleet.refusal = None
        return await value(fleet.process(wait_seconds=0.0))

    assert asyncio.run(run()) == "t2"


@given(expires_in=st.integers(1, 100_000), share=st.floats(0, 1, exclude_max=True))
def test_refresh_lies_inside_the_life_of_a_token(expires_in: int, share: float) -> None:
    now = Clock()()

    token = schedule_token(value="t", scope="eui", expires_in=expires_in, now=now, random_share=share)

    assert now < token.refresh_at < token.expires_at
    assert (token.expires_at - now).total_seconds() < expires_in


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_hour_long_token_is_refreshed_five_minutes_early_or_more(share: float) -> None:
    now = Clock()()

    token = schedule_token(value="t", scope="eui", expires_in=3600, now=now, random_share=share)

    assert 300 <= 3600 - (token.refresh_at - now).total_seconds() <= 450

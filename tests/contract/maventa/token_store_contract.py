"""What every shelf of tokens promises, whatever it stands on: subclass it where there is a store to hold against it."""

import asyncio
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from pipeline.domain.credentials import AccessToken, TokenStore

LEASE_SECONDS = 30.0


class MovableClock(Protocol):
    """The time the store reads; a test moves it."""

    now: datetime


def make_token(clock: MovableClock, value: str = "a-token") -> AccessToken:
    return AccessToken(
        value=value,
        scope="eui",
        expires_at=clock.now + timedelta(hours=1),
        refresh_at=clock.now + timedelta(minutes=50),
    )


def read(store: TokenStore, company: UUID) -> AccessToken | None:
    return asyncio.run(store.read(company))


def begin(store: TokenStore, company: UUID, *, seen: int = 0) -> bool:
    return asyncio.run(store.begin_refresh(company, seen_generation=seen, lease_seconds=LEASE_SECONDS))


def fetch(store: TokenStore, company: UUID, token: AccessToken, *, seen: int = 0) -> AccessToken:
    assert begin(store, company, seen=seen)
    return asyncio.run(store.save(company, token))


def discard(store: TokenStore, company: UUID, *, generation: int) -> None:
    asyncio.run(store.discard(company, generation=generation))


class TokenStoreContract:
    """Wants three fixtures: an empty `store`, the `clock` it reads, and a `company` it may keep tokens of."""

    def test_empty_shelf_has_nothing(self, store: TokenStore, company: UUID) -> None:
        """Whoever reads before anything was saved is told that there is no token."""
        assert read(store, company) is None

    def test_saved_token_comes_back(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """A saved token is read back as it was, under the generation that saving told."""
        token = make_token(clock)

        saved = fetch(store, company, token)

        assert read(store, company) == saved
        assert (saved.value, saved.scope) == (token.value, token.scope)
        assert (saved.expires_at, saved.refresh_at) == (token.expires_at, token.refresh_at)

    def test_expired_token_comes_back_too(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """The shelf judges no token by its age: that is for its reader."""
        saved = fetch(store, company, make_token(clock))

        clock.now += timedelta(hours=2)

        assert read(store, company) == saved

    def test_generations_count_up(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """Each saved token has the next generation, and the newest is the one that is read."""
        generations = [fetch(store, company, make_token(clock, f"t{seen}"), seen=seen).generation for seen in range(3)]

        newest = read(store, company)
        assert generations == [1, 2, 3]
        assert newest is not None
        assert (newest.value, newest.generation) == ("t2", 3)

    def test_of_many_at_once_one_fetches(self, store: TokenStore, company: UUID) -> None:
        """However many begin at the same time, exactly one is told to fetch."""

        async def all_at_once() -> list[bool]:
            begun = (store.begin_refresh(company, seen_generation=0, lease_seconds=LEASE_SECONDS) for _ in range(8))
            return list(await asyncio.gather(*begun))

        assert sorted(asyncio.run(all_at_once())) == [False] * 7 + [True]

    def test_lease_runs_out(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """Who fetches and dies keeps the others waiting for its lease and no longer."""
        assert begin(store, company)
        clock.now += timedelta(seconds=LEASE_SECONDS - 1)
        assert not begin(store, company)

        clock.now += timedelta(seconds=2)

        assert begin(store, company)
        assert not begin(store, company)

    def test_saving_ends_the_refresh(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """After a save the next refresh may begin at once, by whoever has seen the saved token."""
        saved = fetch(store, company, make_token(clock))

        assert begin(store, company, seen=saved.generation)

    def test_nobody_fetches_what_is_newer_than_seen(
        self, store: TokenStore, company: UUID, clock: MovableClock
    ) -> None:
        """Who wants to replace a token that somebody has replaced already is sent to read instead."""
        fetch(store, company, make_token(clock))

        assert not begin(store, company, seen=0)

    def test_abandoned_refresh_is_open_to_the_next(self, store: TokenStore, company: UUID) -> None:
        """Who fetched in vain and says so keeps nobody waiting."""
        assert begin(store, company)

        asyncio.run(store.abandon_refresh(company))

        assert begin(store, company)

    def test_abandoning_keeps_the_token(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """A refresh that failed takes nothing away from those who use the token that is there."""
        saved = fetch(store, company, make_token(clock))
        assert begin(store, company, seen=saved.generation)

        asyncio.run(store.abandon_refresh(company))

        assert read(store, company) == saved

    def test_discarding_an_older_token_does_nothing(
        self, store: TokenStore, company: UUID, clock: MovableClock
    ) -> None:
        """A late report of a token that was replaced long ago does not hurt its successor."""
        fetch(store, company, make_token(clock))
        newer = fetch(store, company, make_token(clock, "newer"), seen=1)

        discard(store, company, generation=1)

        assert read(store, company) == newer
        assert not begin(store, company, seen=1)

    def test_discarded_token_is_gone(self, store: TokenStore, company: UUID, clock: MovableClock) -> None:
        """A token reported as bad is read by nobody, and anybody may fetch the next, under the next generation."""
        saved = fetch(store, company, make_token(clock))

        discard(store, company, generation=saved.generation)
        discard(store, company, generation=saved.generation)

        assert read(store, company) is None
        assert fetch(store, company, make_token(clock, "next"), seen=0).generation == saved.generation + 1

    def test_discarding_does_not_start_a_second_fetch(
        self, store: TokenStore, company: UUID, clock: MovableClock
    ) -> None:
        """Who reports a token as bad while another is already fetching waits for that one."""
        saved = fetch(store, company, make_token(clock))
        assert begin(store, company, seen=saved.generation)

        discard(store, company, generation=saved.generation)

        assert not begin(store, company, seen=0)

    def test_discarding_from_an_empty_shelf_does_nothing(self, store: TokenStore, company: UUID) -> None:
        """A report about a token that nobody keeps any more is no error."""
        discard(store, company, generation=1)

        assert read(store, company) is None

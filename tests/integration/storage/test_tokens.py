"""The shelf of tokens in PostgreSQL: one per company for the whole fleet, unreadable, fetched by one at a time."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from pipeline.domain.credentials import AccessToken, CompanyCredentials
from pipeline.domain.errors import ConfigurationError
from pipeline.storage import companies
from pipeline.storage.tokens import DatabaseTokenStore
from pipeline.storage.vault import Vault, new_key

from .rows import NOW, query

TOKEN = AccessToken(
    value="token-in-clear",
    scope="eui",
    expires_at=NOW + timedelta(hours=1),
    refresh_at=NOW + timedelta(minutes=50),
)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(database, vault, clock):
    return DatabaseTokenStore(database, vault, clock=clock)


def begin(store, company, *, seen=0, seconds=30.0):
    return asyncio.run(store.begin_refresh(company, seen_generation=seen, lease_seconds=seconds))


def fetch(store, company, *, seen=0):
    assert begin(store, company, seen=seen)
    return asyncio.run(store.save(company, TOKEN))


def read(store, company):
    return asyncio.run(store.read(company))


def test_an_empty_shelf_has_nothing(store, company):
    assert read(store, company) is None


def test_a_saved_token_comes_back_with_its_generation(store, company):
    saved = fetch(store, company)

    assert read(store, company) == saved
    assert (saved.value, saved.generation) == ("token-in-clear", 1)
    assert fetch(store, company, seen=1).generation == 2


def test_no_token_stands_in_clear(store, company, database):
    fetch(store, company)

    (row,) = query(database, "SELECT * FROM access_token")
    assert b"token-in-clear" not in b"|".join(each if isinstance(each, bytes) else str(each).encode() for each in row)
    assert "token-in-clear" not in repr(read(store, company))


def test_a_wrong_encryption_key_is_a_configuration_error(store, company, database, clock):
    fetch(store, company)

    with pytest.raises(ConfigurationError, match="cannot be decrypted"):
        read(DatabaseTokenStore(database, Vault([new_key()]), clock=clock), company)


def test_of_many_at_once_one_fetches(store, company):
    async def all_at_once():
        begun = [store.begin_refresh(company, seen_generation=0, lease_seconds=30) for _ in range(8)]
        return await asyncio.gather(*begun)

    assert sorted(asyncio.run(all_at_once())) == [False] * 7 + [True]


def test_nobody_fetches_what_is_newer_than_he_saw(store, company):
    fetch(store, company)

    assert begin(store, company, seen=0) is False
    assert begin(store, company, seen=1) is True


def test_who_fetches_and_dies_is_replaced(store, company, clock):
    assert begin(store, company, seconds=30)
    assert begin(store, company) is False
    clock.now += timedelta(seconds=31)

    assert begin(store, company) is True


def test_an_abandoned_refresh_is_open_to_the_next(store, company):
    begin(store, company)
    asyncio.run(store.abandon_refresh(company))

    assert begin(store, company) is True


def test_a_bad_token_is_discarded_and_a_newer_one_is_not(store, company):
    fetch(store, company)
    fetch(store, company, seen=1)
    asyncio.run(store.discard(company, generation=1))
    assert read(store, company).generation == 2

    asyncio.run(store.discard(company, generation=2))
    assert read(store, company) is None
    assert fetch(store, company, seen=2).generation == 3


def test_new_keys_forget_the_token(store, company, database, vault):
    fetch(store, company)
    credentials = CompanyCredentials(company_id=company, user_api_key="new", vendor_api_key="new")

    with database.transaction() as session:
        companies.save_company(session, credentials, name="Acme", vault=vault, now=NOW)

    assert read(store, company) is None


def test_a_company_nobody_knows_has_no_place_on_the_shelf(store):
    with pytest.raises(IntegrityError):
        begin(store, uuid4())

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
from tests.contract.maventa.token_store_contract import TokenStoreContract

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


class TestDatabaseTokenStore(TokenStoreContract):
    """DatabaseTokenStore is a token store."""


def test_no_token_stands_in_clear(store, company, database):
    fetch(store, company)

    (row,) = query(database, "SELECT * FROM access_token")
    assert b"token-in-clear" not in b"|".join(each if isinstance(each, bytes) else str(each).encode() for each in row)
    assert "token-in-clear" not in repr(read(store, company))


def test_a_wrong_encryption_key_is_a_configuration_error(store, company, database, clock):
    fetch(store, company)

    with pytest.raises(ConfigurationError, match="cannot be decrypted"):
        read(DatabaseTokenStore(database, Vault([new_key()]), clock=clock), company)


def test_new_keys_forget_the_token(store, company, database, vault):
    fetch(store, company)
    credentials = CompanyCredentials(company_id=company, user_api_key="new", vendor_api_key="new")

    with database.transaction() as session:
        companies.save_company(session, credentials, name="Acme", vault=vault, now=NOW)

    assert read(store, company) is None


def test_a_company_nobody_knows_has_no_place_on_the_shelf(store):
    with pytest.raises(IntegrityError):
        begin(store, uuid4())

"""The shelf for one process, held against what every shelf promises; and companies kept apart on it."""

from uuid import UUID, uuid4

import pytest

from pipeline.maventa.auth import InMemoryTokenStore
from tests.contract.maventa.token_store_contract import TokenStoreContract, begin, fetch, make_token, read
from tests.unit.maventa.fake_operator import COMPANY, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> InMemoryTokenStore:
    return InMemoryTokenStore(clock=clock)


@pytest.fixture
def company() -> UUID:
    return COMPANY


class TestInMemoryTokenStore(TokenStoreContract):
    """InMemoryTokenStore is a token store."""


def test_companies_share_no_token(store: InMemoryTokenStore, company: UUID, clock: Clock) -> None:
    fetch(store, company, make_token(clock))

    other = uuid4()

    assert read(store, other) is None
    assert begin(store, other)

"""A company to write invoices for."""

import pytest

from .rows import add_company


@pytest.fixture
def company(database, vault):
    return add_company(database, vault)

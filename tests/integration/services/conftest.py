"""The line of this folder's tests."""

import pytest

from .line import Line


@pytest.fixture
def line(database, vault):
    return Line(database, vault)

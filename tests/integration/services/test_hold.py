"""Held companies are looked at one by one; trouble with one of them ends no other's release."""

import asyncio

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.storage import companies
from pipeline.storage.vault import Vault, new_key


def hold(line, company):
    with line.database.transaction() as session:
        companies.hold_company(session, company, reason="HTTP 401", now=line.clock())


def held(line):
    return {row.name for row in line.query("SELECT name FROM company WHERE hold_reason IS NOT NULL")}


def test_only_the_companies_that_are_let_in_are_released(line):
    other = line.add_company("Beta")
    hold(line, line.company)
    hold(line, other)
    line.operator.closed[other] = "wrong key"
    line.clock.pass_seconds(61)

    assert asyncio.run(line.hold_keeper.run()) == 1
    assert held(line) == {"Beta"}


def test_a_company_whose_key_cannot_be_read_keeps_no_other_held(line):
    right, line.vault = line.vault, Vault([new_key()])
    broken = [line.add_company(name) for name in ("Beta", "Gamma")]
    line.vault = right
    for company in (broken[0], line.company, broken[1]):
        hold(line, company)
    line.clock.pass_seconds(61)

    with pytest.raises(ConfigurationError):
        asyncio.run(line.hold_keeper.run())

    assert held(line) == {"Beta", "Gamma"}

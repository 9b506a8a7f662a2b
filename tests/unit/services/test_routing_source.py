"""The rules in force follow their file, and a broken file decides nothing."""

from uuid import uuid4

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.services.routing_source import RoutingSource, read_routing

RULES = """
version = 1
loop = {loop}

[[rule]]
name = "by e-mail"
way = "email"

[company."Acme"]
automatic = ["email"]
"""


def test_a_changed_file_is_in_force_at_once(tmp_path):
    path = tmp_path / "routing.toml"
    path.write_text(RULES.format(loop=2))
    source = RoutingSource(path)
    assert source().for_company(uuid4(), "Acme").loop == 2

    path.write_text(RULES.format(loop=10))

    assert source().for_company(uuid4(), "Acme").loop == 10


def test_a_broken_file_leaves_everything_to_a_person(tmp_path, caplog):
    path = tmp_path / "routing.toml"
    path.write_text(RULES.format(loop=2))
    source = RoutingSource(path)
    assert source().for_company(uuid4(), "Acme").automatic

    path.write_text(RULES.format(loop="'many'"))

    assert not source().for_company(uuid4(), "Acme").automatic
    assert [record.event for record in caplog.records] == ["routing_rules_wrong"]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        read_routing(tmp_path / "nowhere.toml")


def test_without_a_file_nothing_is_automatic():
    assert not RoutingSource(None)().for_company(uuid4(), "Acme").automatic

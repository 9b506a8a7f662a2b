"""A user's own settings in a run of chaos: rules, waits and limits count, where services are does not."""

from pathlib import Path

import pytest

from pipeline.cli.chaos_settings import KNOWN, OURS, read_own_settings
from pipeline.domain.errors import ConfigurationError

RULES = 'version = 1\n\n[[rule]]\nname = "by e-mail"\ncause = "recipient_address"\nway = "email"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "own.env"
    path.write_text(text, encoding="utf-8")
    return path


def test_waits_limits_and_sizes_count(tmp_path):
    own = read_own_settings(
        written(tmp_path, "POSTILJON_RETRY_WAITS_SECONDS='0,3,9'\nPOSTILJON_UPLOADS_PER_SECOND=5\nHOME=/x\n")
    )

    assert own.values == {"POSTILJON_RETRY_WAITS_SECONDS": "0,3,9", "POSTILJON_UPLOADS_PER_SECOND": "5"}
    assert own.ignored == ()


@pytest.mark.parametrize("name", sorted(OURS))
def test_where_services_are_and_their_keys_do_not_count(tmp_path, name):
    own = read_own_settings(written(tmp_path, f"{name}=production\nPOSTILJON_CHUNK_INVOICES=7\n"))

    assert own.values == {"POSTILJON_CHUNK_INVOICES": "7"}
    assert own.ignored == (name,)


def test_every_setting_is_either_counted_or_named_as_ours():
    places = {name for name in KNOWN if name.endswith(("_URL", "_KEY", "_KEY_FILE"))}

    assert places <= OURS


def test_name_of_no_setting_is_named(tmp_path):
    own = read_own_settings(written(tmp_path, "POSTILJON_CHUNK_INVOICE=7\n"))

    assert own.ignored == ("POSTILJON_CHUNK_INVOICE",)


def test_routing_rules_are_found_beside_the_file(tmp_path):
    (tmp_path / "routing.toml").write_text(RULES, encoding="utf-8")

    own = read_own_settings(written(tmp_path, "POSTILJON_ROUTING_FILE=routing.toml\n"))

    assert own.values["POSTILJON_ROUTING_FILE"] == str(tmp_path / "routing.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no file with lines POSTILJON_NAME=value"),
        ("POSTILJON_CHUNK_INVOICES=many\n", "POSTILJON_CHUNK_INVOICES"),
        ("POSTILJON_ROUTING_FILE=routing.toml\n", "cannot read the routing rules"),
    ],
    ids=["nothing in it", "wrong value", "no rules"],
)
def test_wrong_settings_are_refused_before_anything_starts(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match=words):
        read_own_settings(written(tmp_path, text))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no file with lines"):
        read_own_settings(tmp_path / "none.env")

"""The instance key as the settings give it."""

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.settings import settings_from

KEY = "x" * 16


def test_key_comes_from_file_or_environment(tmp_path):
    file = tmp_path / "instance.key"
    file.write_text(f"{KEY}\n")

    assert settings_from({"POSTILJON_INSTANCE_KEY": KEY}).read_instance_key() == KEY.encode()
    assert settings_from({"POSTILJON_INSTANCE_KEY_FILE": str(file)}).read_instance_key() == KEY.encode()
    assert settings_from({}).read_instance_key() is None


@pytest.mark.parametrize("content", ["", "\n", "x" * 15])
def test_short_key_is_refused(tmp_path, content):
    file = tmp_path / "instance.key"
    file.write_text(content)

    with pytest.raises(ConfigurationError, match="too short"):
        settings_from({"POSTILJON_INSTANCE_KEY_FILE": str(file)}).read_instance_key()


def test_missing_file_is_named(tmp_path):
    file = tmp_path / "gone.key"

    with pytest.raises(ConfigurationError, match=r"gone\.key"):
        settings_from({"POSTILJON_INSTANCE_KEY_FILE": str(file)}).read_instance_key()


def test_key_is_never_shown():
    assert KEY not in repr(settings_from({"POSTILJON_INSTANCE_KEY": KEY}))

"""An installation's data is copied and started elsewhere: it sends nothing until a person arms it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.cli.stack import INSTANCE_KEY_FILE_NAME, POSTILJON
from pipeline.storage.vault import new_key

from .installation import Installation
from .operator_side import Sent
from .papers import papers

RUNG = text("SELECT rung FROM lease WHERE name = 'dispatch'")
UNTOUCHED = text("SELECT count(*) FROM invoice WHERE uploads = 0 AND give_up_at IS NULL AND lease_until IS NULL")
ENOUGH_RINGS = 8


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Installation]:
    """A whole installation on the data folder of another one that had sent, with an instance key of its own."""
    original, copy = Installation(tmp_path / "original"), Installation(tmp_path / "copy")
    with original.running():
        original.wait_until_taken(original.submit(papers(3)), seconds=60)
    shutil.copytree(tmp_path / "original" / "postgres", tmp_path / "copy" / "postgres", symlinks=True)
    shutil.copy2(tmp_path / "original" / "encryption.key", tmp_path / "copy")
    (tmp_path / "copy" / INSTANCE_KEY_FILE_NAME).write_text(new_key())
    with copy.running():
        yield copy


def test_copy_of_production_cannot_send(copied: Installation):
    """Whoever rings, nothing is uploaded or used up; after `postiljon arm --yes` everything is held exactly once."""
    sent = copied.submit(papers(5))
    since = rung(copied)

    copied.wait_for(lambda: rung(copied) >= since + ENOUGH_RINGS, "rings of the dispatcher", sent, seconds=60)

    assert copied.uploads() == 0
    assert copied.states(sent) == {"queued": 5}
    assert asked(copied, UNTOUCHED) == 5
    assert copied.operator.ledger() == {}
    looked = command(copied, "arm", "--json")
    assert looked.returncode == 1
    assert [each["part"] for each in json.loads(looked.stdout)["differences"]] == ["instance key"]
    assert copied.uploads() == 0

    armed = command(copied, "arm", "--yes", "--json")

    assert armed.returncode == 0, armed.stderr
    copied.wait_until_taken(sent, seconds=60)
    everything_probed_first(copied, sent)
    copied.assert_once(sent)


def everything_probed_first(copied: Installation, sent: list[Sent]) -> None:
    for events in copied.events(sent).values():
        assert events["asked_first"] == events["probe_begun"] == 1
        assert events["upload_begun"] == 1


def rung(copied: Installation) -> int:
    return int(asked(copied, RUNG) or 0)


def asked(copied: Installation, question) -> int | None:
    with copied.database.transaction() as session:
        return session.connection().execute(question).scalar_one_or_none()


def command(copied: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **copied.stack.environment}
    return subprocess.run(
        (*POSTILJON, *words), env=environment, capture_output=True, text=True, timeout=60, check=False
    )

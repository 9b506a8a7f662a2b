"""An invoice whose processing kills its worker is set aside after n deaths, and the rest of its chunk goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from pipeline.services.points import Point

from .installation import Installation
from .operator_side import Sent
from .papers import papers

DEATHS = 3
CHUNK = 20
SECONDS = 60.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Installation]:
    """An installation whose workers can be made to die of one invoice."""
    folder = tmp_path_factory.mktemp("frail")
    (folder / "points").mkdir()
    whole = Installation(
        folder / "state",
        POSTILJON_POINTS_FOLDER=str(folder / "points"),
        POSTILJON_POISON_DEATHS=str(DEATHS),
        POSTILJON_CLAIM_LEASE_SECONDS="2.5",
    )
    with whole.running():
        yield whole


@pytest.fixture
def points(line: Installation) -> Iterator[Path]:
    """Where a file says at which point and of which invoice a process dies."""
    folder = line.settings.points_folder
    assert folder is not None
    yield folder
    for file in folder.iterdir():
        file.unlink()


def test_poison_is_set_aside(celery_setup: CeleryTestSetup, line: Installation, points: Path):
    """Its workers die n times, then it is held with what is known; the rest of its chunk is accepted, each once."""
    assert celery_setup.ready(ping=False, control=True)
    sent = line.submit(papers(CHUNK), wait_seconds=1)
    poison, *rest = sent
    (points / f"{Point.AFTER_CLAIM.value}.{poison.uuid}").touch()

    line.wait_until_taken(rest, seconds=SECONDS)
    line.wait_for_state([poison], "held", seconds=SECONDS)

    assert f"ended the worker {DEATHS} times" in line.reason(poison.uuid)
    assert "bytes" in line.reason(poison.uuid)
    line.assert_once(rest)
    assert poison.uuid not in line.operator.ledger()
    assert deaths(line, poison) == DEATHS


def test_poisoned_probe_is_set_aside(line: Installation, points: Path):
    """An invoice that even probes die of is held too, and the person is told that nobody knows whether it arrived."""
    sent = line.submit(papers(3), wait_seconds=1)
    poison, *rest = sent
    (points / f"{Point.BEFORE_RECORD.value}.{poison.uuid}").touch()

    line.wait_until_taken(rest, seconds=SECONDS)
    line.wait_for_state([poison], "held", seconds=SECONDS)

    assert "not known" in line.reason(poison.uuid)
    line.assert_once(rest)
    assert line.operator.ledger()[poison.uuid]["uploads"] == 1


def deaths(line: Installation, sent: Sent) -> int:
    """How many uploads of it nobody lived to tell of."""
    return sum(made == ("upload", None, None) for made in line.attempts([sent])[sent.uuid])

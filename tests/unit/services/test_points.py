"""Named points end the process that reaches them, once by the point's name, always by an invoice's."""

import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from pipeline.services.points import Point, Points

REACH = """
import sys
from pathlib import Path
from uuid import UUID
from pipeline.services.points import Point, Points
Points(Path(sys.argv[1])).reach(Point(sys.argv[2]), [UUID(each) for each in sys.argv[3:]])
"""


def reach(folder: Path, point: Point, *ids: object) -> int:
    """Reach a point in a process of its own; return its exit status."""
    command = [sys.executable, "-c", REACH, str(folder), point.value, *map(str, ids)]
    return subprocess.run(command, check=False).returncode


def test_who_reaches_a_set_point_first_dies_there_alone(tmp_path: Path) -> None:
    (tmp_path / Point.AFTER_CLAIM.value).touch()

    assert reach(tmp_path, Point.BEFORE_CLAIM) == 0
    assert reach(tmp_path, Point.AFTER_CLAIM) == -signal.SIGKILL
    assert reach(tmp_path, Point.AFTER_CLAIM) == 0


def test_everybody_dies_of_a_named_invoice(tmp_path: Path) -> None:
    poison, other = uuid4(), uuid4()
    (tmp_path / f"{Point.AFTER_CLAIM.value}.{poison}").touch()

    assert reach(tmp_path, Point.AFTER_CLAIM, other) == 0
    assert [reach(tmp_path, Point.AFTER_CLAIM, other, poison) for _ in range(2)] == [-signal.SIGKILL] * 2


def test_without_a_folder_nothing_is_set() -> None:
    Points(None).reach(Point.BEFORE_RECORD, [uuid4()])

    assert not Points(None).is_set(Point.BYTES_LEFT)

"""Walking folders of any size in order, and knowing visited files again, over real temporary folders."""

import os
import random

import pytest

from pipeline.services.folders import ClosedFolder, SeenFiles, count, walk
from pipeline.services.gather import count_files


@pytest.fixture
def folder(tmp_path):
    names = [f"{number:03}.xml" for number in range(50)] + ["ä.xml", "Z.xml", "\udcff.xml"]
    random.Random(1).shuffle(names)
    for name in names:
        (tmp_path / name).touch()
    for sub in ("b", "a", ".hidden"):
        (tmp_path / sub / "deep").mkdir(parents=True)
        (tmp_path / sub / "deep" / "x.xml").touch()
        (tmp_path / sub / "y.xml").touch()
    (tmp_path / ".secret.xml").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize("window", [1, 7, 54, 55, 1000])
def test_order_is_the_same_whatever_is_held_at_a_time(folder, window):
    """However few names are held, everything is found once, by name, files before the folders beside them."""
    found = [os.path.relpath(str(each), folder) for each in walk(str(folder), window=window)]

    own = sorted(each.name for each in folder.iterdir() if each.name[0] != "." and each.name not in {"a", "b"})
    assert found == [*own, "a/y.xml", "a/deep/x.xml", "b/y.xml", "b/deep/x.xml"]


def test_folder_that_cannot_be_listed_is_told_and_the_rest_found(tmp_path):
    (tmp_path / "a.xml").touch()

    (only,) = walk(str(tmp_path / "missing"))
    assert isinstance(only, ClosedFolder)
    assert [str(each) for each in walk(str(tmp_path))] == [str(tmp_path / "a.xml")]


def test_files_are_counted_before_they_are_walked(folder):
    assert count(str(folder)) == sum(1 for _ in walk(str(folder)))
    assert (
        count_files([str(folder), f"{folder}/0*.xml", str(folder / "missing"), "-", "a\0b"]) == count(str(folder)) + 53
    )


def test_seen_files_are_known_by_inode_and_device():
    def status(inode, device=1):
        return os.stat_result((0o100644, inode, device, 1, 0, 0, 0, 0, 0, 0))

    seen = SeenFiles()
    inodes = [1, 511, 512, 513, 2**63]

    assert all(seen.add(status(inode)) for inode in inodes)
    assert not any(seen.add(status(inode)) for inode in inodes)
    assert seen.add(status(1, device=2))
    assert seen.add(status(2))

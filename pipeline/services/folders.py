"""Walks folders in order without holding them: names in windows, visited files in bits. Knows no documents."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

WINDOW_NAMES: Final = 100_000
"""So many names of one folder are held and sorted at a time. A folder of a million is listed ten times, a second or two
each, rather than held: the names alone would be 100 MB."""
MASK_BITS: Final = 9
"""Inode numbers are kept as bits of masks of 512: files made one after the other have numbers one after the other."""


@dataclass(frozen=True, slots=True)
class ClosedFolder:
    """A folder on the way that cannot be listed."""

    path: str
    error: OSError


def walk(folder: str, *, window: int = WINDOW_NAMES) -> Iterator[str | ClosedFolder]:
    """Yield the paths of everything in a folder that is no folder, by name, then those of its folders in turn.

    Hidden names are left out, and links to folders are not followed: they are how a walk gets into a circle or out of
    the folder. The order is the same each time. What is added while the walk goes on may or may not be found.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        folders: set[str] = set()
        try:
            for name in _names(current, folders, window):
                yield os.path.join(current, name)  # noqa: PTH118 - a million Path objects take longer than their files
        except OSError as exc:
            yield ClosedFolder(current, exc)
        waiting.extend(os.path.join(current, name) for name in sorted(folders, reverse=True))  # noqa: PTH118


def _names(folder: str, folders: set[str], window: int) -> Iterator[str]:
    after = ""
    while True:
        with os.scandir(folder) as listing:
            names = heapq.nsmallest(window, _files_behind(after, listing, folders))
        yield from names
        if len(names) < window:
            return
        after = names[-1]


def _files_behind(after: str, listing: Iterator["os.DirEntry[str]"], folders: set[str]) -> Iterator[str]:
    for entry in listing:
        name = entry.name
        if name > after and name[0] != ".":
            if entry.is_dir(follow_symlinks=False):
                folders.add(name)
            else:
                yield name


def count(folder: str) -> int:
    """Return how many files lie in a folder and its folders, hidden ones left out: what a walk will yield, about."""
    found, waiting = 0, [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                for entry in listing:
                    if entry.name[0] == ".":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        found += 1
        except OSError:
            continue
    return found


@dataclass
class SeenFiles:
    """Which files were met, by device and inode, in bits: a million in a few hundred kilobytes."""

    _masks: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, status: os.stat_result) -> bool:
        """Take note of a file; False when it was met before, under whatever name."""
        key = status.st_dev, status.st_ino >> MASK_BITS
        bit = 1 << (status.st_ino & ((1 << MASK_BITS) - 1))
        mask = self._masks.get(key, 0)
        if mask & bit:
            return False
        self._masks[key] = mask | bit
        return True

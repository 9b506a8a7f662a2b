"""What gathering finds, skips and cannot read, over real temporary folders."""

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.domain.document import DocumentLimits
from pipeline.domain.errors import DocumentError, DocumentTooLargeError, UnreadableFileError
from pipeline.services.gather import Found, Skipped, Unreadable, gather

LIMITS = DocumentLimits(max_bytes=100)


def gathered(*paths: object, stdin: bytes = b""):
    return list(gather([str(path) for path in paths], stdin=io.BytesIO(stdin), limits=LIMITS))


def reasons(found) -> list[str]:
    return [str(item.error) for item in found if isinstance(item, Unreadable)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.xml").write_bytes(b"<b/>")
    (tmp_path / "a.XML").write_bytes(b"<a/>")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "nameless").write_bytes(b"<?xml version='1.0'?><n/>")
    (tmp_path / "sub" / "packed").write_bytes(b"PK\x03\x04")
    (tmp_path / "notes.txt").write_bytes(b"hello")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / ".hidden.xml").write_bytes(b"<h/>")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "c.xml").write_bytes(b"<c/>")
    return tmp_path


def test_folder_is_searched_in_order(folder):
    """A folder gives its XML and ZIP files by name or content, sorted, and says which others it skipped."""
    found = gathered(folder)

    names = [Path(item.path).name for item in found if isinstance(item, Found)]
    assert names == ["a.XML", "b.xml", "nameless", "packed"]
    assert [Path(item.path).name for item in found if isinstance(item, Skipped)] == ["notes.txt", "sheet.xlsx"]


def test_bad_path_does_not_stop_others(folder):
    """A missing file costs one line, and the files named behind it are found."""
    found = gathered(folder / "missing.xml", folder / "notes.txt")

    assert isinstance(found[0], Unreadable)
    assert "missing.xml: there is no such file" in str(found[0].error)
    assert isinstance(found[1], Found)
    assert found[1].read() == b"hello"


def test_pattern_is_expanded(folder):
    """A pattern the shell left alone is expanded here."""
    assert [Path(item.path).name for item in gathered(f"{folder}/*.xml")] == ["b.xml"]
    assert "no file matches" in reasons(gathered(f"{folder}/*.nothing"))[0]


def test_literal_name_wins_over_pattern(tmp_path):
    path = tmp_path / "a[1].xml"
    path.write_bytes(b"<a/>")

    assert [item.path for item in gathered(path)] == [str(path)]


def test_stdin_is_one_document():
    found = gathered("-", "-", stdin=b"<a/>")

    assert isinstance(found[0], Found)
    assert (found[0].name, found[0].read()) == ("stdin", b"<a/>")
    assert isinstance(found[1], Skipped)


def test_endless_stdin_is_bounded():
    stream = io.BytesIO(b"x" * 10_000)
    (found,) = gather(["-"], stdin=stream, limits=LIMITS)

    assert isinstance(found, Found)
    with pytest.raises(DocumentTooLargeError):
        found.read()
    assert stream.tell() == LIMITS.max_bytes + 1


def test_same_file_is_found_once(folder):
    """A file named twice, directly and through its folder, is sent once."""
    found = gathered(folder / "b.xml", folder, folder)

    assert sum(isinstance(item, Found) and item.path.endswith("b.xml") for item in found) == 1


def test_too_large_is_refused_unread(tmp_path):
    """A file over the limit is refused by its size alone; this one would take a terabyte to read."""
    path = tmp_path / "huge.xml"
    with path.open("wb") as file:
        file.truncate(10**12)

    (found,) = gathered(path)

    assert isinstance(found, Unreadable)
    assert isinstance(found.error, DocumentTooLargeError)


def test_grown_file_is_refused_on_reading(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a/>")
    (found,) = gathered(path)
    path.write_bytes(b"x" * 500)

    assert isinstance(found, Found)
    with pytest.raises(DocumentTooLargeError):
        found.read()


@pytest.mark.parametrize("replace", [Path.unlink, lambda path: (path.unlink(), os.mkfifo(path))], ids=["gone", "fifo"])
def test_vanished_file_is_reported_on_reading(tmp_path, replace):
    """A file that is gone, or became a pipe, between finding and reading is one clear error and hangs nobody."""
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a/>")
    (found,) = gathered(path)
    replace(path)

    assert isinstance(found, Found)
    with pytest.raises(UnreadableFileError, match="no such file"):
        found.read()


def test_special_files_are_refused(tmp_path):
    """Pipes, devices and sockets are refused when named and skipped in folders; nothing waits on them."""
    os.mkfifo(tmp_path / "pipe.xml")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.xml"))
        (tmp_path / "a.xml").write_bytes(b"<a/>")

        named = gathered(tmp_path / "pipe.xml", tmp_path / "s.xml", "/dev/zero")
        inside = gathered(tmp_path)

    assert ["device, pipe" in reason for reason in reasons(named)] == [True, True, True]
    assert [type(item) for item in inside] == [Found, Skipped, Skipped]


def test_link_circles_end(tmp_path):
    """Links in a circle, to a parent folder or to nothing end the search and are named."""
    (tmp_path / "a.xml").write_bytes(b"<a/>")
    (tmp_path / "loop.xml").symlink_to(tmp_path / "loop.xml")
    (tmp_path / "parent").symlink_to(tmp_path)
    (tmp_path / "gone.xml").symlink_to(tmp_path / "nothing")

    found = gathered(tmp_path)

    assert [Path(item.path).name for item in found if isinstance(item, Found)] == ["a.xml"]
    assert [Path(item.path).name for item in found if isinstance(item, Skipped)] == ["parent"]
    assert ["circle" in reason or "no such file" in reason for reason in reasons(found)] == [True, True]


def test_folder_without_documents_is_reported(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"hello")

    found = gathered(tmp_path)

    assert [type(item) for item in found] == [Skipped, Unreadable]
    assert "no XML or ZIP in this folder" in reasons(found)[0]


@pytest.fixture
def as_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in the folder without root's rights, for root may read everything; paths are relative from here."""
    monkeypatch.chdir(folder)
    folder.chmod(0o755)
    (folder / "b.xml").chmod(0)
    (folder / "sub").chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.setresuid(65534, 65534, 0)
    yield folder
    if was_root:
        os.setresuid(0, 0, 0)
    (folder / "sub").chmod(0o755)


def test_forbidden_file_is_reported(as_nobody):
    """A file and a folder without permission cost one line each, and the others are found."""
    found = gathered(".")

    assert ["no permission" in reason for reason in reasons(found)] == [True, True]
    assert [item.path for item in found if isinstance(item, Found)] == ["./a.XML"]


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000, "\udcff\x1b[31m"], ids=["none", "nul", "long", "bytes"])
def test_strange_paths_are_one_line(path):
    (found,) = gathered(path)

    assert isinstance(found, Unreadable)
    assert isinstance(found.error, DocumentError)
    assert str(found.error).isprintable()


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    """Gathering thousands of files reads none of them."""
    path = tmp_path / "a.xml"
    path.write_bytes(b"old")
    (found,) = gathered(path)
    path.write_bytes(b"new")

    assert isinstance(found, Found)
    assert found.read() == b"new"

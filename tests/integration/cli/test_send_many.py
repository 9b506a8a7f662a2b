"""`postiljon send` of many: manifests, ZIPs of many, the file of verdicts, the one JSON object."""

import base64
import io
import json
import random
import struct
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import Shell, finvoice

UUID_1 = "0b0f6a6e-3f0c-5b0a-8c43-2f0a7f0c1d2e"


def manifest(tmp_path: Path, *lines: object) -> str:
    path = tmp_path / "manifest.ndjson"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(path)


def send_manifest(shell: Shell, tmp_path: Path, *lines: object, status: int = 0, words: tuple[str, ...] = ()):
    return shell.json("send", "--manifest", manifest(tmp_path, *lines), "--company", "demo", *words, status=status)


def test_a_manifest_gives_each_line_its_own_terms(shell: Shell, tmp_path: Path):
    """Path, text and base64, each with its own UUID, reference, batch, times, priority and options."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1.xml").write_bytes(finvoice("1"))
    inline = '<?xml version="1.0"?><Finvoice Version="3.0"/>'
    lines = (
        {"path": "sub/1.xml", "uuid": UUID_1, "batch": "own", "priority": 4, "lang": "FI", "print_color": True},
        {"content": inline, "reference": "R-2", "filename": "two.xml", "deadline": "2030-01-01T06:00:00+02:00"},
        {"content_base64": base64.b64encode(finvoice("3")).decode(), "not_before": "2030-01-01T00:00:00Z"},
    )

    answer = send_manifest(
        shell, tmp_path, *lines, words=("--batch", "night", "--lang", "SE", "--print-letter-class", "PRIORITY")
    )

    assert answer["queued"] == 3
    assert [each["line"] for each in answer["files"]] == [1, 2, 3]
    shown = [shell.json("show", each["uuid"]) for each in answer["files"]]
    assert shown[0]["uuid"] == UUID_1
    assert [each["batch"] for each in shown] == ["own", "night", "night"]
    assert shown[0]["options"] == {"lang": "FI", "print_settings": {"color": True, "letter_class": "PRIORITY"}}
    assert shown[1]["options"] == {"lang": "SE", "print_settings": {"letter_class": "PRIORITY"}}
    assert (shown[1]["reference"], shown[1]["filename"]) == ("R-2", "two.xml")
    assert shown[2]["number"] == "3"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{no json", "no JSON object"),
        ("[1]", "no JSON object"),
        ("5", "no JSON object"),
        ('{"a": ' * 100_000, "no JSON object"),
        ('{"path": "1.xml", "path": "1.xml"}', "twice"),
        ({"path": "1.xml", "colour": 1, "Path": 2}, "Path, colour"),
        ({}, "needs one of"),
        ({"path": "1.xml", "content": "<a/>"}, "has 2"),
        ({"path": "gone.xml"}, "there is no such file"),
        ({"path": ""}, "no path"),
        ({"path": "a\0b"}, "no path"),
        ({"path": "."}, "a folder"),
        ({"path": 5}, "path must be text"),
        ({"path": "1.xml", "uuid": "5"}, "uuid is not a UUID"),
        ({"path": "1.xml", "reference": 7}, "reference must be text"),
        ({"path": "1.xml", "reference": ""}, "reference must have"),
        ({"path": "1.xml", "batch": "a\0b"}, "cannot be stored"),
        ({"path": "1.xml", "deadline": "2026-12-01"}, "deadline is not"),
        ({"path": "1.xml", "deadline": "2026-12-01T06:00"}, "time zone"),
        ({"path": "1.xml", "priority": "1"}, "whole number"),
        ({"path": "1.xml", "priority": 99}, "not between"),
        ({"path": "1.xml", "lang": "XX"}, "lang"),
        ({"path": "1.xml", "sender_comment": "a\0b"}, "cannot be stored"),
        ({"path": "1.xml", "sender_comment": "\ud800"}, "sender_comment"),
        ({"content": "no xml"}, "manifest.ndjson"),
        ({"content": "\ud800"}, "content_base64"),
        ({"content_base64": "!"}, "not base64"),
        ({"content": ""}, "empty"),
    ],
    ids=repr,
)
def test_a_bad_line_is_told_with_its_number_and_stops_no_other(shell: Shell, tmp_path: Path, line: object, named: str):
    """Every kind of bad line is refused by itself, with its number, and those around it are queued."""
    (tmp_path / "1.xml").write_bytes(finvoice("1"))
    good = {"content_base64": base64.b64encode(finvoice("2")).decode()}

    answer = send_manifest(shell, tmp_path, {"path": "1.xml"}, line, "", good, status=1)

    assert [each["verdict"] for each in answer["files"]] == ["queued", "refused", "queued"]
    assert [each["line"] for each in answer["files"]] == [1, 2, 4]
    bad = answer["files"][1]
    assert named in bad["message"] + bad["path"]
    assert "\n" not in bad["message"]


def test_an_endless_line_is_passed_over(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A line longer than any document is not held in memory, and the next one is read."""
    monkeypatch.setenv("POSTILJON_MAX_DOCUMENT_BYTES", "10000")
    (tmp_path / "1.xml").write_bytes(finvoice("1"))

    answer = send_manifest(shell, tmp_path, '{"content": "' + "x" * 1_000_000, {"path": "1.xml"}, status=1)

    assert [(each["line"], each["verdict"]) for each in answer["files"]] == [(1, "refused"), (2, "queued")]
    assert "longer than" in answer["files"][0]["message"]


def test_a_manifest_comes_from_stdin_too(shell: Shell, tmp_path: Path):
    line = json.dumps({"content": '<?xml version="1.0"?><Finvoice Version="3.0"/>'}).encode()

    result = shell("send", "--manifest", "-", "--company", "demo", stdin=b"\xef\xbb\xbf" + line + b"\r\n" + line)

    assert result.exit_code == 0
    assert "1 queued, 1 known already" in result.stdout


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        ((), 2, "--manifest"),
        (("--manifest", "gone.ndjson"), 1, "cannot be read"),
        (("-", "--manifest", "-"), 1, "stdin"),
        (("--manifest", "-", "--reference", "R"), 1, "one invoice"),
        (("x.zip", "--unpack", "--uuid", UUID_1), 1, "one invoice"),
        (("x.xml", "--verdicts", "/nowhere/x"), 1, "--verdicts"),
        (("x.xml", "--json", "--verdicts", "-"), 1, "stdout"),
    ],
    ids=repr,
)
def test_what_contradicts_itself_is_refused_before_anything_is_sent(shell: Shell, words, status: int, named: str):
    result = shell("send", "--company", "demo", *words, stdin=b"")

    assert result.exit_code == status
    assert named in result.stderr
    assert shell.json("list")["invoices"] == []


def parcel(path: Path, entries: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return str(path)


def test_a_zip_of_many_is_many_invoices_when_unpacked(shell: Shell, tmp_path: Path):
    """Each XML and each ZIP inside is an invoice of its own; without --unpack such a ZIP is refused, as before."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("invoice.xml", finvoice("3"))
        archive.writestr("image.pdf", b"%PDF-")
    path = parcel(
        tmp_path / "many.zip",
        {
            "1.xml": finvoice("1"),
            "a/2.xml": finvoice("2"),
            "3.zip": inner.getvalue(),
            "note.txt": b"hello",
            "__MACOSX/._1.xml": b"\0",
            "bad.xml": b"<bad",
        },
    )

    assert shell("send", path, "--company", "demo").exit_code == 1
    answer = shell.json("send", path, "--company", "demo", "--unpack", status=1)

    assert [each["verdict"] for each in answer["files"]] == ["queued"] * 3 + ["skipped"] * 2 + ["refused"]
    assert [each.get("number") for each in answer["files"][:3]] == ["1", "2", "3"]
    assert answer["files"][1]["path"] == f"{path} > a/2.xml"
    assert shell.json("send", path, "--company", "demo", "--unpack", status=1)["known"] == 3


def test_an_xml_beside_a_zip_of_many_is_itself(shell: Shell, tmp_path: Path):
    (tmp_path / "in").mkdir()
    parcel(tmp_path / "in" / "many.zip", {"1.xml": finvoice("1"), "2.xml": finvoice("2")})
    (tmp_path / "in" / "3.xml").write_bytes(finvoice("3"))

    assert shell.json("send", str(tmp_path / "in"), "--company", "demo", "--unpack")["queued"] == 3
    from_stdin = shell("send", "-", "--company", "demo", "--unpack", stdin=finvoice("4"))
    assert "1 queued" in from_stdin.stdout


def test_hostile_entries_of_a_zip_of_many_stop_no_other(shell: Shell, tmp_path: Path):
    """Encrypted, damaged, bomb-like, doubled and path-like entries are refused one by one."""
    path = tmp_path / "many.zip"
    entries = {
        "good.xml": finvoice("1"),
        "../up.xml": finvoice("2"),
        "damaged.xml": finvoice("3"),
        "bomb.xml": b" " * 20_000_000,
        "locked.xml": finvoice("4"),
        "noise.bin": random.Random(1).randbytes(200_000),
        "GOOD.xml": finvoice("5"),
        "last.xml": finvoice("6"),
    }
    parcel(path, entries)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        damaged, locked = archive.getinfo("damaged.xml"), archive.getinfo("locked.xml")
    content[damaged.header_offset + 60] ^= 0xFF
    at = content.index(b"PK\x01\x02", content.rindex(b"bomb.xml"))
    assert locked.filename.encode() in content[at : at + 80]
    struct.pack_into("<H", content, at + 8, 1)
    path.write_bytes(content)

    answer = shell.json("send", str(path), "--company", "demo", "--unpack", status=1)

    assert {each["path"].rpartition("> ")[2]: each["verdict"] for each in answer["files"][:5]} == {
        "good.xml": "queued",
        "../up.xml": "refused",
        "damaged.xml": "refused",
        "bomb.xml": "refused",
        "locked.xml": "refused",
    }
    assert [each["verdict"] for each in answer["files"][5:]] == ["skipped", "refused", "queued"]


@pytest.mark.parametrize("kind", ["cut", "bomb", "empty", "text"])
def test_a_zip_that_cannot_be_trusted_as_a_whole_is_one_line(shell: Shell, tmp_path: Path, kind: str):
    path = tmp_path / "many.zip"
    entries = {f"{number}.xml": b" " * 3_000_000 for number in range(5)} if kind == "bomb" else {"1.xml": finvoice("1")}
    parcel(path, entries)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-30], "bomb": content, "empty": b"PK\x03\x04", "text": b"PK\x03\x04hello"}[kind])

    answer = shell.json("send", str(path), "--company", "demo", "--unpack", status=1)

    assert [each["verdict"] for each in answer["files"]] == ["refused"]


def test_every_document_has_a_line_in_the_file_of_verdicts(shell: Shell, tmp_path: Path):
    """The file has what a script needs to go on: path, verdict, UUID, hash, reason; in order, one object a line."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.xml").write_bytes(finvoice(str(number)) if number != 1 else b"<bad")
    told = tmp_path / "verdicts.ndjson"
    told.write_text("of an earlier run")

    result = shell("send", str(tmp_path / "in"), "--company", "demo", "--verdicts", str(told))

    assert result.exit_code == 1
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["queued", "refused", "queued"]
    assert lines[0]["uuid"]
    assert len(lines[0]["sha256"]) == len(lines[1]["sha256"]) == 64
    assert "1.xml" in lines[1]["message"]
    assert shell.json("show", lines[2]["uuid"])["sha256"] == lines[2]["sha256"]
    streamed = shell("send", str(tmp_path / "in"), "--company", "demo", "--verdicts", "-")
    assert [json.loads(line)["verdict"] for line in streamed.stdout.splitlines()[:3]] == ["known", "refused", "known"]


def test_nothing_to_send_is_still_one_json_object(shell: Shell, tmp_path: Path):
    assert shell.json("send", "--manifest", manifest(tmp_path), "--company", "demo", status=1)["files"] == []


def test_the_summary_names_the_batch_and_how_to_follow_it(shell: Shell, tmp_path: Path):
    (tmp_path / "1.xml").write_bytes(finvoice(str(uuid4())))

    result = shell("send", str(tmp_path / "1.xml"), "--company", "demo", "--batch", "1st of May")

    assert "postiljon batch show '1st of May'" in result.stdout

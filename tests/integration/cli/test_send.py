"""`postiljon send` on a real database: what is queued, what is refused, and that one bad file stops no other."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from pipeline.cli.options import routing_parameters
from tests.integration.cli.conftest import COMPANY_ID, Shell, finvoice

Write = Callable[..., Path]


def test_files_are_queued_and_rung_for(shell: Shell, write_invoice: Write):
    """Each file becomes a queued invoice that can be shown, and the dispatcher is rung for once they are stored."""
    paths = [write_invoice(f"{n}.xml", str(n)) for n in range(3)]

    answer = shell.json("send", *map(str, paths), "--company", "demo", "--batch", "november")

    assert answer["queued"] == 3
    assert len(shell.rung) == 1
    shown = shell.json("show", answer["files"][1]["uuid"])
    assert (shown["state"], shown["number"], shown["customer"], shown["total"]) == ("queued", "1", "Ostaja €", "12.50")
    assert shown["batch"] == "november"
    assert [event["kind"] for event in shown["events"]] == ["submitted"]


def test_running_twice_sends_once(shell: Shell, write_invoice: Write):
    """The same command a second time queues nothing and names the same UUIDs."""
    path = str(write_invoice("a.xml"))

    first = shell.json("send", path, "--company", "demo")
    second = shell.json("send", path, "--company", COMPANY_ID)

    assert (first["queued"], second["queued"], second["known"]) == (1, 0, 1)
    assert first["files"][0]["uuid"] == second["files"][0]["uuid"]
    assert len(shell.json("list")["invoices"]) == 1
    assert len(shell.rung) == 1


def test_a_taken_uuid_with_other_bytes_is_refused(shell: Shell, write_invoice: Write):
    """The same UUID with other bytes is refused, both hashes named, and the first submission stands."""
    uuid = str(uuid4())
    first, other = write_invoice("a.xml", "1"), write_invoice("b.xml", "2")
    stored = shell.json("send", str(first), "--company", "demo", "--uuid", uuid)["files"][0]

    answer = shell.json("send", str(other), "--company", "demo", "--uuid", uuid, status=1)

    message = answer["files"][0]["message"]
    assert stored["sha256"] in message
    assert len({word.strip(",);") for word in message.split() if len(word.strip(",);")) == 64}) == 2
    assert shell.json("show", uuid)["sha256"] == stored["sha256"]


def test_bad_files_stop_no_other(shell: Shell, write_invoice: Write, tmp_path: Path):
    """Every kind of bad file gets one line that names it, and the good ones are queued all the same."""
    bad = write_bad_files(tmp_path)
    good = write_invoice("good.xml")

    result = shell("send", *map(str, bad.values()), str(good), "--company", "demo")

    assert result.exit_code == 1
    assert len(shell.json("list")["invoices"]) == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == len(bad)
    for name, line in zip(bad, lines, strict=True):
        assert line.startswith("error: "), line
        assert name in line


def test_nothing_half_written_by_refused_files(shell: Shell, tmp_path: Path, database_url: str):
    """A refused file leaves no document, batch or event behind."""
    bad = write_bad_files(tmp_path)

    shell("send", *map(str, bad.values()), "--company", "demo", "--batch", "b")

    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        for table in ("document", "invoice", "event", "batch"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--lang", "XX"], "lang"),
        (["--disabled-routes", "fax"], "disabled_routes"),
        (["--format", "WORD"], "format"),
        (["--recipient-eia", "9" * 129], "recipient_eia"),
        (["--print-letter-class", "FIRST"], "print_settings"),
        (["--email-xml-format", "X"], "email_settings"),
        (["--recipient-date-of-birth", "yesterday"], "recipient_date_of_birth"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else None,
)
def test_unknown_option_values_are_named(shell: Shell, write_invoice: Write, words: list[str], named: str):
    """A value the operator would not take is refused before anything is stored."""
    result = shell("send", str(write_invoice("a.xml")), "--company", "demo", *words)

    assert result.exit_code == 1
    assert named in result.stderr
    assert shell.json("list")["invoices"] == []


def test_routing_options_are_kept(shell: Shell, write_invoice: Write):
    """Options are stored as the operator names them; other options under the same UUID are refused."""
    path = str(write_invoice("a.xml"))
    words = ["--disabled-routes", "print", "--disabled-routes", "email", "--print-color", "--no-prevent-routing"]

    uuid = shell.json("send", path, "--company", "demo", *words)["files"][0]["uuid"]

    options = shell.json("show", uuid)["options"]
    assert options == {
        "disabled_routes": ["print", "email"],
        "print_settings": {"color": True},
        "prevent_routing": False,
    }
    assert shell("send", path, "--company", "demo").exit_code == 1


def test_every_upload_parameter_has_an_option():
    """No parameter of the operator's POST /v1/invoices is out of reach of the command line."""
    swagger = Path(__file__).parents[4] / "shared" / "maventa" / "swagger.json"
    if not swagger.is_file():
        pytest.fail(f"the operator's specification is not beside the project: {swagger}")
    parameters = json.loads(swagger.read_text())["paths"]["/v1/invoices"]["post"]["parameters"]
    wanted = {each["name"].replace("_settings[", "_").rstrip("]") for each in parameters} - {"file", "uuid"}

    assert {each.name for each in routing_parameters()} == wanted


def test_an_unknown_company_is_named(shell: Shell, write_invoice: Write):
    """An unknown company is said to be unknown, with the command that adds it."""
    result = shell("send", str(write_invoice("a.xml")), "--company", "nobody")

    assert result.exit_code == 1
    assert "'nobody'" in result.stderr
    assert "company add" in result.stderr


def test_a_uuid_names_one_file(shell: Shell, write_invoice: Write):
    """With --uuid and two files nothing is stored."""
    paths = [str(write_invoice("a.xml", "1")), str(write_invoice("b.xml", "2"))]

    result = shell("send", *paths, "--company", "demo", "--uuid", str(uuid4()))

    assert result.exit_code == 1
    assert "2 files" in result.stderr
    assert shell.json("list")["invoices"] == []


def test_stdin_folders_and_patterns_are_found(shell: Shell, tmp_path: Path):
    """A folder, a pattern and stdin each give their documents; a folder's other files are skipped without error."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.xml").write_bytes(finvoice("1"))
    (folder / "note.txt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("invoice.xml", finvoice("2"))

    first = shell.json("send", str(folder), str(tmp_path / "*.zip"), "--company", "demo")
    second = shell("send", "-", "--company", "demo", stdin=finvoice("3"))

    assert (first["queued"], first["skipped"]) == (2, 1)
    assert second.exit_code == 0
    assert {each["number"] for each in shell.json("list")["invoices"]} == {"1", "2", "3"}


def test_a_reference_derives_the_uuid(shell: Shell, write_invoice: Write):
    """Under a reference of the caller, other bytes are a conflict and not a second invoice."""
    first, other = write_invoice("a.xml", "1"), write_invoice("b.xml", "2")
    assert shell("send", str(first), "--company", "demo", "--reference", "2026/1").exit_code == 0

    assert shell("send", str(other), "--company", "demo", "--reference", "2026/1").exit_code == 1
    assert len(shell.json("list")["invoices"]) == 1


def write_bad_files(folder: Path) -> dict[str, Path]:
    contents = {
        "empty.xml": b"",
        "text.xml": b"this is not xml",
        "broken.xml": finvoice("1")[:-20],
        "encoding.xml": finvoice("1").replace(b"ISO-8859-15", b"UTF-8"),
        "bomb.xml": b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        "xxe.xml": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        "broken.zip": b"PK\x03\x04broken",
    }
    paths = {name: folder / name for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    for name, entries in {
        "none.zip": {"readme.txt": b"hello"},
        "two.zip": {"a.xml": finvoice("1"), "b.xml": finvoice("2")},
        "path.zip": {"../../etc/invoice.xml": finvoice("1")},
        "nested.zip": {"invoice.xml": finvoice("1"), "more.zip": zipped({"x.xml": finvoice("2")}, folder)},
        "zipbomb.zip": {"invoice.xml": finvoice("1"), "a.pdf": b"\0" * 300_000_000},
    }.items():
        paths[name] = folder / name
        paths[name].write_bytes(zipped(entries, folder))
    paths["missing.xml"] = folder / "missing.xml"
    return paths


def zipped(entries: dict[str, bytes], folder: Path) -> bytes:
    path = folder / "packing.tmp"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    content = path.read_bytes()
    path.unlink()
    return content

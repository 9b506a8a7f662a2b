import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from simulator import samples

PROJECT = Path(__file__).resolve().parents[3]


def test_same_seed_gives_the_same_bytes(tmp_path):
    """Two runs of the command write the same files, byte for byte."""
    for name in ("one", "two"):
        command = [
            sys.executable,
            "-m",
            "simulator.samples",
            "--count",
            "9",
            "--seed",
            "4",
            "--to",
            str(tmp_path / name),
        ]
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=30)

    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert len(one) == 9
    assert one == two


def test_samples_are_unique():
    """No two samples are alike, nor of the same number, and another seed gives others."""
    made = [*samples.samples(count=60, seed=1), *samples.samples(count=60, seed=2)]

    assert len({sample.content for sample in made}) == len({sample.number for sample in made}) == 120


def test_finvoice_is_truly_iso_8859_15():
    """Finvoice bytes are no UTF-8 and carry the letters that tell ISO-8859-15 from ISO-8859-1."""
    text = b"".join(samples.finvoice(1, at) for at in range(30))

    with pytest.raises(UnicodeDecodeError):
        text.decode()
    assert set("äöå€š") <= set(text.decode("iso-8859-15"))


@pytest.mark.parametrize("kind", samples.KINDS)
def test_sample_is_taken_by_the_operator(operator, uuid, kind):
    """Every kind of sample is read by the operator, totals and all, and goes out by e-invoice."""
    sample = next(samples.samples(count=1, seed=6, kinds=[kind]))

    body = operator.upload(sample.content, uuid=uuid, filename=sample.filename).json()

    assert body["number"] == sample.number
    assert body["sum_tax"] >= body["sum"] > 0
    assert body["destination"] == "EINVOICE"


def test_zip_holds_invoice_picture_and_attachment():
    """A ZIP sample carries one XML and PDFs under names that the operator allows."""
    with zipfile.ZipFile(io.BytesIO(samples.zipped(1, 1))) as archive:
        assert archive.namelist() == ["invoice.xml", "invoice.pdf", "1_toimitusehdot.pdf"]
        assert archive.read("invoice.pdf").startswith(b"%PDF-1.4")


def test_unknown_kind_is_one_clear_line(tmp_path):
    """A wrong kind ends with status 2 and says which kinds there are."""
    command = [sys.executable, "-m", "simulator.samples", "--count", "1", "--to", str(tmp_path), "--kinds", "edi"]

    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "finvoice, ubl, zip" in ended.stderr

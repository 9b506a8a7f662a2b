"""Documents for the tests: made up and unique for the whole run, or the published ones of the corpus."""

import io
import itertools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.samples import samples

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared"
CORPUS = SHARED / "corpus"
SWAGGER = SHARED / "maventa" / "swagger.json"
CORPUS_FILES = 40

_seeds = itertools.count(71)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One document and its file name."""

    filename: str
    content: bytes


def papers(count: int) -> list[Paper]:
    """Make Finvoice, UBL and ZIP documents whose numbers and bytes come only once in a run."""
    return [Paper(filename=each.filename, content=each.content) for each in samples(count=count, seed=next(_seeds))]


def corpus_files() -> list[Path]:
    """The published invoices; their absence is a failure, never a pass."""
    files = sorted(CORPUS.rglob("*.xml"))
    if len(files) != CORPUS_FILES:
        pytest.fail(f"{CORPUS} must hold the {CORPUS_FILES} published invoices, found {len(files)}")
    return files


def swagger() -> Path:
    """The operator's specification; its absence is a failure, never a pass."""
    if not SWAGGER.is_file():
        pytest.fail(f"the operator's specification must lie at {SWAGGER}")
    return SWAGGER


def zips_of(files: list[Path], folder: Path) -> Iterator[Path]:
    """Put each file into a ZIP of its own, with a picture and an attachment beside it."""
    folder.mkdir()
    for file in files:
        target = folder / f"{file.stem}.zip"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes())
            archive.writestr(zipfile.ZipInfo("invoice.pdf"), b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n%%EOF\n")
            archive.writestr(zipfile.ZipInfo("attachment_1.txt"), f"attachment of {file.name}\n")
        target.write_bytes(packed.getvalue())
        yield target

"""Sample invoices: unique, seeded, the same bytes for the same seed. All that is shipped as input is made here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.samples import bundle
from simulator.samples import finvoice as finvoice_writer
from simulator.samples import ubl as ubl_writer
from simulator.samples.content import invent

KINDS = ("finvoice", "ubl", "zip")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample file."""

    filename: str
    kind: str
    number: str
    content: bytes


def finvoice(seed: int, index: int) -> bytes:
    """Write the index-th invoice of a seed as Finvoice 3.0 in ISO-8859-15."""
    return finvoice_writer.write(invent(seed, index))


def ubl(seed: int, index: int) -> bytes:
    """Write the index-th invoice of a seed as Peppol BIS 3.0 in UTF-8."""
    return ubl_writer.write(invent(seed, index))


def zipped(seed: int, index: int) -> bytes:
    """Write the index-th invoice of a seed as a ZIP with its picture and an attachment."""
    xml = finvoice(seed, index) if index % 2 else ubl(seed, index)
    return bundle.write(xml, invent(seed, index).number)


def samples(*, count: int, seed: int, kinds: Sequence[str] = KINDS) -> Iterator[Sample]:
    """Write samples one by one, the kinds in turn.

    Raises: ValueError for an unknown kind or none, or a negative count or seed.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if count < 0 or seed < 0:
        raise ValueError("count and seed cannot be negative")
    if unknown or not kinds:
        raise ValueError(f"kinds are {', '.join(KINDS)}, not {', '.join(unknown) or 'none'}")
    writers = {"finvoice": finvoice, "ubl": ubl, "zip": zipped}
    for index in range(count):
        kind = kinds[index % len(kinds)]
        number = invent(seed, index).number
        end = "zip" if kind == "zip" else "xml"
        yield Sample(f"invoice-{number}-{kind}.{end}", kind, number, writers[kind](seed, index))


def write(directory: Path, *, count: int, seed: int, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Write samples into a folder, which is made if need be; gives the paths in order."""
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for sample in samples(count=count, seed=seed, kinds=kinds):
        path = directory / sample.filename
        path.write_bytes(sample.content)
        paths.append(path)
    return paths

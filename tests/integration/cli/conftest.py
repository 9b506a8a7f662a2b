"""The command line in this process, on a database of its own, with a company and a bell that counts."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.main import build_cli
from pipeline.settings import load_settings
from pipeline.storage.database import Database
from pipeline.storage.vault import new_key
from tests.arming import INSTANCE_KEY, arm_here

COMPANY_ID = "00000000-0000-4000-8000-000000000001"


@dataclass
class Shell:
    """Runs commands; `rung` counts how often the dispatcher was rung for."""

    rung: list[None] = field(default_factory=list)

    def __call__(self, *words: str, stdin: bytes | None = None) -> Result:
        cli = build_cli(lambda: self.rung.append(None))
        return CliRunner().invoke(cli, list(words), input=stdin, catch_exceptions=True)

    def json(self, *words: str, status: int = 0) -> Any:
        result = self(*words, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)


@pytest.fixture
def bare_shell(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell on an empty, armed database."""
    monkeypatch.setenv("POSTILJON_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("POSTILJON_DATABASE_URL", database_url)
    monkeypatch.setenv("POSTILJON_ENCRYPTION_KEY", new_key())
    monkeypatch.setenv("POSTILJON_INSTANCE_KEY", INSTANCE_KEY)
    arm_here(database, load_settings())
    return Shell()


@pytest.fixture
def shell(bare_shell: Shell) -> Shell:
    """A shell on a database that knows the company `demo`."""
    added = bare_shell("company", "add", COMPANY_ID, "--name", "demo", "--user-key", "u", "--vendor-key", "v")
    assert added.exit_code == 0, added.output
    return bare_shell


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """The URL of a simulator that the tests of a module share."""
    command = [sys.executable, "-m", "simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture
def write_invoice(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small Finvoice in ISO-8859-15 with a number of its own."""

    def write(name: str, number: str = "1") -> Path:
        path = tmp_path / name
        path.write_bytes(finvoice(number))
        return path

    return write


def finvoice(number: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="ISO-8859-15"?>\n<Finvoice Version="3.0"><SellerPartyDetails>'
        "<SellerOrganisationName>Myyjä Oy</SellerOrganisationName></SellerPartyDetails><BuyerPartyDetails>"
        "<BuyerOrganisationName>Ostaja €</BuyerOrganisationName></BuyerPartyDetails><InvoiceDetails>"
        f"<InvoiceNumber>{number}</InvoiceNumber><InvoiceTotalVatIncludedAmount "
        'AmountCurrencyIdentifier="EUR">12,50</InvoiceTotalVatIncludedAmount></InvoiceDetails></Finvoice>\n'
    ).encode("iso-8859-15")

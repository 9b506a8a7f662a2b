"""Starts real simulators and speaks to them with a plain HTTP client that knows nothing of the product."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

PROJECT = Path(__file__).resolve().parents[3]
SHARED = PROJECT.parent / "shared" / "maventa"
COMPANY_1 = "00000000-0000-4000-8000-000000000001"
COMPANY_2 = "00000000-0000-4000-8000-000000000002"
START_SECONDS = 30
FINVOICE = (
    '<?xml version="1.0" encoding="ISO-8859-15"?>\n<Finvoice Version="3.0"><SellerPartyDetails>'
    "<SellerPartyIdentifier>1234567-1</SellerPartyIdentifier><SellerOrganisationName>Myyjä Oy</SellerOrganisationName>"
    "</SellerPartyDetails><BuyerPartyDetails><BuyerPartyIdentifier>7654321-2</BuyerPartyIdentifier>"
    "<BuyerOrganisationName>Šakin Öljy € Oy</BuyerOrganisationName></BuyerPartyDetails><InvoiceDetails>"
    '<InvoiceNumber>T-1</InvoiceNumber><InvoiceDate Format="CCYYMMDD">20261101</InvoiceDate>'
    '<InvoiceTotalVatExcludedAmount AmountCurrencyIdentifier="EUR">1000,00</InvoiceTotalVatExcludedAmount>'
    '<InvoiceTotalVatIncludedAmount AmountCurrencyIdentifier="EUR">1255,50</InvoiceTotalVatIncludedAmount>'
    "</InvoiceDetails></Finvoice>\n"
).encode("iso-8859-15")


class Operator:
    """One running simulator."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=10, trust_env=False)
        self.finvoice = FINVOICE
        self.tokens: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def fresh(self) -> None:
        """Forget everything and turn every knob back."""
        self.control("PUT", "knobs", self.knobs)
        self.control("PUT", "faults", "calm")
        self.control("POST", "reset")
        self.tokens.clear()

    def control(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, f"/_simulator/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def remember_knobs(self) -> None:
        self.knobs = self.control("GET", "knobs")

    def ask_token(self, company: str = COMPANY_1, scope: str | None = "eui", **changes: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials", "client_id": company, "client_secret": "demo-user-key",
            "vendor_api_key": "demo-vendor-key", **changes,
        }  # fmt: skip
        return self.http.post("/oauth2/token", data=form | ({"scope": scope} if scope else {}))

    def bearer(self, company: str = COMPANY_1, scope: str = "eui") -> dict[str, str]:
        key = (company, scope)
        if key not in self.tokens:
            self.tokens[key] = self.ask_token(company, scope).json()["access_token"]
        return {"Authorization": f"Bearer {self.tokens[key]}"}

    def call(
        self, method: str, path: str, company: str = COMPANY_1, scope: str = "eui", **options: Any
    ) -> httpx.Response:
        return self.http.request(method, path, headers=self.bearer(company, scope), **options)

    def upload(
        self,
        content: bytes = FINVOICE,
        *,
        uuid: str | None = None,
        company: str = COMPANY_1,
        filename: str = "invoice.xml",
        timeout: float = 10,
        **fields: object,
    ) -> httpx.Response:
        form = {"uuid": uuid} if uuid else {}
        files = {"file": (filename, content, "application/xml")}
        return self.http.post(
            "/v1/invoices", data={**form, **fields}, files=files, headers=self.bearer(company), timeout=timeout
        )

    def held(self, uuid: str) -> dict[str, Any]:
        return self.control("GET", f"ledger?uuid={uuid}")["invoices"].get(uuid, {})

    def until(self, path: str, wanted: Callable[[Any], bool], seconds: float = 10) -> Any:
        """Ask again until the answer is the one wanted."""
        deadline = time.monotonic() + seconds
        while not wanted(found := self.call("GET", path).json()):
            assert time.monotonic() < deadline, f"still {found}"
            select.select([], [], [], 0.02)
        return found

    def until_control(self, path: str, wanted: Callable[[Any], bool], seconds: float = 10) -> Any:
        deadline = time.monotonic() + seconds
        while not wanted(found := self.control("GET", path)):
            assert time.monotonic() < deadline, f"still {found}"
            select.select([], [], [], 0.02)
        return found


def launch(*arguments: str) -> Operator:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--port", "0", *arguments],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        pytest.fail(f"simulator did not start: {process.stderr.read().decode()}")
    operator = Operator(process, json.loads(line)["url"])
    operator.remember_knobs()
    return operator


@pytest.fixture
def start() -> Iterator[Callable[..., Operator]]:
    """Start simulators of one's own; each must have answered by the specification."""
    started: list[Operator] = []

    def begin(*arguments: str) -> Operator:
        started.append(launch(*arguments))
        return started[-1]

    yield begin
    for operator in started:
        operator.close()


@pytest.fixture(scope="session")
def specification() -> Path:
    path = SHARED / "swagger.json"
    if not path.is_file():
        pytest.fail(f"{path} is missing: the simulator's answers cannot be checked against the published specification")
    return path


@pytest.fixture(scope="session")
def shared_operator(specification: Path) -> Iterator[Operator]:
    operator = launch("--validate", str(specification), "--knob", "settle_seconds=0.2")
    yield operator
    operator.close()


@pytest.fixture
def operator(shared_operator: Operator) -> Iterator[Operator]:
    """A simulator as fresh as started; whatever the test makes it answer must satisfy the specification."""
    shared_operator.fresh()
    before = len(shared_operator.control("GET", "violations")["answers"])
    yield shared_operator
    assert shared_operator.control("GET", "violations")["answers"][before:] == []


@pytest.fixture
def uuid() -> str:
    return str(uuid4())


@pytest.fixture
def companies() -> tuple[str, str]:
    return COMPANY_1, COMPANY_2

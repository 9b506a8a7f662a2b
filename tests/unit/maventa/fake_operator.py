"""An operator in a function, for unit tests of the client: answers what a test scripts, and remembers what was asked."""

import json
import uuid as uuids
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import httpx

from pipeline.domain.credentials import CompanyCredentials
from pipeline.maventa.auth import InMemoryTokenStore
from pipeline.maventa.client import MaventaClient
from pipeline.maventa.environment import OperatorHosts
from pipeline.settings import Installation

COMPANY = uuids.UUID("00000000-0000-4000-8000-000000000001")
CREDENTIALS = CompanyCredentials(company_id=COMPANY, user_api_key="user-key", vendor_api_key="vendor-key")

Handler = Callable[[httpx.Request], httpx.Response]


class Clock:
    """A time that moves only when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def answer(status: int, body: object = None, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, content=json.dumps(body).encode(), headers=headers)


def refusal(status: int, code: str = "", message: str = "") -> httpx.Response:
    return answer(status, {"code": code, "message": message, "details": []})


def told(uuid: uuids.UUID, **fields: object) -> dict[str, object]:
    return {
        "id": str(uuid),
        "status": "PENDING",
        "source_format": "FINVOICE30",
        "sum": 10.0,
        "sum_tax": 12.4,
        "currency": "EUR",
        **fields,
    }


class FakeOperator:
    """Routes by method and path; a missing route is a 404 of the operator. Tokens are t1, t2 ..."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.requests: list[httpx.Request] = []
        self.routes: dict[tuple[str, str], Handler] = {
            ("POST", "/oauth2/token"): self._token,
            ("GET", "/oauth2/current"): lambda _: answer(
                200, {"user": {"id": "u"}, "company": {"id": str(COMPANY)}, "scopes": ["eui"]}
            ),
        }
        self.tokens = 0
        self.expires_in = 3600

    def route(self, method: str, path: str, handler: Handler) -> None:
        self.routes[method, path] = handler

    def asked(self, method: str, path: str) -> list[httpx.Request]:
        return [request for request in self.requests if (request.method, request.url.path) == (method, path)]

    def client(self) -> MaventaClient:
        return MaventaClient(
            hosts=OperatorHosts.of(Installation.TEST, override_url="http://operator.test"),
            token_store=InMemoryTokenStore(clock=self.clock),
            transport=httpx.MockTransport(self._handle),
            clock=self.clock,
            random=Random(1),
        )

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        handler = self.routes.get((request.method, request.url.path))
        return handler(request) if handler else refusal(404, "not_found", "Not found")

    def _token(self, _: httpx.Request) -> httpx.Response:
        self.tokens += 1
        return answer(
            200,
            {"access_token": f"t{self.tokens}", "token_type": "bearer", "expires_in": self.expires_in, "scope": "eui"},
        )

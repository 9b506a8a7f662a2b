"""One request and its answer as the endpoints see them: plain values, no sockets."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from simulator import multipart
from simulator.companies import Company
from simulator.errors import Refusal, invalid_parameters, not_found, unauthorized
from simulator.faults import Rule
from simulator.invoices import Invoice
from simulator.parameters import Parameter, Values, pairs_of, read
from simulator.scopes import suffices
from simulator.simulation import Simulation
from simulator.tokens import Token
from simulator.traffic import READS, UPLOADS


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: JSON for lists and tables, bytes as they are, None for an empty body."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Write the body as bytes."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


@dataclass(slots=True)
class Call:
    """What came in, with what the endpoints ask of it. `key` and `number` say which fault may strike."""

    simulation: Simulation
    method: str
    path: str
    names: Mapping[str, str]  # parts of the path
    query: Iterable[tuple[str, str]]
    content_type: str
    authorization: str
    body: bytes
    base_url: str
    now: float
    token: Token | None = None
    uuid: str | None = None
    number: int | None = None
    sha256: str = ""
    parts: list[multipart.Part] | None = None
    fate: Rule | None = None

    @property
    def company(self) -> Company:
        """The company of the token; refuses operators, who have no company's rights."""
        company = self.simulation.companies.get(self.token.company_id or "") if self.token else None
        if company is None:
            raise unauthorized()
        return company

    def query_values(self, table: dict[str, Parameter]) -> Values:
        """Check and read the query."""
        return read(table, self.query, self.simulation.knobs.array_form)

    def json(self) -> dict[str, object]:
        """Read the body as a JSON object."""
        try:
            body = json.loads(self.body or b"{}")
        except ValueError as exc:
            raise invalid_parameters("body is not JSON") from exc
        if not isinstance(body, dict):
            raise invalid_parameters("body is not a JSON object")
        return body

    def json_values(self, table: dict[str, Parameter]) -> Values:
        """Check and read the body as a JSON object of parameters."""
        return read(table, pairs_of(self.json()), "both")

    def invoice(self) -> Invoice:
        """Find the invoice that the path names; another company's is as good as none."""
        invoice = self.simulation.invoices.get(self.names["id"].lower())
        lag = self.simulation.knobs.show_lag_seconds
        if invoice is None or invoice.company_id != self.company.id or self.now < invoice.created_at + lag:
            raise not_found()
        return invoice


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path and method: who may call it, what faults call it, and what it does."""

    method: str
    path: str
    handle: Callable[[Call], Answer]
    scopes: tuple[str, ...] = ()  # any of these; empty: no token needed
    channel: str = "other"
    needs_verified: bool = False
    prepare: Callable[[Call], None] | None = None  # runs before faults are drawn

    @property
    def name(self) -> str:
        """The endpoint as counted in the ledger."""
        return f"{self.method} {self.path}"

    @property
    def lane(self) -> str:
        """Which limit the endpoint falls under."""
        return UPLOADS if self.channel == "upload" else READS


def bearer(simulation: Simulation, authorization: str, now: float) -> str | None:
    """Tell whose valid token a request carries; None for a company that cannot be told."""
    token = _token(simulation, authorization, now)
    return token.company_id if token is not None else None


def authorise(call: Call, endpoint: Endpoint) -> None:
    """Find the token and check that it reaches this endpoint.

    Raises: Refusal 401 for a bad token; for a missing scope or an unverified company by knob.
    """
    if not endpoint.scopes:
        return
    knobs = call.simulation.knobs
    token = _token(call.simulation, call.authorization, call.now)
    if token is None:
        raise unauthorized("Access token is missing, invalid or expired")
    company = call.simulation.companies.get(token.company_id) if token.company_id else None
    if token.company_id and (company is None or company.key_disabled or company.disabled):
        raise unauthorized("Access to the company is disabled")
    if endpoint.needs_verified and company is not None and not company.verified:
        raise unauthorized("Unauthorized", knobs.unverified_status)
    if not suffices(token.scopes, endpoint.scopes):
        raise unauthorized("Unauthorized: scope is missing", knobs.missing_scope_status)
    call.token = token


def _token(simulation: Simulation, authorization: str, now: float) -> Token | None:
    scheme, _, text = authorization.partition(" ")
    return simulation.tokens.find(text.strip(), now) if scheme.lower() == "bearer" else None


def refused(refusal: Refusal) -> Answer:
    """Turn a refusal into its answer."""
    headers = {"Retry-After": refusal.retry_after} if refusal.retry_after is not None else {}
    return Answer(refusal.status, refusal.body(), headers)

"""Tokens and who holds them: /oauth2, /status, /v1/jwk."""

import base64
import binascii
import json
from urllib.parse import parse_qsl, unquote

from simulator import multipart
from simulator.companies import OPERATOR_ID, OPERATOR_SECRET, VENDOR_KEY, Company
from simulator.errors import Refusal, invalid_parameters
from simulator.exchange import Answer, Call, Endpoint
from simulator.invoices import instant
from simulator.parameters import Parameter, pairs_of, read, table_of
from simulator.scopes import granted, granted_to_operator

TABLE = table_of(
    Parameter("grant_type", choices=frozenset({"client_credentials"}), required=True),
    Parameter("client_id"),
    Parameter("client_secret"),
    Parameter("scope"),
    Parameter("vendor_api_key"),
    Parameter("license_data"),
)
# A public RSA key made for the simulator; nothing is signed with it, the operator does not say what its keys are for.
MODULUS = base64.urlsafe_b64encode(bytes(range(128, 256)) * 2).decode().rstrip("=")


def issue(call: Call) -> Answer:
    """POST /oauth2/token."""
    values = read(TABLE, [*_form(call), *_basic(call.authorization)], "both")
    _check_license(values.text("license_data"))
    client_id, secret = values.text("client_id").strip(), values.text("client_secret")
    if client_id == OPERATOR_ID and secret == OPERATOR_SECRET:
        return _granted(call, client_id, None, VENDOR_KEY, granted_to_operator(values.text("scope")))
    company = call.simulation.companies.get(client_id)
    if company is None or not _opens(call, company, secret, values.text("vendor_api_key")):
        raise Refusal(call.simulation.knobs.bad_credentials_status, "invalid_credentials", "Invalid credentials")
    partner = call.simulation.knobs.partner_scopes
    names = granted(values.text("scope"), verified=company.verified, partner=partner)
    return _granted(call, company.id, company.id, values.text("vendor_api_key") or company.vendor_key, names)


def current(call: Call) -> Answer:
    """GET /oauth2/current."""
    company = call.company
    party = {"id": company.id, "name": company.name, "bid": company.bid, "country": company.country}
    user = {"id": f"user-of-{company.id}", "first_name": "Demo", "last_name": "User", "email": company.auth_email}
    names = list(call.token.names) if call.token else []
    return Answer(body={"user": user, "company": {**party, "wizard_done": True, "disabled": False}, "scopes": names})


def authenticated(call: Call) -> Answer:
    """GET /status/authenticated."""
    token = call.token
    return Answer(body={"client_id": token.client_id, "expires_at": instant(token.expires_at)} if token else {})


def keys(_call: Call) -> Answer:
    """GET /v1/jwk."""
    return Answer(body=[{"keys": [{"kty": "RSA", "e": "AQAB", "n": MODULUS, "kid": "simulator-1"}]}])


def prepare(call: Call) -> None:
    """Find whose token is asked for, so that faults can strike one company's tokens."""
    pairs = dict([*_form(call), *_basic(call.authorization)])
    call.uuid = pairs.get("client_id", "").strip().lower()


def _granted(call: Call, client_id: str, company_id: str | None, vendor_key: str, names: list[str]) -> Answer:
    seconds = call.simulation.knobs.token_seconds
    text = call.simulation.tokens.issue(
        client_id=client_id,
        company_id=company_id,
        vendor_key=vendor_key,
        names=names,
        expires_at=call.now + seconds,
        now=call.now,
    )
    body = {"access_token": text, "token_type": "bearer", "expires_in": int(seconds), "scope": " ".join(names)}
    return Answer(body=body, headers={"Cache-Control": "no-store"})


def _opens(call: Call, company: Company, secret: str, vendor_key: str) -> bool:
    vendor_fits = vendor_key == company.vendor_key or not (vendor_key or call.simulation.knobs.vendor_key_required)
    return secret == company.user_key and vendor_fits and not company.key_disabled and not company.disabled


def _form(call: Call) -> list[tuple[str, str]]:
    kind = call.content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return [(part.name, part.text) for part in multipart.parse(call.body, call.content_type)]
    if kind == "application/json":
        return pairs_of(call.json())
    try:
        return parse_qsl(call.body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError as exc:
        raise invalid_parameters("body is not a form") from exc


def _basic(authorization: str) -> list[tuple[str, str]]:
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        client_id, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as exc:
        raise invalid_parameters("Authorization header is not Basic") from exc
    return [("client_id", unquote(client_id)), ("client_secret", unquote(secret))]


def _check_license(text: str) -> None:
    try:
        valid = not text or isinstance(json.loads(text), dict)
    except ValueError:
        valid = False
    if not valid:
        raise invalid_parameters("license_data is not a JSON object")


ENDPOINTS = (
    Endpoint("POST", "/oauth2/token", issue, channel="token", prepare=prepare),
    Endpoint("GET", "/oauth2/current", current, ("global",)),
    Endpoint("GET", "/status/authenticated", authenticated, ("global",)),
    Endpoint("GET", "/v1/jwk", keys),
)

import base64
import time

import pytest


def test_default_scope_has_no_invoice_rights(operator, companies):
    """A token asked for without a scope carries `global company` and may not send."""
    answer = operator.ask_token(scope=None)

    assert answer.json()["scope"] == "global company"
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("bearer", 3600)
    operator.tokens[companies[0], "eui"] = answer.json()["access_token"]
    assert operator.upload().status_code == 401


@pytest.mark.parametrize("status", [401, 403])
def test_missing_scope_answers_as_the_knob_says(operator, status):
    """A valid token without the scope is refused with the status chosen by knob."""
    operator.control("PUT", "knobs", {"missing_scope_status": status})

    assert operator.call("GET", "/v1/invoices", scope="company:read").status_code == status


@pytest.mark.parametrize(
    "form",
    [
        {"data": True},
        {"files": True},
        {"json": True},
    ],
    ids=["urlencoded", "multipart", "json"],
)
def test_token_is_granted_for_every_form(operator, companies, form):
    """The token endpoint reads urlencoded, multipart and JSON bodies."""
    fields = {
        "grant_type": "client_credentials", "client_id": companies[0], "client_secret": "demo-user-key",
        "vendor_api_key": "demo-vendor-key", "scope": "invoice:send",
    }  # fmt: skip
    kind = next(iter(form))
    body = {name: (None, value) for name, value in fields.items()} if kind == "files" else fields

    answer = operator.http.post("/oauth2/token", **{kind: body})

    assert (answer.status_code, answer.json()["scope"]) == (200, "invoice:send")


def test_token_is_granted_for_basic_credentials(operator, companies):
    """Client id and secret may come as HTTP Basic."""
    basic = base64.b64encode(f"{companies[0]}:demo-user-key".encode()).decode()

    answer = operator.http.post(
        "/oauth2/token", data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "wrong",
    [{"client_secret": "x"}, {"vendor_api_key": "x"}, {"client_id": "00000000-0000-4000-8000-00000000ffff"}],
    ids=["user key", "vendor key", "company"],
)
def test_wrong_credentials_get_no_token(operator, wrong, status):
    """Wrong keys answer invalid_credentials with the status chosen by knob."""
    operator.control("PUT", "knobs", {"bad_credentials_status": status})

    answer = operator.ask_token(**wrong)

    assert (answer.status_code, answer.json()["code"]) == (status, "invalid_credentials")


def test_unknown_grant_type_is_refused(operator):
    """Only client_credentials exists."""
    answer = operator.ask_token(grant_type="password")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameters")


def test_expired_token_is_refused(operator):
    """After its lifetime a token is worth nothing."""
    operator.control("PUT", "knobs", {"token_seconds": 0.2})
    operator.bearer()

    deadline = time.monotonic() + 10
    while (answer := operator.call("GET", "/oauth2/current")).status_code == 200:
        assert time.monotonic() < deadline

    assert (answer.status_code, answer.json()["code"]) == (401, "auth_unauthorized")


def test_unverified_company_gets_fewer_scopes_and_may_not_send(operator, companies):
    """An unverified company gets a token, but sending answers Unauthorized."""
    operator.control("PUT", f"companies/{companies[0]}", {"state": "UNVERIFIED"})

    scope = operator.ask_token(scope="company:read invoice:send").json()["scope"]
    answer = operator.upload()

    assert scope == "company:read"
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")
    state = operator.call("GET", "/v1/company/authorization", scope="company").json()
    assert (state["company_state"], state["auth_state"]) == ("UNVERIFIED", "NONE")


def test_disabled_key_ends_tokens_and_gets_none(operator, companies):
    """A disabled key opens nothing, and tokens given before are worth nothing."""
    operator.bearer()

    operator.control("PUT", f"companies/{companies[0]}", {"key_disabled": True})

    assert operator.upload().status_code == 401
    assert operator.ask_token().json()["code"] == "invalid_credentials"


def test_operator_token_does_not_reach_invoices(operator):
    """Operator credentials give operator scopes and no company's invoices."""
    answer = operator.ask_token("demo-operator", "operator:notifications", client_secret="demo-operator-key")
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    assert answer.json()["scope"] == "operator:notifications"
    assert operator.http.get("/v1/invoices", headers=headers).status_code == 401
    assert operator.http.get("/v1/operator/notifications", headers=headers).json() == []


def test_token_tells_whose_it_is(operator, companies):
    """Current user, company and expiry can be asked."""
    current = operator.call("GET", "/oauth2/current").json()

    assert current["company"]["id"] == companies[0]
    assert "eui" in current["scopes"]
    assert operator.call("GET", "/status/authenticated").json()["client_id"] == companies[0]
    assert operator.http.get("/v1/jwk").json()[0]["keys"][0]["kty"] == "RSA"

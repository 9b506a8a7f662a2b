import httpx
import pytest


def violations(operator, kind="requests"):
    return [one["what"] for one in operator.control("GET", "violations")[kind]]


@pytest.fixture
def strict(operator):
    """The shared simulator, and the violations of requests that this test makes."""
    before = len(violations(operator))
    return operator, lambda: violations(operator)[before:]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"fields": {"colour": "red"}}, "form parameter colour is not in the specification"),
        ({"fields": {"uuid[]": "x"}}, "form parameter uuid[] is not in the specification"),
        ({"fields": {"sender_id": "x"}}, "form parameter sender_id is not in the specification"),
        ({"fields": {"format": "PDF"}}, "form parameter format is not one of the allowed values"),
        ({"fields": {"sender_comment": "x" * 1025}}, "form parameter sender_comment is longer than 1024"),
        ({"fields": {"prevent_routing": "1"}}, "form parameter prevent_routing is not a boolean"),
        ({"fields": {"recipient_date_of_birth": "1.1.2000"}}, "form parameter recipient_date_of_birth is not a date"),
    ],
)
def test_upload_beyond_the_specification_is_noted(strict, options, complaint):
    """Unknown, misspelt and wrong form parameters are violations, told without their values."""
    operator, found = strict

    operator.upload(**options["fields"])

    assert found() == [complaint]


@pytest.mark.parametrize("name", ["disabled_routes", "disabled_routes[]"])
def test_both_spellings_of_arrays_are_within_the_specification(strict, name):
    """Arrays may be written with and without brackets."""
    operator, found = strict

    operator.upload(**{name: ["print", "email"]})

    assert found() == []


@pytest.mark.parametrize(
    ("method", "path", "options", "complaint"),
    [
        ("GET", "/v1/invoices?page=one", {}, "query parameter page is not an integer"),
        ("GET", "/v1/invoices?created_at_start=2026-01-01T00:00:00", {}, "created_at_start is not a date-time"),
        ("GET", "/v1/invoices?sender=x", {}, "query parameter sender is not in the specification"),
        ("GET", "/v1/partner/invoice_events/sent_errors", {}, "query parameter happened_after is missing"),
        ("PUT", "/v1/invoices/x/reroute/email", {"json": {}}, "body / breaks required"),
        ("PUT", "/v1/invoices/x/reroute/email", {"json": {"recipient_email": 5}}, "body /recipient_email breaks type"),
        ("PUT", "/v1/invoices/x/reroute/email", {"data": {"recipient_email": "x"}}, "media type application/x-www-form"),
        (
            "PATCH", "/v1/invoices/x/invoice_events", {"json": {"state": "HANDLED", "by": "me"}},
            "body / breaks additionalProperties",
        ),
        ("GET", "/v1/documents", {}, "specified, but the simulator does not offer it"),
        ("GET", "/v1/nowhere", {}, "no such endpoint"),
    ],
)  # fmt: skip
def test_request_beyond_the_specification_is_noted(strict, method, path, options, complaint):
    """Queries, bodies, media types and paths are checked."""
    operator, found = strict

    operator.call(method, path, **options)

    assert complaint in found()[0]


def test_token_request_is_checked(strict):
    """The token endpoint is checked too, and no key appears among the violations."""
    operator, found = strict

    operator.ask_token(password="s3cret")  # the name is unknown to the specification

    assert found() == ["form parameter password is not in the specification"]
    assert "s3cret" not in str(operator.control("GET", "violations"))


def test_answers_are_counted(operator):
    """Every request and answer outside /_simulator/ is checked."""
    before = operator.control("GET", "violations")["checked"]

    operator.bearer()
    operator.upload()

    after = operator.control("GET", "violations")["checked"]
    assert after["requests"] - before["requests"] == after["answers"] - before["answers"] == 2


def test_without_a_specification_nothing_is_claimed(start):
    """A simulator that does not validate says so instead of showing no violations."""
    with httpx.Client(trust_env=False) as client:
        assert client.get(start().url + "/_simulator/violations").status_code == 409


def test_wrong_answer_would_be_seen(start, specification, tmp_path):
    """With a specification that asks for more, the simulator's own answers are violations."""
    path = tmp_path / "swagger.json"
    path.write_text(specification.read_text().replace('"token_type"', '"token_kind"'))
    operator = start("--validate", str(path))

    operator.ask_token()

    assert any("breaks required" in what for what in violations(operator, "answers"))

"""Every parameter of an upload, in the operator's own words, refused before it leaves us when it is wrong."""

import json
from datetime import date
from decimal import Decimal

import pytest
from pydantic import TypeAdapter

from pipeline.domain.errors import InvalidInputError
from pipeline.maventa.schemas import InvoiceAnswer, OAuthToken, UploadOptions

EVERYTHING: dict[str, object] = {
    "format": "FINVOICE30",
    "recipient_type": "consumer",
    "recipient_eia": "003712345678",
    "recipient_email": "a@example.invalid",
    "recipient_operator": "DABAFIHH",
    "disabled_routes": ["print", "email"],
    "sender_comment": "Hei\nÅsa",
    "lang": "FI",
    "route_order": ["vipps", "silent_failure"],
    "recipient_phone_number": "+358401234567",
    "recipient_date_of_birth": "1980-02-29",
    "recipient_ssn": "010180-123A",
    "recipient_efaktura_id": "e1",
    "b2cno_document_type": "CREDIT_NOTE",
    "payment_instruction_identifier": "p1",
    "print_settings": {
        "color": False,
        "letter_class": "ECONOMY",
        "prevent_digital_post": True,
        "print_own_image": True,
        "allow_kivra_fi": False,
    },
    "email_settings": {"xml_format": "TEAPPS30"},
    "prevent_routing": True,
}


def test_everything_goes_out_under_the_operators_names() -> None:
    fields = UploadOptions.parse(EVERYTHING).form_fields()

    assert len(dict(fields)) == 22  # all of the specification but file and uuid
    assert [value for name, value in fields if name == "disabled_routes"] == ["print", "email"]
    assert dict(fields)["print_settings[color]"] == "false"
    assert dict(fields)["prevent_routing"] == "true"
    assert dict(fields)["email_settings[xml_format]"] == "TEAPPS30"
    assert dict(fields)["recipient_date_of_birth"] == date(1980, 2, 29).isoformat()


def test_nothing_given_sends_nothing() -> None:
    assert UploadOptions().form_fields() == []
    assert UploadOptions().to_json() == {}


def test_stored_options_come_back_equal() -> None:
    options = UploadOptions.parse(EVERYTHING)

    assert UploadOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"format": "FINVOICE99"}, "format"),
        ({"recipient_eia": "x" * 129}, "recipient_eia"),
        ({"recipient_email": "x" * 256}, "recipient_email"),
        ({"recipient_operator": "x" * 129}, "recipient_operator"),
        ({"sender_comment": "x" * 1025}, "sender_comment"),
        ({"recipient_phone_number": "1" * 31}, "recipient_phone_number"),
        ({"disabled_routes": ["fax"]}, "disabled_routes"),
        ({"disabled_routes": "print"}, "disabled_routes"),
        ({"lang": "fi"}, "lang"),
        ({"recipient_date_of_birth": "29.2.1980"}, "recipient_date_of_birth"),
        ({"print_settings": {"colour": True}}, "print_settings.colour"),
        ({"print_settings": {"letter_class": "FAST"}}, "print_settings.letter_class"),
        ({"b2cno_document_type": "TENDER"}, "b2cno_document_type"),
        ({"uuid": "x"}, "uuid"),
        ({"recipient_emails": "a@b"}, "recipient_emails"),
    ],
)
def test_wrong_option_is_named_on_one_line(values: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        UploadOptions.parse(values)

    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secret_of_a_person_is_neither_shown_nor_quoted() -> None:
    shown = repr(UploadOptions.parse({"recipient_ssn": "010180-123A"}))
    with pytest.raises(InvalidInputError) as caught:
        UploadOptions.parse({"recipient_ssn": ["010180-123A"]})

    assert "010180-123A" not in shown + str(caught.value)


def test_sums_keep_their_cents() -> None:
    invoice = TypeAdapter(InvoiceAnswer).validate_json(b'{"id":"a","sum":0.1,"sum_tax":1234567.89,"new":1}')

    assert (invoice.sum, invoice.sum_tax) == (Decimal("0.1"), Decimal("1234567.89"))


def test_nulls_of_the_operator_are_read() -> None:
    nulls = dict.fromkeys(InvoiceAnswer.model_fields) | {"id": "a"}

    assert TypeAdapter(InvoiceAnswer).validate_python(nulls).status is None


def test_token_is_not_shown() -> None:
    assert "hidden" not in repr(OAuthToken(access_token="hidden", expires_in=1))

"""What a reroute must be told, and what is refused before the operator is asked."""

import dataclasses

import pytest

from pipeline.domain.errors import InvalidInputError
from pipeline.domain.recipient import Recipient
from pipeline.domain.way import REROUTES, Way, missing_fields, reroute_fields

from .samples import FULL

NOBODY = Recipient()


def test_reroute_takes_what_the_document_says():
    assert reroute_fields(Way.EMAIL, FULL, {}) == {"recipient_email": "laskut@asiakas.example"}
    assert reroute_fields(Way.EINVOICE, FULL, {}) == {
        "recipient_eia": "0192:123456789",
        "recipient_operator": "PEPPOL",
    }
    assert reroute_fields(Way.PRINT, FULL, {}) == {
        "recipient_name": "Asiakas Oy",
        "recipient_address1": "Katu 1",
        "recipient_post_code": "00100",
        "recipient_post_office": "Helsinki",
        "recipient_country": "FI",
    }


def test_optional_fields_go_along_when_known():
    recipient = dataclasses.replace(FULL, address2="PL 1", state="Uusimaa")

    fields = reroute_fields(Way.PRINT, recipient, {"recipient_address2": " "})

    assert fields["recipient_state"] == "Uusimaa"
    assert "recipient_address2" not in fields


def test_given_wins_over_the_document():
    given = {"recipient_country": "se", "recipient_name": "  Kund AB "}

    fields = reroute_fields(Way.PRINT, FULL, given)

    assert (fields["recipient_country"], fields["recipient_name"]) == ("SE", "Kund AB")


@pytest.mark.parametrize("way", sorted(REROUTES))
def test_every_missing_field_is_named_at_once(way):
    missing = missing_fields(way, NOBODY)

    with pytest.raises(InvalidInputError) as raised:
        reroute_fields(way, NOBODY, {})

    assert missing
    assert all(f"{field}=..." in str(raised.value) for field in missing)
    assert missing_fields(way, FULL) == ()


@pytest.mark.parametrize("way", [Way.RESEND, Way.RETRY, Way.CLOSE])
def test_what_is_no_reroute_needs_nothing(way):
    assert missing_fields(way, NOBODY) == ()
    assert reroute_fields(way, NOBODY, {}) == {}


@pytest.mark.parametrize(
    ("way", "given", "told"),
    [
        (Way.EMAIL, {"recipient_email": "a@b.example, c@d.example"}, "no single e-mail address"),
        (Way.EMAIL, {"recipient_email": "nobody"}, "no single e-mail address"),
        (Way.EMAIL, {"recipient_email": "a@" + "b" * 260}, "no single e-mail address"),
        (Way.EMAIL, {"recipient_email": ""}, "recipient_email=..."),
        (Way.EMAIL, {"recipient_name": "x"}, "does not take recipient_name; it takes recipient_email"),
        (Way.RESEND, {"recipient_name": "x"}, "it takes no fields"),
        (Way.PRINT, {"recipient_country": "FIN"}, "no country of two letters"),
        (Way.PRINT, {"recipient_country": "F1"}, "no country of two letters"),
        (Way.PRINT, {"recipient_country": "ÅL"}, "no country of two letters"),
        (Way.PRINT, {"recipient_name": "a\nb"}, "give one line"),
        (Way.EINVOICE, {"recipient_eia": "1" * 129, "recipient_operator": "X"}, "more than 128 characters"),
        (Way.EINVOICE, {"recipient_operator": "1" * 129}, "more than 128 characters"),
    ],
)
def test_unusable_field_is_told_by_name(way, given, told):
    with pytest.raises(InvalidInputError, match="recipient_") as raised:
        reroute_fields(way, FULL, given)

    assert told in str(raised.value)
    assert str(raised.value).startswith(way)


def test_bad_address_of_the_document_is_not_sent():
    with pytest.raises(InvalidInputError, match="no single e-mail address"):
        reroute_fields(Way.EMAIL, Recipient(email="a@b.example;c@d.example"), {})


@pytest.mark.parametrize(
    ("recipient", "given", "operator"),
    [
        (Recipient(eia="0192:123456789"), {}, "PEPPOL"),
        (Recipient(eia="003712345678", operator="DABAFIHH"), {"recipient_eia": "0216:003799"}, "PEPPOL"),
        (Recipient(eia="0192:123456789", operator="DABAFIHH"), {}, "DABAFIHH"),
    ],
    ids=["the document's", "a given one", "the document's own operator wins"],
)
def test_a_peppol_address_needs_no_operator(recipient, given, operator):
    assert reroute_fields(Way.EINVOICE, recipient, given)["recipient_operator"] == operator


def test_another_address_does_not_go_to_the_documents_operator():
    recipient = Recipient(eia="003712345678", operator="DABAFIHH")

    with pytest.raises(InvalidInputError, match="recipient_operator"):
        reroute_fields(Way.EINVOICE, recipient, {"recipient_eia": "003700000000"})

"""The ways out of a failure, and what each reroute must be told. Knows nothing of causes, rules or HTTP."""

import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pipeline.domain.document_values import MAX_EIA_LENGTH, read_email
from pipeline.domain.errors import InvalidInputError
from pipeline.domain.recipient import Recipient


class Way(StrEnum):
    """One way out of a failure."""

    EINVOICE = "einvoice"
    """The operator sends the same invoice to another e-invoice address."""

    EMAIL = "email"
    """The operator sends the same invoice by e-mail."""

    PRINT = "print"
    """The operator prints the same invoice and posts it; costs money."""

    RESEND = "resend"
    """A new invoice with a new UUID, the same or a corrected document, supersedes this one."""

    RETRY = "retry"
    """The same UUID and the same bytes once more; only after a refusal, since then the operator holds nothing."""

    CLOSE = "close"
    """Nothing more is done, and a person said why."""


REROUTES: Final = frozenset({Way.EINVOICE, Way.EMAIL, Way.PRINT})
"""The ways out that the operator carries out on an invoice it holds."""

_REQUIRED: Final[Mapping[Way, Mapping[str, str]]] = MappingProxyType(
    {
        Way.EINVOICE: {"recipient_eia": "eia", "recipient_operator": "operator"},
        Way.EMAIL: {"recipient_email": "email"},
        Way.PRINT: {
            "recipient_name": "name",
            "recipient_address1": "address1",
            "recipient_post_code": "post_code",
            "recipient_post_office": "post_office",
            "recipient_country": "country",
        },
    }
)
_OPTIONAL: Final[Mapping[Way, Mapping[str, str]]] = MappingProxyType(
    {Way.PRINT: {"recipient_address2": "address2", "recipient_state": "state"}}
)
"""The operator's field names and ours. Source: contract section 4 (PUT /v1/invoices/{id}/reroute/...)."""

PEPPOL: Final = "PEPPOL"
"""What stands for the operator of a Peppol address. Source: contract section 2, recipient_operator."""
_PEPPOL_EIA: Final = re.compile(r"[0-9]{4}:\S")
"""An address with the four digits of its scheme (`0192:123456789`). Source: EN 16931 BT-49, ISO 6523 ICD."""
COUNTRY_LENGTH = 2
_MAX_LENGTHS: Final = MappingProxyType({"recipient_eia": MAX_EIA_LENGTH, "recipient_operator": 128})
"""Source: contract section 2, the same fields at upload."""


def missing_fields(way: Way, recipient: Recipient) -> tuple[str, ...]:
    """Name the operator's fields this way needs and the document lacks; none for what is no reroute."""
    required = _REQUIRED.get(way, {})
    return tuple(field for field, ours in required.items() if not _known(recipient, ours))


def reroute_fields(way: Way, recipient: Recipient, given: Mapping[str, str]) -> dict[str, str]:
    """Return the operator's fields for a reroute: what was given, else what the document says.

    A blank given value takes an optional field away. What is no reroute has no fields.
    Raises: InvalidInputError naming every field that is missing, wrong or not of this way.
    """
    required, optional = _REQUIRED.get(way, {}), _OPTIONAL.get(way, {})
    recipient = _readdressed(recipient, given.get("recipient_eia"))
    _refuse_strangers(way, given, {*required, *optional})
    found = {
        field: given.get(field, _known(recipient, ours)).strip() for field, ours in {**required, **optional}.items()
    }
    if missing := [field for field in required if not found[field]]:
        raise InvalidInputError(
            f"{way} needs {', '.join(missing)}; the document does not say, so give {_as_given(missing)}"
        )
    fields = {field: _tidy(field, value) for field, value in found.items() if value}
    if wrong := [f"{field} {why}" for field, value in fields.items() if (why := _what_is_wrong(field, value))]:
        raise InvalidInputError(f"{way} cannot use {'; '.join(wrong)}")
    return fields


def _readdressed(recipient: Recipient, eia: str | None) -> Recipient:
    # The document's operator belongs to the document's address, not to another one.
    if eia is None or eia == recipient.eia:
        return recipient
    return replace(recipient, eia=eia, operator=None)


def _known(recipient: Recipient, ours: str) -> str:
    value = str(getattr(recipient, ours) or "").strip()
    if not value and ours == "operator" and _PEPPOL_EIA.match(recipient.eia or ""):
        return PEPPOL
    return value


def _as_given(fields: list[str]) -> str:
    return " ".join(f"{field}=..." for field in fields)


def _refuse_strangers(way: Way, given: Mapping[str, str], known: set[str]) -> None:
    if strangers := sorted(set(given) - known):
        takes = ", ".join(sorted(known)) or "no fields"
        raise InvalidInputError(f"{way} does not take {', '.join(strangers)}; it takes {takes}")


def _tidy(field: str, value: str) -> str:
    if field == "recipient_country":
        return value.upper()
    if field == "recipient_email":
        return read_email(value) or value
    return value


def _what_is_wrong(field: str, value: str) -> str | None:
    if not value.isprintable():
        return "with a line break or a control character in it: give one line"
    if field == "recipient_email" and read_email(value) is None:
        return "that is no single e-mail address: give one like name@example.com"
    if field == "recipient_country" and not _is_country(value):
        return "that is no country of two letters: give one like FI"
    limit = _MAX_LENGTHS.get(field)
    return f"of more than {limit} characters: give a shorter one" if limit and len(value) > limit else None


def _is_country(value: str) -> bool:
    return len(value) == COUNTRY_LENGTH and value.isascii() and value.isalpha()

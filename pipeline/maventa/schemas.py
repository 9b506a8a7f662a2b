"""The operator's field names, verbatim: what an upload may carry and what its answers hold. Knows no HTTP.

Answers are read tolerantly: unknown fields are ignored, and one that cannot be read is None rather than a lost answer.
Source: the operator's specification 0.85.550, with the nulls that were seen in the wild (contract section 3).
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from pipeline.domain.errors import InvalidInputError

FORM_ARRAY_SUFFIX = ""
"""Arrays in a form: the plain name, repeated (contract, "Wire form of arrays")."""

QUERY_ARRAY_SUFFIX = "[]"
"""Arrays in a query: the name with brackets, repeated (contract, "Wire form of arrays")."""

InvoiceFormat = Literal[
    "VISMAXML53", "VISMAXML60", "SVEFAKTURA10", "SEDI", "E2B", "EHF20", "PEPPOLBIS20", "PEPPOLBIS30", "SIUBL11",
    "SIUBL12", "SIUBL20", "OIOUBL", "OIOUBL21", "VISMAUBL10", "VISMAUBL30", "FINVOICE13", "FINVOICE20", "FINVOICE30",
    "TEAPPS27", "TEAPPS30", "XRECHNUNG23UBL", "XRECHNUNG23CII", "XRECHNUNG23EXTUBL", "XRECHNUNG23EXTCII",
    "XRECHNUNG30UBL", "XRECHNUNG30CII", "XRECHNUNG30EXTUBL", "XRECHNUNG30EXTCII", "FATTURAPA12",
]  # fmt: skip

ReturnFormat = Literal[
    "VISMAXML60", "PEPPOLBIS30", "SIUBL20", "OIOUBL21", "VISMAUBL30", "FINVOICE30", "TEAPPS30", "XRECHNUNG23UBL",
    "XRECHNUNG23CII", "XRECHNUNG23EXTUBL", "XRECHNUNG23EXTCII", "XRECHNUNG30UBL", "XRECHNUNG30CII",
    "XRECHNUNG30EXTUBL", "XRECHNUNG30EXTCII", "FATTURAPA12", "ORIGINAL_IMAGE", "GENERATED_IMAGE",
    "ORIGINAL_OR_GENERATED_IMAGE", "EXTENDED_DETAILS",
]  # fmt: skip

Route = Literal["print", "email", "einvoice"]
ConsumerRoute = Literal[
    "netbank", "netbank_cvl", "netbank_cvl_hold", "vipps", "dpi", "email", "print", "silent_failure"
]
ActionType = Literal["RECEIVED", "CREATED", "SENT", "DELIVERED", "INFO", "ERROR"]


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrintSettings(_Given):
    """How the operator prints, if it does."""

    color: bool | None = None
    letter_class: Literal["PRIORITY", "ECONOMY"] | None = None
    prevent_digital_post: bool | None = None
    """Keeps it out of OmaPosti (Finland)."""
    print_own_image: bool | None = None
    allow_kivra_fi: bool | None = None
    """Tries Kivra first even where `einvoice` is disabled (Finland, consumers)."""


class EmailSettings(_Given):
    """What goes with an e-mail."""

    xml_format: InvoiceFormat | None = None
    """Forces the e-mail route, with the XML attached in this format."""


class UploadOptions(_Given):
    """Every parameter of an upload but the file and the UUID, under the operator's own names."""

    format: InvoiceFormat | None = None
    recipient_type: Literal["b2b", "consumer"] | None = None
    """Norway only: `consumer` makes route_order count."""
    recipient_eia: str | None = Field(default=None, max_length=128)
    recipient_email: str | None = Field(default=None, max_length=255)
    """One address, not a list."""
    recipient_operator: str | None = Field(default=None, max_length=128)
    disabled_routes: tuple[Route, ...] = ()
    sender_comment: str | None = Field(default=None, max_length=1024)
    lang: Literal["FI", "SE", "NO", "DK", "NL", "EN"] | None = None
    route_order: tuple[ConsumerRoute, ...] = ()
    recipient_phone_number: str | None = Field(default=None, max_length=30)
    recipient_date_of_birth: date | None = None
    recipient_ssn: str | None = Field(default=None, repr=False)
    recipient_efaktura_id: str | None = None
    b2cno_document_type: Literal["INVOICE", "CREDIT_NOTE", "REMINDER", "COLLECTION_NOTICE"] | None = None
    payment_instruction_identifier: str | None = None
    print_settings: PrintSettings | None = None
    email_settings: EmailSettings | None = None
    prevent_routing: bool | None = None
    """The invoice counts as sent without going anywhere (receivables only)."""

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Read options from outside, nested groups as mappings.

        Raises: InvalidInputError naming each wrong option on one line, without the values.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as exc:
            raise InvalidInputError(f"sending options: {_explain(exc)}") from exc

    def to_json(self) -> dict[str, object]:
        """Return what is set, for storage: equal options give equal dicts."""
        dumped: dict[str, object] = self.model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in dumped.items() if value not in ([], {})}

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Self:
        """Read back what `to_json` gave. Raises: InvalidInputError as with `parse`."""
        return cls.parse(stored)

    def form_fields(self) -> list[tuple[str, str]]:
        """Return the form fields as they go out, in the order of the specification."""
        fields: list[tuple[str, str]] = []
        for name, value in self.to_json().items():
            if isinstance(value, dict):
                fields += [(f"{name}[{part}]", _form_text(given)) for part, given in value.items()]
            elif isinstance(value, list):
                fields += [(f"{name}{FORM_ARRAY_SUFFIX}", _form_text(item)) for item in value]
            else:
                fields.append((name, _form_text(value)))
        return fields


def _form_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _explain(exc: ValidationError) -> str:
    # Values stay out: an option may be a social security number.
    return "; ".join(_explain_one(error["loc"], error["type"], error["msg"]) for error in exc.errors())


def _explain_one(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in loc)
    return f"{name} is no option of the operator" if kind == "extra_forbidden" else f"{name}: {message}"


T = TypeVar("T")


def _none_if_unreadable(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


def _in_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return None


Lenient = Annotated[T | None, WrapValidator(_none_if_unreadable)]
Instant = Annotated[Lenient[datetime], AfterValidator(_in_utc)]
"""Aware UTC; an instant without a zone is taken as UTC."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


class Party(_Told):
    """Sender or recipient as the operator read it."""

    eia: Lenient[str] = None
    bid: Lenient[str] = None
    name: Lenient[str] = None
    country: Lenient[str] = None
    operator: Lenient[str] = None


class InvoiceFile(_Told):
    """A file the operator keeps with an invoice."""

    id: str
    filename: Lenient[str] = None
    type: Lenient[str] = None
    mimetype: Lenient[str] = None
    href: Lenient[str] = None


class Action(_Told):
    """One thing that happened to an invoice at the operator."""

    type: str
    channel: Lenient[str] = None
    message: Lenient[str] = None
    key: Lenient[str] = None
    happened_at: Instant = None


class InvoiceAnswer(_Told):
    """An invoice as the operator tells it. `status` is PENDING, DELIVERED or FAILED, kept verbatim."""

    id: str
    status: Lenient[str] = None
    reference: Lenient[str] = None
    number: Lenient[str] = None
    sender: Lenient[Party] = None
    recipient: Lenient[Party] = None
    received_at: Instant = None
    created_at: Instant = None
    date: Lenient[str] = None
    date_due: Lenient[str] = None
    source_format: Lenient[str] = None
    sum: Lenient[Decimal] = None
    sum_tax: Lenient[Decimal] = None
    """The gross total, tax included, whatever the name says (contract section 3)."""
    currency: Lenient[str] = None
    origin: Lenient[str] = None
    origin_type: Lenient[str] = None
    destination: Lenient[str] = None
    comment: Lenient[str] = None
    files: Lenient[tuple[InvoiceFile, ...]] = None
    actions: Lenient[tuple[Action, ...]] = None
    revision: Lenient[dict[str, object]] = None


class CompanyAuthorization(_Told):
    """Whether the company may send: only VERIFIED ones may."""

    auth_state: Lenient[str] = None
    auth_email: Lenient[str] = None
    company_state: Lenient[str] = None


class Notification(_Told):
    """A webhook subscription."""

    id: str
    destination_type: Lenient[str] = None
    destination: Lenient[str] = None
    vendor_key: Lenient[str] = Field(default=None, repr=False)
    events: Lenient[tuple[str, ...]] = None


class CurrentUser(_Told):
    """The user behind a token."""

    id: Lenient[str] = None


class CurrentCompany(_Told):
    """The company behind a token."""

    id: Lenient[str] = None
    name: Lenient[str] = None
    bid: Lenient[str] = None


class OAuthCurrent(_Told):
    """Who a token belongs to and what it may do."""

    user: Lenient[CurrentUser] = None
    company: Lenient[CurrentCompany] = None
    scopes: Lenient[tuple[str, ...]] = None


class OAuthToken(_Told):
    """A token as it was granted."""

    access_token: str = Field(repr=False, pattern=r"^[!-~]+$")
    token_type: Lenient[str] = None
    expires_in: int = Field(gt=0)
    scope: Lenient[str] = None


class OutboundError(_Told):
    """A sending failure, told across the companies of a partner."""

    company_id: Lenient[str] = None
    invoice_id: Lenient[str] = None


class ErrorAnswer(_Told):
    """The body of every refusal."""

    code: Lenient[str] = None
    message: Lenient[str] = None
    details: Lenient[tuple[str, ...]] = None

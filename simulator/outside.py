"""Invoices that somebody else put into the operator's books: made from what the control call says of them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from uuid import UUID

from simulator import documents, routing
from simulator.documents import Facts
from simulator.errors import SettingError
from simulator.exchange import Call
from simulator.invoices import Invoice

TEXTS = ("number", "reference", "date", "date_due", "currency")
AMOUNTS = ("sum", "sum_tax")
PARTIES = ("sender", "recipient")
ENCODING = re.compile(r"""<\?xml[^>]*\sencoding=["']([\w.-]+)""")
FIELDS = ("company", "document", *TEXTS, *AMOUNTS, *PARTIES)


def invoice(call: Call, content: Mapping[str, object]) -> tuple[Invoice, bytes]:
    """Make the invoice that the call speaks of, and its bytes; it takes its way like any other.

    Raises: SettingError naming what is wrong, Refusal for a document that cannot be read.
    """
    unknown = sorted(set(content) - set(FIELDS))
    if unknown:
        raise SettingError(f"an invoice has no {', '.join(unknown)}; it takes {', '.join(FIELDS)}")
    company = call.simulation.companies.get(_text("company", content.get("company")))
    if company is None:
        raise SettingError(f"company is the UUID of a company of the simulator, not {content['company']!r}")
    document = _encoded(_text("document", content.get("document", "")))
    facts = documents.read(document, None) if document else Facts(source_format="FINVOICE30", family="")
    facts = replace(facts, **_stated(facts, content))  # type: ignore[arg-type]
    way = routing.choose(_wish(facts), print_enabled=company.print_enabled)
    made = Invoice(
        id=_uuid(call.names["id"]),
        company_id=company.id,
        created_at=call.now,
        facts=facts,
        sha256=sha256(document).hexdigest(),
        filename="invoice.xml",
        is_zip=False,
        members=(),
        destination=way.channel,
    )
    steps = routing.timeline(way, at=call.now, knobs=call.simulation.knobs, fate=None, uuid=made.id)
    made.steps = [routing.created(call.now), *steps]
    return made, document


def _stated(facts: Facts, content: Mapping[str, object]) -> dict[str, object]:
    stated: dict[str, object] = {name: _text(name, content[name]) for name in TEXTS if name in content}
    stated.update({name: _amount(name, content[name]) for name in AMOUNTS if name in content})
    for name in PARTIES:
        if name in content:
            stated[name] = {**getattr(facts, name), **_party(name, content[name])}
    return stated


def _wish(facts: Facts) -> routing.Wish:
    recipient = facts.recipient
    return routing.Wish(eia=recipient.get("eia", ""), email=facts.recipient_email, bid=recipient.get("bid", ""))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise SettingError(f"{name} is a text, not {value!r}")
    return value


def _encoded(document: str) -> bytes:
    """Write a document in the encoding that its own first line states."""
    stated = ENCODING.match(document)
    try:
        return document.encode(stated[1] if stated else "utf-8")
    except (LookupError, UnicodeEncodeError) as exc:
        raise SettingError(f"document cannot be written in its encoding: {exc}") from exc


def _amount(name: str, value: object) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite():
        raise SettingError(f"{name} is an amount, not {value!r}")
    return amount


def _party(name: str, value: object) -> dict[str, str]:
    known = {"name", "bid", "eia", "country", "operator"}
    if not isinstance(value, dict) or not set(value) <= known or not all(isinstance(v, str) for v in value.values()):
        raise SettingError(f"{name} is a table of texts: {', '.join(sorted(known))}")
    return value


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError as exc:
        raise SettingError(f"an invoice is known by a UUID, not {text!r}") from exc

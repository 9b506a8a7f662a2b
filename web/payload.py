"""What is read of a webhook's body: as little as possible, and none of it is believed. Knows no HTTP and no storage."""

import json
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID


class MalformedError(Exception):
    """The body is nothing the operator would send."""


@dataclass(frozen=True, kw_only=True)
class Payload:
    """The two things of a webhook that are used: a word for the history, and which invoice to ask about."""

    event: str
    invoice_id: UUID | None
    """None when it names none, or one that cannot be ours: our invoices have UUIDs."""


def read_payload(body: bytes) -> Payload:
    """Read a webhook's body, whatever was put into it. Raises: MalformedError and nothing else.

    Which keys are always present is unknown (contract section 5): only the event is required. `company_id` is left
    alone: the company is the one whose secret the path has.
    """
    try:
        told = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_skip, parse_float=_skip)
    except (ValueError, RecursionError) as exc:
        raise MalformedError("no JSON") from exc
    if not isinstance(told, dict):
        raise MalformedError("no object")
    event, details = told.get("event"), told.get("event_data")
    if not isinstance(event, str) or not event.strip():
        raise MalformedError("no event")
    if not isinstance(details, dict | None):
        raise MalformedError("event_data is no object")
    return Payload(event=event, invoice_id=_uuid((details or {}).get("invoice_id")))


def _uuid(value: object) -> UUID | None:
    if not isinstance(value, str):
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


def _skip(_digits: str) -> None:
    """Leave a number unread: none is used, and one of thousands of digits would cost."""


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedError(f"{name} is no JSON")

"""Why an invoice failed and who can end it: the words of the verdict table. Knows no text of the operator."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Cause(StrEnum):
    """What stood in the way. Every failure has exactly one."""

    RECIPIENT_ADDRESS = "recipient_address"
    """The address is wrong, missing or in no directory; another address or another channel can end it."""

    RECIPIENT_UNREACHABLE = "recipient_unreachable"
    """The address is known, but the recipient's operator or mailbox did not take the invoice."""

    CONTENT = "content"
    """The document itself breaks a rule; as it stands it will fail again on the same channel."""

    COMPANY_SETTINGS = "company_settings"
    """The sending company switched something off or never on, such as printing; its own choice to change."""

    COMPANY = "company"
    """Keys, rights, verification or limits of the sending company; the document and the recipient are fine."""

    OPERATOR = "operator"
    """The operator, or we in talking to it, failed for a technical reason."""

    UNKNOWN = "unknown"
    """A text that no row knows. A person decides, never a rule."""


class Owner(StrEnum):
    """The lane in which a case waits."""

    ACCOUNTANT = "accountant"
    """Knows the customer, the document and what the company has chosen."""

    ENGINEER = "engineer"
    """Knows the keys, the operator and this installation."""


OWNERS: Final[Mapping[Cause, Owner]] = MappingProxyType(
    {
        Cause.RECIPIENT_ADDRESS: Owner.ACCOUNTANT,
        Cause.RECIPIENT_UNREACHABLE: Owner.ACCOUNTANT,
        Cause.CONTENT: Owner.ACCOUNTANT,
        Cause.COMPANY_SETTINGS: Owner.ACCOUNTANT,
        Cause.COMPANY: Owner.ENGINEER,
        Cause.OPERATOR: Owner.ENGINEER,
        Cause.UNKNOWN: Owner.ENGINEER,
    }
)
"""Who can end a case of each cause; a verdict row may name the other one."""

ADDRESS_CAUSES: Final = frozenset({Cause.RECIPIENT_ADDRESS, Cause.RECIPIENT_UNREACHABLE})
"""Where the address did not lead to the recipient: a corrected document is believed rather than what was given."""

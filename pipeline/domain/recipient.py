"""Where an invoice can be sent instead: what a document says of its recipient. Knows nothing of XML or of rules."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """What the document says about the buyer's addresses; None where it does not say. Source: EN 16931 (BT numbers)."""

    name: str | None = None
    """BT-44."""
    eia: str | None = None
    """BT-49: electronic address with its scheme (`0192:123456789`), or the Finnish e-invoice address."""
    operator: str | None = None
    """The recipient's operator (Finnish intermediator id); most formats have none."""
    email: str | None = None
    """BT-49 when it is an e-mail address, else BT-58."""
    address1: str | None = None
    """BT-50."""
    address2: str | None = None
    """BT-51."""
    post_code: str | None = None
    """BT-53."""
    post_office: str | None = None
    """BT-52: the town."""
    state: str | None = None
    """BT-54: country subdivision."""
    country: str | None = None
    """BT-55, two capital letters."""

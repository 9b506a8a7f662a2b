"""The script `mixed-failures`: what a sender's follow-up has to end well. Knows rules only, not who plays them.

About one invoice in ten fails, each by its UUID for one of nine reasons; some fail after they were delivered, some
are refused at upload, and uploads and reroutes get unclear answers. What is rerouted or sent anew mostly succeeds.
"""

from typing import Final

from simulator.faults import Fault, Rule
from simulator.routing import (
    EINVOICE,
    EMAIL,
    INVALID_EMAIL,
    LATE_FAILURE,
    NO_ROUTE,
    NOT_ENOUGH_INFORMATION,
    PRINT,
    PRINT_DISABLED,
    UNKNOWN_OPERATOR,
)

BANK_NOT_ACTIVATED: Final = "Bank network is not activated"
NOT_VALID: Final = (
    "Validation of the invoice failed: [BR-CO-15] Invoice total amount with VAT is not the sum of its parts"
)
UNHEARD_OF: Final = "Internal processing code 7731"  # a text that no table of causes has a row for
LATE_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 5.0  # then the connection is reset; a client with a shorter time-out gives up by itself


def _fails(probability: float, key: str, text: str, channel: str = EINVOICE, seconds: float | None = None) -> Rule:
    """Let a share of first uploads fail, at once or so much later."""
    return Rule(
        Fault.FAILED,
        probability=probability,
        attempt="first",
        key=key,
        text=text,
        channel=channel,
        seconds=seconds,
    )


# Probabilities add up to 0.105, of which 0.10 is left because an invoice fails for one reason only.
CAUSES: Final = (
    _fails(0.015, "action_route_failed", NOT_ENOUGH_INFORMATION),
    _fails(0.012, "action_send_fail", PRINT_DISABLED, PRINT, 1.0),
    _fails(0.015, "action_sent_email_failed", INVALID_EMAIL, EMAIL),
    _fails(0.015, "action_route_failed", NO_ROUTE, seconds=1.0),
    _fails(0.012, "action_send_fail", UNKNOWN_OPERATOR),
    _fails(0.010, "action_error", BANK_NOT_ACTIVATED, seconds=1.0),
    _fails(0.008, "action_trx_fail", LATE_FAILURE, seconds=2.0),
    _fails(0.010, "action_error", NOT_VALID),
    _fails(0.008, "action_error", UNHEARD_OF, seconds=1.0),
)
LATE: Final = Rule(
    Fault.DELIVERED_THEN_FAILED,
    probability=0.017,  # of what did not fail before, which makes 1.5 % of all
    attempt="first",
    seconds=LATE_SECONDS,
    key="action_delivery_failed",
    text=LATE_FAILURE,
)
REFUSED: Final = Rule(
    Fault.STATUS,
    probability=0.01,
    attempt="always",  # the same document is refused again
    status=422,
    code="invalid_parameters",
    message=NOT_ENOUGH_INFORMATION,
)
UPLOADS: Final = (
    Rule(Fault.ACCEPT_THEN_SILENCE, probability=0.02, seconds=SILENCE_SECONDS),
    Rule(Fault.RESET_AFTER_ACCEPT, probability=0.02),
    Rule(Fault.LYING_500, probability=0.02),
)
REROUTES: Final = (
    Rule(Fault.ACCEPT_THEN_SILENCE, on="reroute", probability=0.06, seconds=SILENCE_SECONDS),
    Rule(Fault.RESET_AFTER_ACCEPT, on="reroute", probability=0.06),
    Rule(Fault.RESET_BEFORE, on="reroute", probability=0.06),
    Rule(Fault.LYING_500, on="reroute", probability=0.08),
    Rule(Fault.SILENCE, on="reroute", probability=0.04, seconds=SILENCE_SECONDS),
    Rule(Fault.FAILED, on="reroute", probability=0.05, seconds=1.0, key="action_delivery_failed", text=LATE_FAILURE),
)
MIXED_FAILURES: Final = (REFUSED, *CAUSES, LATE, *UPLOADS, *REROUTES)

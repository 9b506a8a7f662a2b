"""The words of actions as the specification lists them. Knows nothing of who uses them."""

from typing import Final

ACTION_CHANNELS: Final = ("EINVOICE", "EMAIL", "PRINT")
# Source: swagger.json 0.85.550, enum of an action's key, without null.
ACTION_KEYS: Final = frozenset(
    f"action_{name}"
    for name in (
        "created", "sent_print", "sent_email", "error", "route_failed", "incoming_receive", "incoming_bank",
        "internal_sent", "sent_email_failed", "seen", "send_fail", "accepted", "paper_ordered", "sent_paper", "expired",
        "confirmed", "declined", "disputed", "archived", "paid", "reminder", "delivered", "delivery_failed", "signed",
        "trx_ok", "trx_fail", "trx_delay", "canceled", "collection", "notice", "reminder_and_collection",
        "send_without_attachments",
    )
)  # fmt: skip
# What a recipient may let the sender know after delivery; each line is one recipient's habit.
RECIPIENT_HABITS: Final = (
    ("action_seen",),
    ("action_seen", "action_accepted"),
    ("action_seen", "action_accepted", "action_paid"),
    ("action_seen", "action_declined"),
    ("action_seen", "action_disputed"),
    ("action_accepted",),
    ("action_paid",),
    ("action_seen", "action_disputed", "action_accepted", "action_paid"),
)

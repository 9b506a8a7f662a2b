"""Which URL the operator is to post to, and which of its subscriptions are ours. Asks nobody."""

from urllib.parse import urlsplit

from pipeline.domain.errors import ConfigurationError
from pipeline.maventa.schemas import Notification
from pipeline.storage.webhooks import PATH, Webhook

EVENTS = (
    "DOCUMENTS.INVOICE.DELIVERED",
    "DOCUMENTS.INVOICE.DELIVERY_CONFIRMED",
    "DOCUMENTS.INVOICE.FAILED",
)
"""Those whose spelling is known (contract section 5), and all that an invoice we sent can bring."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def checked_base_url(given: str | None, *, must_be_safe: bool) -> str:
    """Return the URL below which the receiver is reached, in one spelling.

    Raises: ConfigurationError when there is none, it is no URL, or the secret would travel in the clear.
    """
    if not given:
        raise ConfigurationError(
            "no URL: give --url or set POSTILJON_WEBHOOK_URL to where the operator reaches the receiver"
        )
    try:
        parts = urlsplit(given.strip())
        port, host = parts.port, parts.hostname
    except ValueError as exc:
        raise ConfigurationError("the webhook URL cannot be read") from exc
    is_plain = parts.scheme in {"http", "https"} and not (parts.query or parts.fragment or parts.username)
    if not host or not is_plain or any(character.isspace() for character in given.strip()):
        raise ConfigurationError("the webhook URL must look like https://hooks.example.com")
    if must_be_safe and parts.scheme != "https" and host not in LOCAL_HOSTS:
        raise ConfigurationError(f"the webhook URL of {host} must begin with https: its path is a secret")
    shown = f"[{host}]" if ":" in host else host
    usual = port is None or port == {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}{'' if usual else f':{port}'}{parts.path.rstrip('/')}"


def is_of(each: Notification, webhook: Webhook) -> bool:
    """Tell whether a subscription carries our secret, wherever it points."""
    return (each.destination or "").endswith(PATH + webhook.secret)


def placed_at(ours: list[Notification], webhook: Webhook, base_url: str) -> list[Notification]:
    """Return those of ours that point below a URL."""
    tail = PATH + webhook.secret
    # The operator may write scheme and host in its own way.
    return [
        each for each in ours if (each.destination or "").removesuffix(tail).rstrip("/").lower() == base_url.lower()
    ]


def fitting(ours: list[Notification], webhook: Webhook, base_url: str) -> list[Notification]:
    """Return those of ours that point below a URL and tell all that we want to hear."""
    return [
        each for each in placed_at(ours, webhook, base_url) if each.events is None or set(EVENTS) <= set(each.events)
    ]


def host_of(url: str) -> str | None:
    """Return host and port of a URL in small letters; None when there are none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower() or None
    except ValueError:
        return None

"""Where the operator's webhooks are received, and the hints they leave. Knows nothing of HTTP."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session, select

from pipeline.domain.document_values import clean_text
from pipeline.storage.case_tables import WebhookRow
from pipeline.storage.shelving import bring_back
from pipeline.storage.vault import Vault

PATH = "/webhooks/"
"""What stands between the base URL and the secret."""
EVENT_LIMIT = 100
SOON = timedelta(seconds=1)
"""A look due within that time is soon enough: doubles that race each other then add nothing."""
HEARD_EVERY = timedelta(seconds=5)
"""How exact `heard_at` is: a burst of hints for one company must not queue up for one row."""

HINT = text("""
    WITH hook AS (
        SELECT company_id FROM webhook WHERE secret_sha256 = :secret
    ), before AS (
        SELECT i.id, i.look_at FROM invoice_open AS i JOIN hook ON hook.company_id = i.company_id
        WHERE i.id = CAST(:invoice_id AS uuid) AND i.state IN ('accepted', 'delivered', 'failed')
        FOR UPDATE OF i
    ), hinted AS (
        UPDATE invoice_open AS invoice SET look_at = :now FROM before
        WHERE invoice.id = before.id AND (before.look_at IS NULL OR before.look_at > :soon)
        RETURNING invoice.id, invoice.state
    ), noted AS (
        INSERT INTO event (invoice_id, at, kind, source, target, cause)
        SELECT id, :now, 'webhook', state, state, :cause FROM hinted
    ), heard AS (
        UPDATE webhook SET heard_at = :now FROM hook
        WHERE webhook.company_id = hook.company_id AND (webhook.heard_at IS NULL OR webhook.heard_at < :stale)
    )
    SELECT EXISTS (SELECT FROM hook) AS is_known, EXISTS (SELECT FROM before) AS is_followed,
        EXISTS (SELECT FROM hinted) AS is_hinted
""")
# Of the hook's own company, and what a look could still tell something about: nothing else is moved by a post.
IS_AWAY = text("""
    SELECT EXISTS (SELECT FROM invoice AS i JOIN webhook AS hook ON hook.company_id = i.company_id
        WHERE hook.secret_sha256 = :secret AND i.id = :invoice_id AND i.shelf <> 0
            AND i.state IN ('delivered', 'failed'))
""")
MINT = text("""
    INSERT INTO webhook (company_id, secret, secret_sha256, base_url, created_at)
    VALUES (:company_id, :secret, :sha256, :base_url, :now)
    ON CONFLICT (company_id) DO NOTHING
""")
SETTLE = text(
    "UPDATE webhook SET base_url = :base_url, subscription_id = :subscription_id WHERE company_id = :company_id"
)
FORGET = text("DELETE FROM webhook WHERE company_id = :company_id RETURNING company_id")
BOUND_WAITS = text("SELECT set_config('statement_timeout', :milliseconds, true)")


class Hint(StrEnum):
    """What became of a webhook. Whichever it is, no invoice changed its state."""

    UNKNOWN_SECRET = "unknown_secret"
    """No company has this secret; nothing was written."""
    NOT_FOLLOWED = "not_followed"
    """No invoice of this company that the operator could tell something new about."""
    ALREADY_DUE = "already_due"
    """The invoice is about to be looked at anyway: a double, or a flood."""
    STORED = "stored"
    """The invoice is looked at next, and its history says why."""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A company's receiver. The secret is the last part of its path and the only thing that keeps forgers out."""

    company_id: UUID
    secret: str = field(repr=False)
    base_url: str
    subscription_id: str | None
    heard_at: datetime | None

    def url_at(self, base_url: str) -> str:
        """Return the destination for the operator below a base URL."""
        return f"{base_url}{PATH}{self.secret}"

    @property
    def url(self) -> str:
        """The destination as it was last registered."""
        return self.url_at(self.base_url)


def hash_secret(secret: str) -> bytes:
    """Return what a secret is found by; the secret itself is never compared."""
    return hashlib.sha256(secret.encode()).digest()


def store_hint(session: Session, secret_sha256: bytes, *, invoice_id: UUID | None, event: str, now: datetime) -> Hint:
    """Make an invoice due for a look because somebody who knows the secret named it; never more than that.

    Of the invoices, only the webhook's own company's are found, whatever the payload says. A look that runs at this
    moment holds `look_at` at the end of its lease; the hint brings it forward, and the record of that look sees
    that it is no longer its own and leaves it (following_learned.py). The age curve asks the next time in any case.
    """
    named = clean_text(event, limit=EVENT_LIMIT) or "something without a name"
    parameters = {
        "secret": secret_sha256,
        "invoice_id": invoice_id,
        "now": now,
        "soon": now + SOON,
        "stale": now - HEARD_EVERY,
        "cause": f"the operator hints {named}; asking it",
    }
    found = session.connection().execute(HINT, parameters).one()
    if not found.is_known:
        return Hint.UNKNOWN_SECRET
    if not found.is_followed and invoice_id is not None and _bring_back(session, secret_sha256, invoice_id):
        found = session.connection().execute(HINT, parameters).one()
    if not found.is_followed:
        return Hint.NOT_FOLLOWED
    return Hint.STORED if found.is_hinted else Hint.ALREADY_DUE


def _bring_back(session: Session, secret_sha256: bytes, invoice_id: UUID) -> bool:
    asked = {"secret": secret_sha256, "invoice_id": invoice_id}
    is_away = session.connection().execute(IS_AWAY, asked).scalar_one()
    return bool(is_away and bring_back(session, [invoice_id]))


def bound_waits(session: Session, *, seconds: float) -> None:
    """End every statement of this transaction after so long; whoever waits for the answer would not stay longer."""
    session.connection().execute(BOUND_WAITS, {"milliseconds": str(int(seconds * 1000))})


def mint_webhook(
    session: Session, company_id: UUID, *, secret: str, base_url: str, vault: Vault, now: datetime
) -> Webhook:
    """Return the company's webhook, made with this secret if there is none yet; the secret of an older one stays.

    Raises: ConfigurationError when the stored secret cannot be decrypted.
    """
    parameters = {
        "company_id": company_id,
        "secret": vault.close(secret),
        "sha256": hash_secret(secret),
        "base_url": base_url,
        "now": now,
    }
    session.connection().execute(MINT, parameters)
    return _webhook(session.exec(select(WebhookRow).where(WebhookRow.company_id == company_id)).one(), vault)


def find_webhook(session: Session, company_id: UUID, *, vault: Vault) -> Webhook | None:
    """Return the company's webhook if it has one. Raises: ConfigurationError when it cannot be decrypted."""
    row = session.get(WebhookRow, company_id)
    return _webhook(row, vault) if row is not None else None


def settle_webhook(session: Session, company_id: UUID, *, base_url: str, subscription_id: str) -> None:
    """Note under which URL and identifier the operator knows it."""
    parameters = {"company_id": company_id, "base_url": base_url, "subscription_id": subscription_id}
    session.connection().execute(SETTLE, parameters)


def forget_webhook(session: Session, company_id: UUID) -> bool:
    """Delete the company's webhook: its secret opens nothing any more. False when there was none."""
    return session.connection().execute(FORGET, {"company_id": company_id}).scalar_one_or_none() is not None


def _webhook(row: WebhookRow, vault: Vault) -> Webhook:
    return Webhook(
        company_id=row.company_id,
        secret=vault.open(row.secret),
        base_url=row.base_url,
        subscription_id=row.subscription_id,
        heard_at=row.heard_at,
    )

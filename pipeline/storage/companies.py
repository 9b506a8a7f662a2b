"""Companies and their keys: stored encrypted, handed out as credentials. Knows nothing of tokens or HTTP."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session, col, select

from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import InvalidInputError, UnknownCompanyError
from pipeline.storage.database import is_storable
from pipeline.storage.tables import CompanyRow
from pipeline.storage.vault import Vault

UPSERT = text("""
    INSERT INTO company AS c (id, name, user_api_key, vendor_api_key, scopes, created_at)
    VALUES (:id, :name, :user_key, :vendor_key, :scopes, :now)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, user_api_key = excluded.user_api_key,
        vendor_api_key = excluded.vendor_api_key, scopes = excluded.scopes
    RETURNING (xmax = 0) AS created
""")
FORGET_TOKEN = text("UPDATE access_token SET token = NULL WHERE company_id = :id")
LOCK = text("SELECT 1 FROM company WHERE id = :id FOR NO KEY UPDATE")
HOLD = text("""
    UPDATE company SET hold_reason = :reason, held_since = :now, checked_at = :now
    WHERE id = :id AND hold_reason IS NULL RETURNING id
""")
RELEASE = text("UPDATE company SET hold_reason = NULL, held_since = NULL WHERE id = :id AND hold_reason IS NOT NULL")
RELEASE_INVOICES = text("""
    WITH held AS (
        SELECT id, uploads FROM invoice
        WHERE company_id = :id AND state = 'held' AND held_for = 'company' ORDER BY id FOR UPDATE
    ), released AS (
        UPDATE invoice SET state = CASE WHEN held.uploads = 0 THEN 'queued' ELSE 'in_doubt' END,
            reason = NULL, held_for = NULL, due_at = :now, give_up_at = NULL, tries = 0, changed_at = :now,
            epoch = nextval('epoch')
        FROM held WHERE invoice.id = held.id RETURNING invoice.id, invoice.state
    )
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, 'released', 'held', state, :cause FROM released RETURNING invoice_id
""")
DUE_FOR_CHECK = text("""
    UPDATE company SET checked_at = :now WHERE hold_reason IS NOT NULL AND checked_at <= :before RETURNING id
""")


@dataclass(frozen=True, kw_only=True)
class Company:
    """A company as people see it; no keys."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    hold_reason: str | None
    held_since: datetime | None
    created_at: datetime


def save_company(session: Session, credentials: CompanyCredentials, *, name: str, vault: Vault, now: datetime) -> bool:
    """Store a company or replace its name and keys; True when it is new. Its token is forgotten.

    Raises: InvalidInputError when another company has the name, or the name cannot be stored.
    """
    if not is_storable(name):
        raise InvalidInputError(
            f"the company name {name!r} has characters that cannot be stored; choose another --name"
        )
    same_name = session.exec(select(CompanyRow).where(CompanyRow.name == name)).one_or_none()
    if same_name is not None and same_name.id != credentials.company_id:
        raise InvalidInputError(f"company {same_name.id} is already called {name!r}; choose another --name")
    parameters = {
        "id": credentials.company_id,
        "name": name,
        "user_key": vault.close(credentials.user_api_key),
        "vendor_key": vault.close(credentials.vendor_api_key),
        "scopes": " ".join(credentials.scopes),
        "now": now,
    }
    created = bool(session.connection().execute(UPSERT, parameters).scalar_one())
    session.connection().execute(FORGET_TOKEN, {"id": credentials.company_id})
    return created


def find_company(session: Session, named: UUID | str) -> Company:
    """Return the company of a UUID or a name. Raises: UnknownCompanyError saying what to do."""
    row = session.get(CompanyRow, named) if isinstance(named, UUID) else _by_text(session, named)
    if row is None:
        raise UnknownCompanyError(f"unknown company {str(named)!r}: add it with `postiljon company add`")
    return _company(row)


def list_companies(session: Session) -> list[Company]:
    """Return all companies by name."""
    return [_company(row) for row in session.exec(select(CompanyRow).order_by(col(CompanyRow.name)))]


def read_credentials(session: Session, company_id: UUID, *, vault: Vault) -> CompanyCredentials:
    """Return the keys of a company. Raises: UnknownCompanyError, ConfigurationError (wrong encryption key)."""
    row = session.get(CompanyRow, company_id)
    if row is None:
        raise UnknownCompanyError(f"unknown company {company_id}")
    return CompanyCredentials(
        company_id=row.id,
        user_api_key=vault.open(row.user_api_key),
        vendor_api_key=vault.open(row.vendor_api_key),
        scopes=tuple(row.scopes.split()),
    )


def hold_company(session: Session, company_id: UUID, *, reason: str, now: datetime) -> bool:
    """Hold a company with the cause in words; False when it is held already (the first cause stands)."""
    # A release that goes on meanwhile would not see the invoices held in this transaction: one waits for the other.
    session.connection().execute(LOCK, {"id": company_id})
    held = session.connection().execute(HOLD, {"id": company_id, "reason": reason, "now": now})
    return held.scalar_one_or_none() is not None


def release_company(session: Session, company_id: UUID, *, cause: str, now: datetime) -> int:
    """End the hold of a company; return how many invoices went back to work."""
    session.connection().execute(RELEASE, {"id": company_id})
    parameters = {"id": company_id, "cause": cause, "now": now}
    return len(session.connection().execute(RELEASE_INVOICES, parameters).all())


def take_holds_to_check(session: Session, *, now: datetime, before: datetime) -> list[UUID]:
    """Return the held companies last checked at or before an instant, and mark them as checked now."""
    rows = session.connection().execute(DUE_FOR_CHECK, {"now": now, "before": before})
    return [row.id for row in rows]


def _by_text(session: Session, named: str) -> CompanyRow | None:
    try:
        return session.get(CompanyRow, UUID(named))
    except ValueError:
        if not is_storable(named):
            return None
        return session.exec(select(CompanyRow).where(CompanyRow.name == named)).one_or_none()


def _company(row: CompanyRow) -> Company:
    return Company(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        hold_reason=row.hold_reason,
        held_since=row.held_since,
        created_at=row.created_at,
    )

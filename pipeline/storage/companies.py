"""Companies and their keys: stored encrypted, handed out as credentials. Knows nothing of tokens or HTTP."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session, col, select

from pipeline.domain.company_hold import judge_words
from pipeline.domain.credentials import CompanyCredentials
from pipeline.domain.errors import InvalidInputError, UnknownCompanyError
from pipeline.storage.alarms import end_alarm, raise_alarm
from pipeline.storage.database import is_storable
from pipeline.storage.holding import release_invoices
from pipeline.storage.tables import CompanyRow
from pipeline.storage.vault import Vault

UPSERT = text("""
    INSERT INTO company AS c (id, name, user_api_key, vendor_api_key, scopes, created_at)
    VALUES (:id, :name, :user_key, :vendor_key, :scopes, :now)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, user_api_key = excluded.user_api_key,
        vendor_api_key = excluded.vendor_api_key, scopes = excluded.scopes, holds = 0
    RETURNING (xmax = 0) AS created
""")
FORGET_TOKEN = text("UPDATE access_token SET token = NULL WHERE company_id = :id")
LOCK = text("SELECT 1 FROM company WHERE id = :id FOR NO KEY UPDATE")
# 1, 2, 4 ... times the interval of checks, at most an hour unless the interval itself is longer.
_WAIT = """make_interval(secs => least(CAST(:check_seconds AS float8) * power(2, least({n}, 20)),
    greatest(3600, CAST(:check_seconds AS float8))))"""
HOLD = text(f"""
    UPDATE company SET hold_reason = :reason, hold_advice = :advice, held_since = :now, checked_at = :now,
        holds = holds + 1, check_at = CAST(:now AS timestamptz) + {_WAIT.format(n="holds")}
    WHERE id = :id AND hold_reason IS NULL RETURNING name
""")
RENEW = text("""
    UPDATE company SET hold_reason = :reason, hold_advice = :advice
    WHERE id = :id AND hold_reason IS NOT NULL AND hold_reason <> :reason RETURNING name
""")
RELEASE = text("""
    UPDATE company SET hold_reason = NULL, hold_advice = NULL, held_since = NULL, checked_at = :now,
        check_at = :go_on_at, holds = CASE WHEN :trial THEN holds ELSE 0 END
    WHERE id = :id AND hold_reason IS NOT NULL
""")
LET_IN = text("""
    UPDATE company SET holds = 0, check_at = :now WHERE id = :id AND hold_reason IS NULL AND holds > 0 RETURNING id
""")
DUE_FOR_CHECK = text(f"""
    UPDATE company SET checked_at = :now, check_at = CAST(:now AS timestamptz) + {_WAIT.format(n="holds - 1")}
    FROM (
        SELECT id AS due_id FROM company WHERE hold_reason IS NOT NULL AND coalesce(check_at, held_since) <= :now
            AND NOT id = ANY(CAST(:but AS uuid[]))
        ORDER BY coalesce(check_at, held_since) LIMIT :limit FOR NO KEY UPDATE) AS due
    WHERE id = due_id RETURNING id
""")

LIMITS = ("uploads_per_second", "reads_per_second", "weight", "cap")
"""The columns that `set_limits` writes."""

CHECK_SECONDS = 60.0
HOLDS_A_ROUND = 1000
TRIAL = timedelta(seconds=120)
"""How long a company let in again sends one invoice alone: long enough for a probe, an upload and their timeouts.
Then the others go on whether or not it was taken."""
HELD_ALARM = "company_held"
LEAST_LIMIT, MOST_LIMIT = 0.001, 100_000
"""One in a quarter of an hour, and more than any fleet does: what lies beyond is a slip of the hand."""
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 1000
"""Further apart, the lighter one of two would hardly ever have its turn."""


@dataclass(frozen=True, kw_only=True)
class Company:
    """A company as people see it; no keys."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    hold_reason: str | None
    hold_advice: str | None
    """What a person can do about the hold."""
    held_since: datetime | None
    check_at: datetime | None
    """When a held company is asked about again."""
    holds: int
    """Holds in a row, without an acceptance between them."""
    created_at: datetime
    uploads_per_second: float | None = None
    """The operator's limit for this company alone; None: the one of the settings, or none."""
    reads_per_second: float | None = None
    weight: float = 1.0
    cap: int | None = None
    """At most so many of its invoices with workers at once."""


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


def set_limits(session: Session, company_id: UUID, changes: Mapping[str, float | None]) -> Company:
    """Set some of LIMITS of a company and return it; the others stay. None takes a limit away.

    Raises: InvalidInputError naming what is out of range, UnknownCompanyError.
    """
    for name, value in changes.items():
        _check_limit(name, value)
    row = session.get(CompanyRow, company_id)
    if row is None:
        raise UnknownCompanyError(f"unknown company {company_id}")
    for name, value in changes.items():
        setattr(row, name, value)
    session.add(row)
    session.flush()
    return _company(row)


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


def hold_company(
    session: Session,
    company_id: UUID,
    *,
    reason: str,
    now: datetime,
    advice: str | None = None,
    check_seconds: float = CHECK_SECONDS,
) -> bool:
    """Hold a company with the cause in words and an alarm; False when it is held already (the first cause stands).

    Without an advice the one for the cause's words is kept. It is asked about again after `check_seconds`, later with
    every hold in a row.
    """
    connection = session.connection()
    # A release that goes on meanwhile would not see the invoices held in this transaction: one waits for the other.
    connection.execute(LOCK, {"id": company_id})
    advice = advice or judge_words(reason).advice
    parameters = {"id": company_id, "reason": reason, "advice": advice, "now": now, "check_seconds": check_seconds}
    name = connection.execute(HOLD, parameters).scalar_one_or_none()
    if name is None:
        return False
    _tell(session, company_id, f"{name} is held: {reason}. What to do: {advice}", now=now)
    return True


def renew_hold(session: Session, company_id: UUID, *, reason: str, advice: str, now: datetime) -> bool:
    """Write the newest cause of a hold; False when it is the same or the company is not held."""
    parameters = {"id": company_id, "reason": reason, "advice": advice}
    name = session.connection().execute(RENEW, parameters).scalar_one_or_none()
    if name is None:
        return False
    _tell(session, company_id, f"{name} is held: {reason}. What to do: {advice}", now=now)
    return True


def release_company(session: Session, company_id: UUID, *, cause: str, now: datetime, trial: bool = False) -> int:
    """End the hold of a company; return how many invoices went back to work.

    On trial that is one, and the others follow when the operator has let one in or the trial is over
    (pipeline.storage.holding.let_go_on): a wall that the check cannot see stops one invoice a time, not all.
    """
    connection = session.connection()
    # Waits for whoever holds the company or its waiting invoices now, and then sees what they held.
    connection.execute(LOCK, {"id": company_id})
    go_on_at = now + TRIAL if trial else now
    connection.execute(RELEASE, {"id": company_id, "now": now, "go_on_at": go_on_at, "trial": trial})
    end_alarm(session, HELD_ALARM, str(company_id), now=now)
    return release_invoices(session, company_id, cause=cause, now=now, limit=1 if trial else None)


def note_let_in(session: Session, company_id: UUID, *, now: datetime) -> bool:
    """Note that the operator took or read an invoice of the company: a trial is over and holds count anew.

    True when that changed anything; nothing is written otherwise.
    """
    return session.connection().execute(LET_IN, {"id": company_id, "now": now}).scalar_one_or_none() is not None


def take_holds_to_check(
    session: Session,
    *,
    now: datetime,
    check_seconds: float = CHECK_SECONDS,
    but: Collection[UUID] = (),
    limit: int = HOLDS_A_ROUND,
) -> list[UUID]:
    """Return the held companies whose check is due, but some, and set their next one."""
    parameters = {"now": now, "check_seconds": check_seconds, "but": list(but), "limit": limit}
    rows = session.connection().execute(DUE_FOR_CHECK, parameters)
    return [row.id for row in rows]


def _check_limit(name: str, value: float | None) -> None:
    if name not in LIMITS:
        raise InvalidInputError(f"a company has no limit {name!r}; it has {', '.join(LIMITS)}")
    if value is None:
        if name == "weight":
            raise InvalidInputError("a company always has a weight; 1 is the usual one")
        return
    least, most = (LEAST_WEIGHT, MOST_WEIGHT) if name == "weight" else (LEAST_LIMIT, MOST_LIMIT)
    least = 1 if name == "cap" else least
    if not least <= value <= most or (name == "cap" and value != int(value)):
        what = "a whole number" if name == "cap" else "a number"
        raise InvalidInputError(f"{name} is {what} from {least:g} to {most:g}, not {value:g}")


def _tell(session: Session, company_id: UUID, told: str, *, now: datetime) -> None:
    raise_alarm(session, HELD_ALARM, str(company_id), told=told, now=now, company_id=company_id)


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
        hold_advice=row.hold_advice,
        held_since=row.held_since,
        check_at=row.check_at if row.hold_reason is not None else None,
        holds=row.holds,
        created_at=row.created_at,
        uploads_per_second=row.uploads_per_second,
        reads_per_second=row.reads_per_second,
        weight=row.weight,
        cap=row.cap,
    )

"""Engine, sessions and the translation of database failures. Knows nothing of tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from psycopg import Cursor
from psycopg import DataError as DriverDataError
from psycopg import Error as DriverError
from psycopg import IntegrityError as DriverIntegrityError
from psycopg import InterfaceError as DriverInterfaceError
from psycopg import OperationalError as DriverOperationalError
from psycopg import errors as pg
from psycopg.abc import Params
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from pipeline.domain.errors import ConfigurationError, ServiceUnavailableError

CONNECT_TIMEOUT_SECONDS = 5
GONE_SERVER = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server whose machine vanished ends nothing and answers nothing: after half a minute we take it for gone."""
STATEMENT_TIMEOUT_MILLISECONDS = 60_000
"""No statement of ours should take a second; this ends one that waits for a lock nobody will release."""
OPTIONS = " ".join(
    (
        "-c timezone=UTC",
        f"-c statement_timeout={STATEMENT_TIMEOUT_MILLISECONDS}",
        "-c idle_in_transaction_session_timeout=60000",
        # Every claim locks first and looks then: a server set to a stricter level would let it look at an old snapshot.
        r"-c default_transaction_isolation=read\ committed",
        # What is open lies in memory. At the default of 4 a chunk of 100 is found among 20,000 by reading them all.
        "-c random_page_cost=1.1",
    )
)
ENDED = (pg.SerializationFailure, pg.DeadlockDetected, pg.TransactionRollback, pg.QueryCanceled, pg.LockNotAvailable)
"""SQLSTATE 40001, 40P01, 40000, 57014 and 55P03: the server is well and undid one transaction alone."""

UNSTORABLE = (DataError, IntegrityError, DriverDataError, DriverIntegrityError)
"""The server is well and will not have these values; another transaction with the same fails the same."""


class BinaryCursor(Cursor[tuple[Any, ...]]):
    """Takes the results of statements with parameters in PostgreSQL's binary form.

    As text, a document would cross as twice its size in hex digits. Only statements without can be several at once.
    """

    # The overloads of the original only tell templates apart.
    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        """See Cursor.execute."""
        return super().execute(query, params, **{**options, "binary": bool(params)})


class Database:
    """One connection pool and the transactions on it. Made after a fork, never before."""

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=5,
            pool_timeout=CONNECT_TIMEOUT_SECONDS,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "options": OPTIONS,
                "cursor_factory": BinaryCursor,
                **GONE_SERVER,
            },
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session, commit at the end, roll back on any error.

        Raises: ServiceUnavailableError when the database cannot be reached, has no room, or ended the transaction for
        one that it met (a deadlock, a serialization failure) or for its time; whoever called may do all of it again.
        """
        with translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session
            session.commit()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Turn database failures that a person can do something about into errors of ours."""
    try:
        yield
    except (DBAPIError, DriverError) as exc:
        # The driver's own come from COPY, which SQLAlchemy does not know.
        known = _translate(exc)
        if known is None:
            raise
        raise known from exc
    except PoolTimeoutError as exc:
        raise ServiceUnavailableError(
            "every connection to the database is in use; nothing was lost, try again"
        ) from exc


def is_storable(words: str) -> bool:
    """Tell whether PostgreSQL can keep a text: no NUL, and no bytes of a file name that are no characters."""
    return "\0" not in words and not any("\ud800" <= character <= "\udfff" for character in words)


def was_ended(error: ServiceUnavailableError) -> bool:
    """Tell whether the server merely undid one transaction, a deadlock say, so that doing it again at once is right."""
    return isinstance(_original(error.__cause__), ENDED)


def _original(exc: BaseException | None) -> BaseException | None:
    return exc.orig if isinstance(exc, DBAPIError) else exc


def _translate(exc: DBAPIError | DriverError) -> ServiceUnavailableError | ConfigurationError | None:
    orig = _original(exc)
    first_line = str(orig).strip().splitlines()[0] if str(orig).strip() else type(orig).__name__
    if isinstance(orig, pg.DiskFull | pg.OutOfMemory):
        return ServiceUnavailableError(f"the database has no room ({first_line}); nothing was stored, free space first")
    if isinstance(orig, pg.ReadOnlySqlTransaction):
        return ServiceUnavailableError(f"the database is read-only ({first_line}); nothing was stored")
    if isinstance(orig, ENDED):
        return ServiceUnavailableError(
            f"the database ended a transaction ({first_line}); nothing was stored, try again"
        )
    if isinstance(orig, pg.UndefinedTable | pg.UndefinedColumn):
        return ConfigurationError(
            f"the database has not the tables of this version ({first_line}): postiljon db upgrade"
        )
    if isinstance(exc, OperationalError | InterfaceError | DriverOperationalError | DriverInterfaceError):
        return ServiceUnavailableError(f"the database cannot be reached ({first_line}); nothing was lost, try again")
    return None

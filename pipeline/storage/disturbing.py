"""What a proof under faults does to its own database. Never used on an installation that sends real invoices."""

from sqlalchemy import text
from sqlmodel import Session

DROP = text("""
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
""")


def drop_connections(session: Session) -> int:
    """Cut every other connection to this database, as a fail-over would; return how many there were."""
    return int(session.connection().execute(DROP).scalar_one())

"""Where the database stands, what it keeps of its arming, and the invoices that an arming sends to a probe first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import Session

from pipeline.domain.arming import Armed, Place
from pipeline.domain.state import State
from pipeline.storage.fleet_tables import ArmingRow

# A dump restored into the same database has new tables; a database made from a template has another number.
HERE_SQL = """
    (SELECT CAST(system_identifier AS text) FROM pg_control_system()) AS server,
    (SELECT CAST(oid AS text) FROM pg_database WHERE datname = current_database())
        || '/' || CAST(CAST('arming' AS regclass) AS oid) AS database
"""
READ = text(f"""
    SELECT {HERE_SQL}, latest.id, latest.server AS armed_server, latest.database AS armed_database,
        latest.environment, latest.operator_host, latest.key_mark, latest.seal, latest.armed_at, latest.armed_by
    FROM (SELECT 1) AS one LEFT JOIN LATERAL (SELECT * FROM arming ORDER BY id DESC LIMIT 1) AS latest ON true
""")
UNSENT = "state IN ('queued', 'waiting', 'in_doubt', 'sending', 'held')"
# Nothing is uploaded while disarmed, but looks and releases go on: only an upload tells how far the snapshot reaches.
SNAPSHOT = text("""
    SELECT coalesce(
        (SELECT started_at FROM attempt WHERE kind = 'upload' ORDER BY started_at DESC LIMIT 1),
        (SELECT min(created_at) FROM company))
""")
FIND = text("SELECT id, state FROM invoice WHERE id = ANY(:ids)")
COUNT_UNSENT = text(f"SELECT count(*) FROM invoice_open WHERE {UNSENT}")
# An upload that the living installation may have made counts as made: so a release asks first, and nothing is
# cancelled that may have left. What is sending is the sweep's.
TO_DOUBT = """
    UPDATE invoice_open AS invoice
    SET state = 'in_doubt', reason = :cause, held_for = NULL, lease_until = NULL, due_at = :now,
        give_up_at = NULL, tries = 0, uploads = greatest(uploads, 1), epoch = nextval('epoch'), changed_at = :now
    FROM picked WHERE invoice.id = picked.id RETURNING invoice.id, picked.state AS source, invoice.state AS target
"""
NOTE = """
    INSERT INTO event (invoice_id, at, kind, source, target, cause)
    SELECT id, :now, :kind, source, target, :cause FROM moved RETURNING invoice_id
"""
ADOPT = text(f"""
    WITH picked AS (
        SELECT id, state FROM invoice_open WHERE id = ANY(:ids) AND state IN ('queued', 'waiting', 'held')
        ORDER BY id FOR UPDATE
    ), moved AS ({TO_DOUBT}) {NOTE}
""")
DOUBT_ALL = text(f"""
    WITH picked AS (
        SELECT id, state FROM invoice_open WHERE state IN ('queued', 'waiting')
        ORDER BY id LIMIT :limit FOR UPDATE
    ), moved AS ({TO_DOUBT}) {NOTE}
""")
MARK_HELD = text(f"""
    WITH picked AS (
        SELECT id FROM invoice_open WHERE state = 'held' AND uploads = 0 ORDER BY id LIMIT :limit FOR UPDATE
    ), moved AS (
        UPDATE invoice_open AS invoice SET uploads = 1, changed_at = :now FROM picked WHERE invoice.id = picked.id
        RETURNING invoice.id, 'held' AS source, 'held' AS target
    ) {NOTE}
""")
FRESH_BUDGET = text("UPDATE invoice_open SET give_up_at = NULL WHERE state = 'in_doubt' AND give_up_at IS NOT NULL")
TO_A_PERSON = text("""
    UPDATE route_case SET decide_at = NULL, plan = :plan, changed_at = :now
    WHERE status = 'open' AND decide_at IS NOT NULL RETURNING id
""")
ADOPTED = "adopted"
ASKED_FIRST = "asked_first"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Where the database stands, and what it keeps of the latest arming."""

    server: str
    database: str
    latest: Armed | None


def read_arming(session: Session) -> Seen:
    """Return where the database stands and the latest arming; one statement, well under a millisecond."""
    row = session.connection().execute(READ).one()
    latest = None
    if row.id is not None:
        latest = Armed(
            place=Place(
                server=row.armed_server,
                database=row.armed_database,
                environment=row.environment,
                operator_host=row.operator_host,
            ),
            key_mark=row.key_mark,
            seal=row.seal,
            at=row.armed_at,
            by=row.armed_by,
        )
    return Seen(server=row.server, database=row.database, latest=latest)


def write_arming(session: Session, place: Place, *, seal: str, key_mark: str, by: str, now: datetime) -> None:
    """Keep a new arming; earlier ones stay readable."""
    session.add(
        ArmingRow(
            server=place.server,
            database=place.database,
            environment=place.environment,
            operator_host=place.operator_host,
            key_mark=key_mark,
            seal=seal,
            armed_at=now,
            armed_by=by,
        )
    )
    session.flush()


def read_snapshot(session: Session) -> datetime | None:
    """Return how far this database knows what was uploaded; None when it has no company either."""
    at: datetime | None = session.connection().execute(SNAPSHOT).scalar_one()
    return at


def find_states(session: Session, ids: Collection[UUID]) -> dict[UUID, State]:
    """Return the states of those invoices that this database knows."""
    return {row.id: State(row.state) for row in session.connection().execute(FIND, {"ids": list(ids)})}


def count_unsent(session: Session) -> int:
    """Count the invoices that this database believes unsent."""
    return int(session.connection().execute(COUNT_UNSENT).scalar_one())


def adopt(session: Session, ids: Sequence[UUID], *, cause: str, now: datetime) -> int:
    """Have unsent invoices that the operator holds found by a probe; return how many moved."""
    parameters = {"ids": list(ids), "cause": cause, "now": now, "kind": ADOPTED}
    return len(session.connection().execute(ADOPT, parameters).all())


def leave_cases_to_a_person(session: Session, *, plan: str, now: datetime) -> int:
    """Take open cases from the rules; return how many."""
    return len(session.connection().execute(TO_A_PERSON, {"plan": plan, "now": now}).all())


def ask_first(session: Session, *, cause: str, now: datetime, limit: int) -> int:
    """Have unsent invoices asked about before anything is sent, up to a piece; return how many.

    What is held stays held: it is asked about when it is released.
    """
    parameters = {"cause": cause, "now": now, "limit": limit, "kind": ASKED_FIRST}
    connection = session.connection()
    connection.execute(FRESH_BUDGET)
    return len(connection.execute(DOUBT_ALL, parameters).all()) + len(connection.execute(MARK_HELD, parameters).all())
